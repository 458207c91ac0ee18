import shutil
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

import dreamctl
from dreamctl.core.checkpoint import Checkpoint
from dreamctl.core.codec import ActionCodec
from dreamctl.core.errors import InputError
from dreamctl.core.experience import TaskSpec
from dreamctl.core.session import Session
from dreamctl.core.tensors import LatentState
from dreamctl.replay.reader import open_replay
from dreamctl.replay.sampler import ReplayConfig, WindowSampler
from dreamctl.stages.agent import load_world_model
from dreamctl.stages.compute import Compute
from dreamctl.stages.policy import Agent, DreamPolicy, RandomPolicy, load_policy
from dreamctl.stages.training import to_batch
from dreamctl.world_model.latents import CategoricalLatent

CPU = Compute(torch.device("cpu"), "fp32", 1)


@pytest.fixture
def policy(agent: Path) -> DreamPolicy:
    return load_policy(Checkpoint.load(agent), agent, Session(device="cpu"), action="sample", seed=0)


def look(*lanes: float) -> dict[str, np.ndarray]:
    return {"observation": np.array([[lane, 0.1, -lane, 0.2] for lane in lanes], np.float32)}


def firsts(*flags: bool) -> np.ndarray:
    return np.array(flags)


def state_of(policy: DreamPolicy) -> LatentState:
    assert policy.state is not None
    return policy.state


def test_lanes_do_not_see_one_another(agent: Path) -> None:
    one, two = (load_policy(Checkpoint.load(agent), agent, Session(device="cpu"), action="sample", seed=0) for _ in range(2))
    for step in range(4):
        first = firsts(step == 0, step in (0, 2))
        left, right = one.act(look(0.1 * step, 0.3), first), two.act(look(0.1 * step, -5.0 * step), first)
        assert left[0] == right[0]
        assert torch.allclose(state_of(one).features[0], state_of(two).features[0], atol=1e-6)
    assert not torch.allclose(state_of(one).features[1], state_of(two).features[1], atol=1e-3)


def test_a_first_row_forgets_the_episode_before(agent: Path, policy: DreamPolicy) -> None:
    fresh = load_policy(Checkpoint.load(agent), agent, Session(device="cpu"), action="sample", seed=0)
    for step in range(3):
        policy.act(look(step, -step), firsts(step == 0, step == 0))
    before = state_of(policy).h.clone()
    for each in (policy, fresh):
        each.generator.manual_seed(5)
    policy.act(look(0.5, 0.5), firsts(True, False))
    fresh.act(look(0.5, 0.5), firsts(True, True))
    assert torch.equal(state_of(policy).h[0], state_of(fresh).h[0])
    assert torch.equal(state_of(policy).z[0], state_of(fresh).z[0])
    assert not torch.equal(state_of(policy).h[1], state_of(fresh).h[1])
    assert not torch.equal(state_of(policy).h[1], before[1])


