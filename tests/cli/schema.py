"""As much of JSON Schema as ours use: type, properties, required, additionalProperties, items, enum."""

import json
from importlib.resources import files

TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "null": type(None), "object": dict, "array": list}


def check(value: object, name: str) -> None:
    """The value keeps the schema `dreamctl/data/<name>.json`."""
    fits(value, json.loads((files("dreamctl") / "data" / f"{name}.json").read_text()), name)


def fits(value: object, schema: dict, place: str) -> None:
    kinds = schema.get("type", list(TYPES))
    kinds = [kinds] if isinstance(kinds, str) else kinds
    right = any(isinstance(value, TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool) or len(kinds) > 2) for kind in kinds)
    assert right, f"{place}: {value!r} is not {kinds}"
    assert value in schema.get("enum", [value]), f"{place}: {value!r} is none of {schema['enum']}"
    if isinstance(value, list):
        for number, item in enumerate(value):
            fits(item, schema.get("items", {}), f"{place}[{number}]")
    if isinstance(value, dict):
        known, further = schema.get("properties", {}), schema.get("additionalProperties", {})
        assert set(schema.get("required", [])) <= value.keys(), f"{place}: lacks {set(schema['required']) - value.keys()}"
        for key, item in value.items():
            assert key in known or further is not False, f"{place}: {key} is not in the schema"
            fits(item, known.get(key, further), f"{place}.{key}")
