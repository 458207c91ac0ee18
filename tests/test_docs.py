"""docs/replay.md says what is true: its code reads live and sealed shards, its table names every dataset, its commands exist."""

import re
from pathlib import Path

import pytest
import typer

from dreamctl.cli.app import app
from dreamctl.replay.format import episode_fields, step_fields
from dreamctl.replay.writer import ReplayWriter
from tests.replay.rows import SPEC, stream_rows

ROOT = Path(__file__).parent.parent
DOC, README = ((ROOT / name).read_text(encoding="utf-8") for name in ("docs/replay.md", "README.md"))


@pytest.mark.parametrize("state", ["live", "sealed"])
def test_the_code_reads_any_shard(state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", DOC, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    writer = ReplayWriter(Path("replay"), SPEC, lanes=1, seed=0)
    for row in stream_rows([4, 3]):
        writer.add(row)
    if state == "sealed":
        writer.close()
    exec(code, {})
    assert re.search(r"-e0-000000\.h5 \(7, 3\) episodes of \[4 3\] rows begin at \[0 4\]\n", capsys.readouterr().out)
    writer.close()


def test_the_table_names_every_dataset() -> None:
    table = "\n".join(re.findall(r"^\|.*", DOC, re.MULTILINE))
    names = [re.sub("observation/.*", "observation/<key>", field.name) for field in (*step_fields(SPEC), *episode_fields("env"))]
    assert not [name for name in names if not re.search(rf"[/`]{re.escape(name)}`", table)]


@pytest.mark.parametrize("text", [DOC, README], ids=["replay.md", "README.md"])
def test_every_command_exists(text: str) -> None:
    root = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    named = set(re.findall(r"dreamctl (data|bench) (\w+)", text))
    assert named
    assert not [(group, name) for group, name in named if name not in root[group].commands]