def test_acting_sees_what_training_sees(policy: DreamPolicy, agent: Path, replay: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Along stored rows, with the stored actions, the policy's states are those of a training batch."""
    monkeypatch.setattr(CategoricalLatent, "noise", lambda self, shape, _: torch.full((*shape, self.groups), 0.5))
    data = open_replay([replay])
    windows = WindowSampler(data, ReplayConfig(batch_size=3, batch_length=12), seed=0).sample(0)
    model = load_world_model(Checkpoint.load(agent), agent, CPU)
    batch = to_batch(windows, data.spec, CPU.device)
    noise = model.config.latent.noise((3, 12), torch.Generator())
    wanted = model.observe(model.rssm.initial(3, batch.reward), batch, noise=noise).state
    assert windows.is_first[:, 1:].any(), "an episode begins inside a window"
    for step in range(12):
        policy.act({"observation": windows.observation["observation"][:, step]}, windows.is_first[:, step])
        torch.testing.assert_close(state_of(policy).h, wanted.h[:, step])
        torch.testing.assert_close(state_of(policy).z, wanted.z[:, step])
        policy.prev_action = torch.from_numpy(policy.codec.encode(windows.action[:, step]))


def test_another_number_of_lanes_begins_anew(policy: DreamPolicy) -> None:
    policy.act(look(0.1, 0.2), firsts(True, True))
    assert policy.act(look(0.1, 0.2, 0.3), firsts(True, True, True)).shape == (3,)


def test_the_same_seed_acts_alike(agent: Path) -> None:
    def actions(seed: int) -> list[int]:
        acting = load_policy(Checkpoint.load(agent), agent, Session(device="cpu"), action="sample", seed=seed)
        return np.concatenate([acting.act(look(*np.linspace(0, 1, 6)), firsts(*[step == 0] * 6)) for step in range(6)]).tolist()

    assert actions(1) == actions(1) != actions(2)


# Three lines of Python


def test_load_gives_a_policy_for_an_environment(agent: Path) -> None:
    acting = dreamctl.load(agent)
    env = gymnasium.make("CartPole-v1")
    observation, _ = env.reset(seed=0)
    for _ in range(5):
        action = acting.act(observation)
        assert env.action_space.contains(action)
        observation, *_ = env.step(action)


def test_an_agent_stays_inside_the_bounds(policy: DreamPolicy) -> None:
    space = spaces.Box(-1, 1, (2,), np.float32)
    policy.codec = ActionCodec(space)
    policy.act = lambda *_: np.array([[3.0, -7.0]], np.float32)  # type: ignore[method-assign]
    assert space.contains(Agent(policy).act(np.zeros(4)))


def test_weights_that_are_not_finite_are_refused(agent: Path, tmp_path: Path) -> None:
    checkpoint = Checkpoint.load(agent)
    checkpoint.weights["actor_critic"]["actor.out.0.bias"][0] = torch.nan
    checkpoint.save(tmp_path / "nan.ckpt")
    with pytest.raises(InputError, match=r"nan\.ckpt: tensor actor\.out\.0\.bias holds non-finite numbers"):
        dreamctl.load(tmp_path / "nan.ckpt")


def test_reset_forgets_the_episode(agent: Path) -> None:
    acting = dreamctl.load(str(agent), action="mode")
    observation = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    states = []
    for _ in range(2):
        acting.reset()
        acting.policy.generator.manual_seed(0)
        acting.act(observation)
        states.append(state_of(acting.policy).features.clone())
    acting.act(observation)
    assert torch.equal(*states)
    assert not torch.equal(states[0], state_of(acting.policy).features)


def test_load_of_a_world_model_is_refused(world_model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds a world model without an actor"):
        dreamctl.load(world_model)
    shutil.copy(world_model, tmp_path / "other.ckpt")
    with pytest.raises(InputError, match="cannot be read"):
        dreamctl.load(tmp_path / "missing.ckpt")


# Random actions


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(3, start=5),
        spaces.Box(-2, 6, (2, 2), np.float32),
        spaces.Box(-np.inf, np.inf, (3,), np.float32),
        spaces.Box(0, 1, (), np.float32),
    ],
    ids=str,
)
def test_random_actions_fill_the_space(space: gymnasium.Space) -> None:
    acting = RandomPolicy(TaskSpec({}, space, "gym", "Toy"), seed=0)
    actions = acting.act({}, np.zeros(2000, bool))
    assert actions.shape == (2000, *space.shape)
    assert all(space.contains(np.asarray(action, space.dtype)) for action in actions[:100])
    if isinstance(space, spaces.Discrete):
        assert set(actions.tolist()) == {5, 6, 7}
    else:
        low, high = (np.where(np.isfinite(bound), bound, fallback) for bound, fallback in ((space.low, -2), (space.high, 2)))
        assert (actions.min(0) < low + 0.05 * (high - low)).all()
        assert (actions.max(0) > high - 0.05 * (high - low)).all()
    again = RandomPolicy(TaskSpec({}, space, "gym", "Toy"), seed=0).act({}, np.zeros(2000, bool))
    assert (actions == again).all()
