"""What Minari itself does, run by a Python that has it: `record FOLDER`, `compare FOLDER ID ID`, `load FOLDER ID ARRAYS.npz`."""

import os
import sys
import warnings

warnings.filterwarnings("ignore")
os.environ["MINARI_DATASETS_PATH"] = sys.argv[2]

import gymnasium  # noqa: E402
import minari  # noqa: E402
import numpy as np  # noqa: E402
from gymnasium import spaces  # noqa: E402

COLUMNS = ("observations", "actions", "rewards", "terminations", "truncations", "infos")


class Mixed(gymnasium.Env):
    """Every space that goes through, at random."""

    observation_space = spaces.Dict(
        {
            "position": spaces.Box(-np.inf, np.inf, (2,), np.float64),
            "image": spaces.Box(0, 255, (40, 36, 3), np.uint8),
            "pair": spaces.Tuple([spaces.Discrete(3, start=2), spaces.Box(-1, 1, (), np.float32)]),
            "bits": spaces.MultiBinary(3),
            "many": spaces.MultiDiscrete([2, 5]),
        }
    )
    action_space = spaces.Dict({"b": spaces.Discrete(4), "a": spaces.Box(-1, 1, (2,), np.float32)})

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed, options=options)
        self.observation_space.seed(seed)
        self.steps = 0
        return self.observation_space.sample(), {"where": np.zeros(2), "steps": 0}

    def step(self, action):
        del action
        self.steps += 1
        info = {"where": self.np_random.normal(size=2), "steps": self.steps}
        return self.observation_space.sample(), self.np_random.normal(), self.steps == 5, self.steps == 7, info


def record() -> None:
    one(minari.DataCollector(gymnasium.make("CartPole-v1")), "cart/pole-v0", 4)
    one(minari.DataCollector(gymnasium.make("Pendulum-v1", max_episode_steps=9), record_infos=True), "pendulum-v1", 3)
    one(minari.DataCollector(Mixed(), record_infos=True), "mixed/jpeg-v0", 3)
    one(minari.DataCollector(Mixed(), record_infos=True, jpeg_encoding=False), "mixed/raw-v0", 3)


def one(collector: minari.DataCollector, name: str, episodes: int) -> None:
    collector.action_space.seed(0)
    for number in range(episodes):
        # Without a seed the collector draws one of 64 bits; the last episode is cut.
        collector.reset(seed=number or None)
        for _ in range(3 if number == episodes - 1 else 1000):
            *_, terminated, truncated, _ = collector.step(collector.action_space.sample())
            if terminated or truncated:
                break
    collector.create_dataset(name, author="nobody", algorithm_name="random")


def compare(left_id: str, right_id: str) -> None:
    left, right = minari.load_dataset(left_id), minari.load_dataset(right_id)
    assert (len(left), left.total_steps) == (len(right), right.total_steps)
    assert left.observation_space == right.observation_space, (left.observation_space, right.observation_space)
    assert left.action_space == right.action_space, (left.action_space, right.action_space)
    assert left.env_spec == right.env_spec, (left.env_spec, right.env_spec)
    for one, two in zip(left, right, strict=True):
        for name in COLUMNS:
            same(getattr(one, name), getattr(two, name), f"{one.id} {name}")
    facts = [list(dataset.storage.get_episode_metadata(range(len(dataset)))) for dataset in (left, right)]
    assert facts[0] == facts[1], facts
    assert left.storage.metadata["author"] == right.storage.metadata["author"]


def same(one: object, two: object, place: str) -> None:
    assert type(one) is type(two), place
    if isinstance(one, dict):
        assert one.keys() == two.keys(), place
        for key in one:
            same(one[key], two[key], f"{place}/{key}")
    elif isinstance(one, tuple):
        assert len(one) == len(two), place
        for number, pair in enumerate(zip(one, two, strict=True)):
            same(*pair, f"{place}/{number}")
    elif one is not None:
        assert one.dtype == two.dtype, (place, one.dtype, two.dtype)
        np.testing.assert_array_equal(one, two, place)


def load(name: str, target: str) -> None:
    dataset = minari.load_dataset(name)
    arrays = {f"{episode.id}/{column}": getattr(episode, column) for episode in dataset for column in COLUMNS[:-1]}
    arrays |= {f"{number}/seed": facts["seed"] for number, facts in enumerate(dataset.storage.get_episode_metadata(range(len(dataset))))}
    dataset.sample_episodes(2)
    np.savez(target, spaces=np.array([str(dataset.observation_space), str(dataset.action_space)]), **arrays)


if __name__ == "__main__":
    {"record": record, "compare": compare, "load": load}[sys.argv[1]](*sys.argv[3:])
