from collections import Counter

import pytest
import torch
from gymnasium import Space, spaces
from torch.utils._python_dispatch import TorchDispatchMode

from dreamctl.actor_critic.model import ActorCritic, ActorCriticConfig, NetworkConfig
from dreamctl.core.codec import ActionCodec
from dreamctl.core.tensors import Batch
from dreamctl.nn.optim import LaProp
from dreamctl.stages.learner import Learner, last_steps
from tests.world_model.models import BOX, DISCRETE, batch, world_model

MODES = ["world model", "actor-critic", "both"]


class Ops(TorchDispatchMode):
    """Counts the operations that reach the dispatcher."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


def learner(mode: str = "both", space: Space = BOX, *, starts: int = 0, **options: object) -> Learner:
    model = world_model(space).float()
    if mode == "world model":
        return Learner(model, None, LaProp(**options))
    if mode == "actor-critic":
        model.requires_grad_(False)
    small = NetworkConfig(1, 8)
    config = ActorCriticConfig(actor=small, critic=small, horizon=3, starts=starts)
    return Learner(model, ActorCritic(config, model.state_size, ActionCodec(space), model.discount), LaProp(**options))


def rows(made: Learner) -> Batch:
    seen = batch(made.world_model)
    flags = torch.zeros(3, 5, dtype=torch.bool)
    flags[:, 0] = True
    return Batch(
        {name: column.float() for name, column in seen.observation.items()},
        seen.prev_action.float(),
        seen.reward.float(),
        flags,
        seen.is_last,
        seen.terminated,
    )


def update(made: Learner, seed: int = 0) -> dict[str, torch.Tensor]:
    noise = made.noise(3, 5, torch.Generator().manual_seed(seed))
    return made.update(rows(made), made.world_model.rssm.initial(3, torch.zeros(1)), noise)[0]


@pytest.mark.parametrize("space", [BOX, DISCRETE], ids=["box", "discrete"])
@pytest.mark.parametrize("mode", MODES)
def test_an_update_reads_nothing_back_from_the_device(mode: str, space: Space) -> None:
    made = learner(mode, space)
    update(made)
    with Ops() as ops:
        update(made)
    assert sum(ops.seen.values()) > 100
    waiting = {"_local_scalar_dense", "item", "nonzero", "is_nonzero", "masked_select", "equal", "unique2"}
    assert {name: ops.seen[name] for name in waiting if ops.seen[name]} == {}


def test_the_counter_notices_an_item() -> None:
    with Ops() as ops:
        torch.ones(1).item()
    assert ops.seen["_local_scalar_dense"] == 1


@pytest.mark.parametrize("mode", MODES)
def test_figures_have_known_keys(mode: str) -> None:
    terms = {"observation/body/place", "observation/height", "reward", "continue", "dynamics", "representation"}
    agent = {"policy", "value", "replay_value"}
    of = {"world model": terms, "actor-critic": agent, "both": terms | agent}[mode]
    figures = update(learner(mode))
    assert {name.removeprefix("loss/") for name in figures if name.startswith("loss/")} == of
    assert {"loss", "gradient_norm"} <= figures.keys()
    torch.testing.assert_close(figures["loss"], sum(figures[f"loss/{name}"] for name in of))


@pytest.mark.parametrize("mode", MODES)
def test_only_what_shall_learn_moves(mode: str) -> None:
    made = learner(mode, warmup=0, learning_rate=1e-2)
    parts = {"world_model": made.world_model}
    parts |= {} if made.actor_critic is None else {"actor": made.actor_critic.actor, "critic": made.actor_critic.critic}
    before = {name: [p.detach().clone() for p in part.parameters()] for name, part in parts.items()}
    update(made)
    moved = {name for name, old in before.items() if any(not torch.equal(a, b) for a, b in zip(old, parts[name].parameters(), strict=True))}
    assert moved == {"world model": {"world_model"}, "actor-critic": {"actor", "critic"}, "both": {"world_model", "actor", "critic"}}[mode]


def test_the_replay_value_loss_reaches_the_world_model_when_it_learns() -> None:
    for mode, reaches in (("both", True), ("actor-critic", False)):
        made = learner(mode)
        terms, *_ = made.losses(rows(made), made.world_model.rssm.initial(3, torch.zeros(1)), made.noise(3, 5, torch.Generator()))
        terms["replay_value"].sum().backward()
        assert any(p.grad is not None and p.grad.abs().max() > 0 for p in made.world_model.rssm.parameters()) == reaches
        assert all(p.grad is None for p in made.world_model.decoder.parameters())


def test_dreams_may_begin_from_the_last_steps_only() -> None:
    made = learner(starts=2)
    terms, *_ = made.losses(rows(made), made.world_model.rssm.initial(3, torch.zeros(1)), made.noise(3, 5, torch.Generator()))
    assert terms["policy"].shape == (6, 3)
    assert terms["replay_value"].shape == (3, 1)
    assert torch.equal(last_steps(rows(made), 2).reward, rows(made).reward[:, -2:])


def test_the_first_update_of_a_warmup_moves_the_slow_critic_alone() -> None:
    made = learner(warmup=10)
    assert made.actor_critic is not None
    for parameter in made.actor_critic.slow_critic.parameters():
        parameter.data += 1
    named = {**dict(made.world_model.named_parameters()), **dict(made.actor_critic.named_parameters())}
    before = {name: p.detach().clone() for name, p in named.items()}
    update(made)
    assert {name.partition(".")[0] for name, p in named.items() if not torch.equal(p, before[name])} == {"slow_critic"}


def test_an_update_is_a_pure_function_of_state_batch_and_noise() -> None:
    one, two = learner(warmup=0), learner(warmup=0)
    for seed in range(3):
        left, right = update(one, seed), update(two, seed)
        assert all(torch.equal(left[name], right[name]) for name in left)
    assert not torch.equal(update(one, 7)["loss"], update(two, 8)["loss"])


def test_saved_and_loaded_parts_give_the_same_next_update() -> None:
    """Nothing that matters is cached outside of weights and optimizer state."""
    one = learner(warmup=0, learning_rate=1e-2)
    for seed in range(3):
        update(one, seed)
    two = learner(warmup=0, learning_rate=1e-2)
    assert one.actor_critic is not None
    assert two.actor_critic is not None
    two.world_model.load_state_dict(one.world_model.state_dict())
    two.actor_critic.load_state_dict(one.actor_critic.state_dict())
    for part in one.groups:
        two.optimizer.load_group_state(part, one.optimizer.group_state(part))
    for seed in (3, 4):
        left, right = update(one, seed), update(two, seed)
        assert all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("what", ["step", "square", "momentum", "low", "high", "slow_critic"])
def test_everything_that_is_saved_shapes_later_updates(what: str) -> None:
    one, two = learner(warmup=9, learning_rate=1e-2), learner(warmup=9, learning_rate=1e-2)
    for seed in range(3):
        update(one, seed), update(two, seed)
    assert two.actor_critic is not None
    if what in ("step", "square", "momentum"):
        state = two.optimizer.group_state("actor")
        changed = state[what] + 1 if what == "step" else [2 * moment for moment in state[what]]
        two.optimizer.load_group_state("actor", {**state, what: changed})
    elif what == "slow_critic":
        for parameter in two.actor_critic.slow_critic.parameters():
            parameter.data += 0.1
    else:
        two.actor_critic.return_scaler.get_buffer(what).add_(-10.0 if what == "low" else 10.0)
    update(one, 3), update(two, 3)
    left, right = update(one, 4), update(two, 4)
    assert not all(torch.equal(left[name], right[name]) for name in left)


def test_a_dreamer_learns_its_batch() -> None:
    made = learner("world model", spaces.Discrete(3), warmup=0, learning_rate=1e-2)
    losses = [update(made, seed)["loss"].item() for seed in range(30)]
    assert losses[-1] < 0.8 * losses[0]
