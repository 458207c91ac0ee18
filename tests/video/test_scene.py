import numpy as np
import pytest

from dreamctl.video import ink
from dreamctl.video.film import Film
from dreamctl.video.panels import Panels
from dreamctl.video.scene import Scene, ending, figures
from dreamctl.video.views import known_truth, knows_more, vector_names, vectors, view
from tests.video.dreams import SPEC, episode, has, plain_picture


def scene(rows: int = 12, context: int = 4, **changes: float) -> Scene:
    dream = episode(rows, context=context, **changes)
    return Scene(Panels(plain_picture, rows, context=context, side=240), "CartPole-v1", "dream 1 of 1", figures(dream), ending(dream))


def test_figures_of_a_dream_are_reward_value_continue_and_action() -> None:
    shown = figures(episode(12, context=4))
    assert {name: texts[3] for name, texts in shown.items()} == {"reward": "1.00", "value": "3.00", "continue": "0.990", "action": "1"}
    assert shown["action"][-1] == "-"


def test_figures_of_a_real_episode_add_up_the_return() -> None:
    assert figures(episode(12))["return"][-1] == "11.00"


def test_a_continue_of_just_below_one_is_not_rounded_to_one() -> None:
    assert figures(episode(12, context=4, last_continue=0.9999))["continue"][-1] == "0.999"


@pytest.mark.parametrize(
    ("dreamt", "words"),
    [(episode(9, context=3, last_continue=0.3), "dream ended"), (episode(9, context=3), ""), (episode(9), "ended")],
)
def test_the_ending_is_named(dreamt: object, words: str) -> None:
    assert ending(dreamt) == words


def test_every_row_has_the_same_even_size() -> None:
    shown = scene()
    assert {shown.draw(t).size for t in range(len(shown))} == {shown.size}
    assert all(length % 2 == 0 for length in shown.size)


def test_small_pictures_leave_room_for_the_words_around_them() -> None:
    real, few = episode(2), Panels(plain_picture, 2, side=64)
    shown = Scene(few, "A name of some length-v0", "episode 3 of 5", figures(real), "terminated")
    caption = ink.width("step 1 of 1", 16) + ink.width(shown.label, 16)
    assert shown.size[0] > caption + ink.width("A name ...", 16)
    picture = np.asarray(shown.draw(0))[14 + 26 + 3]
    framed = np.flatnonzero((picture == ink.INK).all(-1))
    assert framed[0] + framed[-1] == pytest.approx(shown.size[0], abs=2), "in the middle"
    words = f"{shown.title} · {shown.label} · 1 steps · terminated"
    assert shown.sheet().width >= ink.width(words, 16)


def test_the_timeline_fills_up() -> None:
    shown = scene()
    bars = [np.asarray(shown.draw(t))[shown.view.size[1] + 40 + 13] for t in range(len(shown))]
    filled = [int(((bar == ink.CONTEXT) | (bar == ink.IMAGINED)).all(-1).sum()) for bar in bars]
    assert filled[0] < filled[5] < filled[11]
    assert (bars[11] == ink.CONTEXT).all(-1).sum() > 0
    assert not (bars[2] == ink.IMAGINED).all(-1).any()


def test_a_low_continue_stands_out() -> None:
    low = scene(last_continue=0.2)
    foot = (0, low.size[1] - 50, low.size[0], low.size[1])
    assert has(low.draw(11).crop(foot), ink.IMAGINED)
    assert not has(scene().draw(11).crop(foot), ink.IMAGINED)


def test_the_last_row_of_each_scene_stays() -> None:
    film = Film([scene(5), scene(7)], fps=10, hold=2.0)
    assert [frame.seconds for frame in film] == [0.1] * 4 + [2.0] + [0.1] * 6 + [2.0]
    assert film.seconds == pytest.approx(5.0)


def test_context_is_true_as_it_stands() -> None:
    dream = episode(8, context=3, truth_rows=6)
    dream.truth_valid[:3] = False
    truth, valid = known_truth(dream)
    assert valid.tolist() == [True] * 6 + [False] * 2
    assert (truth["observation"][:3] == dream.observation["observation"][:3]).all()
    assert (truth["observation"][3:6] == dream.truth["observation"][3:6]).all()


def test_only_truth_beyond_the_context_is_worth_a_panel() -> None:
    assert knows_more(episode(8, context=3, truth_rows=6))
    assert not knows_more(episode(8, context=3, truth_rows=3))
    assert not knows_more(episode(8, context=3))


def test_dimensions_are_named_after_their_keys() -> None:
    assert vector_names(SPEC) == [f"observation[{i}]" for i in range(4)]
    assert vectors(SPEC, episode(8).observation).shape == (8, 4)


@pytest.mark.parametrize("beside", [False, True])
def test_without_a_drawing_the_same_dream_becomes_traces(beside: bool) -> None:
    shown = view(SPEC, episode(8, context=3, truth_rows=6), None, 200, beside=beside)
    assert has(shown.draw(7), ink.IMAGINED)
    assert has(shown.draw(7), ink.mix(ink.TRUTH, ink.WHITE, 0.25)) == beside
