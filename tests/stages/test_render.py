from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces
from PIL import Image

from dreamctl.core.errors import InputError, UsageError
from dreamctl.core.experience import Episode, TaskSpec
from dreamctl.core.session import Session, Silence
from dreamctl.envs.gym import Gym
from dreamctl.replay.writer import write_episodes
from dreamctl.stages.experiment import Experiment, RenderConfig, Resolved
from dreamctl.stages.render import plan, render
from dreamctl.video import ink
from tests.video.dreams import SPEC, episode, has


class Notes(Silence):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def resolved(**changes: object) -> Resolved:
    return Resolved(Experiment(render=RenderConfig(**{"size": 120, **changes})))


def write(path: Path, episodes: list[Episode], spec: TaskSpec = SPEC) -> Path:
    write_episodes(path, spec, episodes, kind="imagined" if episodes[0].context else "env", parent={})
    return path


def picture(path: Path, number: int) -> Image.Image:
    with Image.open(path) as image:
        image.seek(number)
        return image.convert("RGB")


@pytest.fixture
def dreams(tmp_path: Path) -> Path:
    return write(tmp_path / "dreams.h5", [episode(10, context=3, truth_rows=8, seed=seed) for seed in range(3)])


def test_a_dream_is_drawn_by_its_environment_beside_the_truth(dreams: Path, tmp_path: Path) -> None:
    notes = Notes()
    result = render(resolved(), [dreams], tmp_path / "dreams.gif", Session(progress=notes))
    assert (result.frames, result.episodes, result.how, notes.notes) == (30, 3, "drawn", [])
    first, later = (picture(result.path, number) for number in (1, 6))
    assert has(first, ink.CONTEXT, within=8)
    assert not has(first, ink.IMAGINED, within=8)
    assert has(later, ink.IMAGINED, within=8)
    assert first.width > 2 * 120
    moved = np.abs(np.asarray(first, int) - np.asarray(later, int))[100:150].max()
    assert moved > 50


def test_a_dream_without_truth_stands_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "dreams.h5", [episode(10, context=3)])
    result = render(resolved(size=200), [path], tmp_path / "dreams.gif", Session())
    assert picture(result.path, 0).width < 2 * 200


def test_a_suite_that_is_not_installed_gives_traces_and_one_warning(tmp_path: Path) -> None:
    spec = replace(SPEC, suite="nowhere", task="walk")
    path = write(tmp_path / "dreams.h5", [episode(10, context=3, truth_rows=8)] * 2, spec)
    notes = Notes()
    result = render(resolved(), [path], tmp_path / "dreams.gif", Session(progress=notes))
    assert (result.how, len(notes.notes)) == ("traces", 1)
    assert "nowhere" in notes.notes[0]


def test_a_suite_that_fails_to_draw_gives_traces_and_one_warning(dreams: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ValueError("no such joint")

    monkeypatch.setattr(Gym, "draw", broken)
    notes = Notes()
    result = render(resolved(), [dreams], tmp_path / "dreams.gif", Session(progress=notes))
    assert (result.how, len(notes.notes)) == ("traces", 1)
    assert "no such joint" in notes.notes[0]


def test_a_task_that_its_suite_cannot_draw_gives_traces_quietly(dreams: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gym, "draw", lambda *_: None)
    notes = Notes()
    assert render(resolved(), [dreams], tmp_path / "dreams.gif", Session(progress=notes)).how == "traces"
    assert notes.notes == []


def test_stored_frames_are_preferred_for_real_episodes(tmp_path: Path) -> None:
    green = np.zeros((10, 40, 60, 3), np.uint8) + np.array([0, 252, 0], np.uint8)
    path = write(tmp_path / "eval.h5", [replace(episode(10), extra={"frame": green})] * 2)
    result = render(resolved(), [path], tmp_path / "eval.gif", Session())
    assert result.how == "frames"
    assert has(picture(result.path, 5), (0, 252, 0), within=8)


def test_real_episodes_without_frames_are_drawn(tmp_path: Path) -> None:
    path = write(tmp_path / "real.h5", [episode(10)])
    result = render(resolved(), [path], tmp_path / "real.gif", Session())
    assert result.how == "drawn"
    assert not has(picture(result.path, 5), ink.IMAGINED, within=8)


def test_image_observations_are_shown_as_they_are(tmp_path: Path) -> None:
    spec = replace(SPEC, observation={"image": spaces.Box(0, 255, (8, 8, 3), np.uint8)}, suite="nowhere")
    images = np.zeros((10, 8, 8, 3), np.uint8)
    path = write(tmp_path / "real.h5", [replace(episode(10), observation={"image": images})], spec)
    assert render(resolved(), [path], tmp_path / "real.gif", Session()).how == "images"


def test_traces_can_be_asked_for(dreams: Path, tmp_path: Path) -> None:
    assert render(resolved(view="traces"), [dreams], tmp_path / "dreams.gif", Session()).how == "traces"


def test_episodes_and_steps_are_bounded(dreams: Path, tmp_path: Path) -> None:
    result = render(resolved(episodes=2, max_steps=5), [dreams], tmp_path / "dreams.gif", Session())
    assert (result.frames, result.episodes) == (12, 2)


def test_the_result_is_told_in_words_and_in_numbers(dreams: Path, tmp_path: Path) -> None:
    result = render(resolved(hold=1.0, fps=10), [dreams], tmp_path / "dreams.png", Session())
    assert result.to_json() == {"path": str(tmp_path / "dreams.png"), "frames": 30, "episodes": 3, "how": "drawn", "seconds": 5.7}
    assert result.summary().endswith("dreams.png: 30 frames of 3 episodes, 5.7 s, drawn by the environment")


def test_a_plan_writes_nothing(dreams: Path, tmp_path: Path) -> None:
    items = plan(resolved(), [dreams], tmp_path / "dreams.gif", Session()).items
    assert items["pictures"] == "drawn by the environment"
    assert "3 of 3 episodes of gym:CartPole-v1" in items["input"]
    assert [path.name for path in tmp_path.iterdir()] == ["dreams.h5"]


def test_an_output_that_exists_is_refused_and_overwritten_on_demand(dreams: Path, tmp_path: Path) -> None:
    out = tmp_path / "dreams.png"
    out.write_bytes(b"older")
    with pytest.raises(UsageError, match="--overwrite"):
        render(resolved(), [dreams], out, Session())
    assert out.read_bytes() == b"older"
    render(resolved(), [dreams], out, Session(existing="overwrite"))
    assert out.read_bytes()[1:4] == b"PNG"


def test_an_unknown_suffix_is_refused_before_the_input_is_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.gif"):
        render(resolved(), [tmp_path / "missing.h5"], tmp_path / "dreams.avi", Session())


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing\.h5"):
        render(resolved(), [tmp_path / "missing.h5"], tmp_path / "dreams.gif", Session())
