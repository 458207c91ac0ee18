"""Config: dataclass defaults, kinds, types, layers and YAML."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import pytest

from dreamctl.core.config import Layer, build, load_config, load_layers, merge, parse_assignment, preset_layers, to_plain
from dreamctl.core.errors import UsageError
from dreamctl.core.layers import dump_yaml


@dataclass(frozen=True)
class Plain:
    kind: ClassVar[str] = "plain"
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.scale < 0:
            raise ValueError(f"scale={self.scale}: wanted 0 or more")


@dataclass(frozen=True)
class Balanced:
    kind: ClassVar[str] = "balanced"
    free_nats: float = 1.0
    dynamics: float = 0.5


@dataclass(frozen=True)
class Model:
    kl: Plain | Balanced = Balanced(free_nats=0.25)
    single: Plain = Plain()
    layers: tuple[int, ...] = (64, 64)
    pair: tuple[int, float] = (1, 2.0)
    mode: Literal["auto", "off"] = "auto"
    limit: int | None = None
    threads: int | Literal["auto"] = "auto"
    file: Path = Path("here")


@dataclass(frozen=True)
class Env:
    task: str = ""
    options: Mapping[str, object] = field(default_factory=dict, metadata={"rest": True})


@dataclass(frozen=True)
class Whole:
    env: Env = Env()
    model: Model = Model()
    fast: bool = False
    rate: float = 1e-4


def test_what_was_built_comes_back_through_plain_values():
    plain = {
        "env": {"task": "x", "camera": 2},
        "model": {"kl": {"kind": "plain", "scale": 3}, "limit": 4, "pair": [2, 3], "file": "a/b"},
        "fast": True,
    }
    whole = build(Whole, plain)
    assert build(Whole, to_plain(whole)) == whole
    assert to_plain(whole)["env"] == {"task": "x", "camera": 2}
    assert whole.model.kl == Plain(3.0)
    assert isinstance(whole.model.pair[1], float)


def test_what_is_left_out_keeps_the_default_of_its_kind():
    assert build(Whole, {"model": {"kl": {"dynamics": 2}}}).model.kl == Balanced(0.25, 2.0)
    assert build(Whole, {"model": {"kl": "balanced"}}).model.kl == Balanced(0.25)
    assert build(Whole, {"model": {"kl": "plain"}}).model.kl == Plain()


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ({"model": {"kll": 1}}, "model.kll: no such key; nearest: kl"),
        ({"model": {"kl": {"kind": "balance"}}}, "model.kl.kind: no kind 'balance'; nearest: balanced, plain"),
        ({"model": {"kl": {"kind": "plain", "free_nats": 1}}}, "model.kl.free_nats: no such key of kind plain; known: scale"),
        ({"model": {"single": "balanced"}}, "model.single.kind: no kind 'balanced'; known: plain"),
        ({"model": {"limit": "x"}}, "model.limit: found 'x', wanted an integer or null"),
        ({"model": {"limit": 2.5}}, "model.limit: found 2.5, wanted an integer or null"),
        ({"model": {"threads": "many"}}, "model.threads: found 'many', wanted an integer or one of auto"),
        ({"model": {"mode": "on"}}, "model.mode: found 'on', wanted one of auto, off"),
        ({"model": {"layers": 3}}, "model.layers: found 3, wanted a list such as [a, b]"),
        ({"model": {"layers": [1, "x"]}}, "model.layers[1]: found 'x', wanted an integer"),
        ({"model": {"pair": [1]}}, "model.pair: found 1 items, wanted a list of 2"),
        ({"model": 3}, "model: found 3, wanted a mapping of keys"),
        ({"model": {"kl": {"kind": "plain", "scale": -1}}}, "model.kl: scale=-1.0: wanted 0 or more"),
        ({"fast": 1}, "fast: found 1, wanted true or false"),
        ({"rate": True}, "rate: found True, wanted a number"),
        ({"env": {"task": 7}}, "env.task: found 7, wanted text"),
    ],
)
def test_a_wrong_value_is_told_with_its_path(plain, message):
    with pytest.raises(UsageError) as told:
        build(Whole, plain)
    assert str(told.value) == message


def test_a_missing_key_without_default_is_named():
    @dataclass(frozen=True)
    class Needy:
        task: str

    with pytest.raises(UsageError, match=r"env\.task: is missing"):
        build(Needy, {}, "env")


@pytest.mark.parametrize(
    ("text", "value"), [("1e-4", 1e-4), ("1e3", 1000.0), (".5", 0.5), ("3", 3.0), ("-2.5E+1", -25.0), (".inf", float("inf"))]
)
def test_every_way_to_write_a_number_is_a_float(text, value):
    assert parse_assignment(f"rate={text}")["rate"] == value
    assert build(Whole, {"rate": text}).rate == value
    assert build(Whole, parse_assignment(f"rate={text}")).rate == value


def test_scientific_notation_is_an_integer_where_it_is_whole():
    assert build(Whole, parse_assignment("model.limit=1e4")).model.limit == 10_000


@pytest.mark.parametrize("text", ["off", "on", "1:30", "2024-01-01", "010", "a, b"])
def test_text_that_older_yaml_would_convert_stays_text(text):
    assert parse_assignment(f"a={text}") == {"a": text}
    assert parse_assignment(f"a={dump_yaml(text)}") == {"a": text}


@pytest.mark.parametrize("text", ["a", "=3", "a..b=3", "a=[1"])
def test_a_bad_assignment_is_refused(text):
    with pytest.raises(UsageError, match="--set"):
        parse_assignment(text)


def test_later_layers_win_and_origins_tell():
    merged = merge([Layer("preset p", {"model": {"limit": 1, "mode": "off"}}), Layer("--set", {"model": {"limit": 2}})])
    assert merged.values == {"model": {"limit": 2, "mode": "off"}}
    assert merged.origins == {"model.limit": "--set", "model.mode": "preset p"}


def test_a_changed_kind_drops_the_options_of_the_former_kind():
    layers = [Layer("preset p", {"model": {"kl": {"free_nats": 3.0}}}), Layer("--set", {"model": {"kl": {"kind": "plain"}}})]
    merged = merge(layers, base=to_plain(Whole()))
    assert merged.values["model"]["kl"] == {"kind": "plain"}
    assert merged.origins == {"model.kl.kind": "--set"}


def test_a_kind_may_be_named_alone_and_refined_later():
    merged = merge([Layer("a", {"kl": "plain"}), Layer("b", {"kl": {"scale": 2}})])
    assert merged.values == {"kl": {"kind": "plain", "scale": 2}}
    assert merged.origins == {"kl.kind": "a", "kl.scale": "b"}


def test_a_layer_is_not_changed_by_the_ones_above_it():
    lower = Layer("a", {"model": {"limit": 1}})
    merge([lower, Layer("b", {"model": {"limit": 2}})])
    assert lower.values == {"model": {"limit": 1}}


@pytest.fixture
def examples(tmp_path):
    path = tmp_path / "examples.yaml"
    path.write_text("small: {preset: [quick], env: {task: a}}\nlarge: {env: {task: b}}\n")
    return path


def test_an_entry_is_found_by_name_and_its_preset_lies_below(examples, monkeypatch):
    monkeypatch.setattr("dreamctl.core.layers.load_preset", lambda name: {"env": {"task": name, "num_envs": 4}})
    assert load_config(f"{examples}:small") == {"env": {"task": "a", "num_envs": 4}}
    assert [layer.source for layer in load_layers(f"{examples}:small")] == ["preset quick", f"{examples}:small"]


def test_an_unknown_entry_names_the_nearest(examples):
    with pytest.raises(UsageError, match="no entry 'smal'; nearest: small"):
        load_config(f"{examples}:smal")
    with pytest.raises(UsageError, match=r"holds experiments by name; write .*:NAME; known: large, small"):
        load_config(str(examples), ["env", "model"])


def test_a_file_without_names_is_one_experiment(tmp_path):
    path = tmp_path / "one:two.yaml"
    path.write_text("env: {task: a}\nrate: 1e-3\n")
    assert load_config(str(path), ["env", "rate"]) == {"env": {"task": "a"}, "rate": 1e-3}
    with pytest.raises(UsageError, match="no entry 'env'"):
        load_config(f"{path}:env", ["env", "rate"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "line 2: not YAML"),
        ("a: 1\na: 2", "line 2: not YAML .*'a' stands there twice"),
        ("just text", "wanted a mapping"),
        ("a: !!python/name:os.system", "not YAML"),
    ],
)
def test_a_file_that_is_no_config_is_refused(tmp_path, text, message):
    path = tmp_path / "bad.yaml"
    path.write_text(text + "\n")
    with pytest.raises(UsageError, match=message):
        load_config(str(path))


def test_a_missing_file_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="cannot be read as config"):
        load_config(str(tmp_path / "none.yaml"))


def test_dumped_yaml_reads_back_to_the_same_values():
    values = {"a": "1e-4", "b": "on", "c": 1e-20, "d": None, "e": "", "f": [1, 2.5, True], "g": float("inf"), "h": {"i": "0x10"}}
    assert parse_assignment(f"x={dump_yaml(values)}") == {"x": values}


def test_a_preset_may_be_made_over_another() -> None:
    sources = [layer.source for layer in preset_layers("quick")]
    assert sources == ["preset narrow", "preset quick"]
    assert "preset" not in merge(preset_layers("quick")).values
