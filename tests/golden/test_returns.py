"""Golden: λ-returns, imagination and replay losses, return normaliser, slow critic, optimizer."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from dreamctl.actor_critic.model import ActorCritic, ActorCriticConfig, ActorCriticLossScales, NetworkConfig, SlowCritic
from dreamctl.actor_critic.returns import PercentileScale, ReturnScaler, lambda_return, replay_return
from dreamctl.core.codec import ActionCodec
from dreamctl.core.tensors import Batch, LatentState, Rollout
from dreamctl.nn.distributions import Normal, one_hot
from dreamctl.nn.optim import LaProp, blend_, clip_by_norm_ratio
from tests.conftest import Golden
from tests.golden.names import check, double

FIVE_UPDATES = ["default", "warm3", "nowarm"]


@pytest.mark.parametrize("case", ["a", "b", "c", "d"])
def test_replay_return(golden: Golden, case: str) -> None:
    data = {key[2:]: value for key, value in golden("lambda_return").items() if key.startswith(f"{case}.")}
    continues = float(data["in.disc"]) * (1 - torch.from_numpy(data["in.term"]).double())
    reward, boot = double(data["in.rew"]), double(data["in.boot"])
    check(replay_return(reward, continues, torch.from_numpy(data["in.last"]), boot, float(data["in.lam"])), data["out.ret"])


def test_lambda_return_with_soft_continues(golden: Golden) -> None:
    data = {key.removeprefix("soft."): value for key, value in golden("lambda_return").items() if key.startswith("soft.")}
    found = lambda_return(double(data["in.rew"]), double(data["in.con"]), double(data["in.boot"]), float(data["in.lam"]))
    check(found, data["out.ret"])


@dataclass(frozen=True)
class GivenNormal:
    """An action distribution whose network emits mean and standard deviation themselves, as the fixture gives them."""

    def distribution(self, params: Tensor, draw: object = None) -> Normal:  # noqa: ARG002
        mean, std = params.chunk(2, -1)
        return Normal(mean, std)


def table_actor_critic(config: ActorCriticConfig, codec: ActionCodec, horizon: float, **tables: list[np.ndarray]) -> ActorCritic:
    """An actor-critic whose networks are one linear layer each, so that features number i look up row i of the given tables."""
    rows = int(np.prod(tables["critic"][0].shape[:-1]))
    flat = NetworkConfig(layers=0)
    config = ActorCriticConfig(**{**vars(config), "actor": flat, "critic": flat})
    actor_critic = ActorCritic(config, rows, codec, 1 - 1 / horizon).double()
    for name, outputs in tables.items():
        for layer, table in zip(getattr(actor_critic, name).out, outputs, strict=True):
            layer.weight.data.copy_(torch.from_numpy(table.reshape(rows, -1)).T)
    return actor_critic


def lookup(shape: tuple[int, ...]) -> Tensor:
    """Features that pick one row each of the tables, (*shape, rows)."""
    rows = int(np.prod(shape))
    return torch.eye(rows, dtype=torch.float64).reshape(*shape, rows)


@pytest.mark.parametrize("case", ["cont", "disc"])
def test_imagination_loss(golden: Golden, case: str) -> None:
    data = {key.removeprefix(f"{case}."): value for key, value in golden("imag_loss").items() if key.startswith(f"{case}.")}
    discrete = case == "disc"
    params = ["logits"] if discrete else ["mean", "std"]
    size = data[f"in.policy.{params[0]}"].shape[-1]
    codec = ActionCodec(spaces.Discrete(size) if discrete else spaces.Box(-1, 1, (size,)))
    config = ActorCriticConfig(
        trace=float(data["cfg.lam"]),
        entropy_scale=float(data["cfg.actent"]),
        slow_critic=SlowCritic(regularizer=float(data["cfg.slowreg"])),
        return_scale=PercentileScale(rate=float(data["cfg.ret_rate"]), limit=float(data["cfg.ret_limit"])),
    )
    actor = [data[f"in.policy.{name}"] for name in params]
    critics = {"critic": [data["in.value_logits"]], "slow_critic": [data["in.slow_logits"]]}
    model = table_actor_critic(config, codec, float(data["cfg.horizon"]), actor=actor, **critics)
    model.output = model.output if discrete else GivenNormal()
    model.return_scaler.low.copy_(torch.tensor(data["in.retnorm_lo"]))
    model.return_scaler.high.copy_(torch.tensor(data["in.retnorm_hi"]))
    shape = data["in.rew"].shape
    action = torch.from_numpy(data["in.action"])
    action = one_hot(action.long(), torch.zeros(size).double()) if discrete else action.double()
    state = LatentState(lookup(shape), torch.zeros(*shape, 0).double())
    dreamt = model.losses(Rollout(state, action, double(data["in.rew"]), double(data["in.con"]), 1.0))
    for name in ("policy", "value"):
        check(dreamt.losses[name], data[f"out.{name}"], name)
    check(dreamt.returns, data["out.ret"])
    check(model.return_scaler.low, data["out.retnorm_lo"])
    check(model.return_scaler.high, data["out.retnorm_hi"])
    check(model.value(state.features).mean, data["out.val"])
    check(model.slow_value(state.features), data["out.slowval"])
    figures = {"return": "tar", "policy_entropy": "ent_action", "advantage": "adv", "advantage_magnitude": "adv_mag", "value": "val"}
    for ours, theirs in figures.items():
        check(dreamt.figures[ours], data[f"out.metric.{theirs}"], ours)
    dreamt.losses["policy"].mean().backward(retain_graph=True)
    assert model.critic.out[0].weight.grad is None, "the policy loss reaches the actor only"
    for layer, name in zip(model.actor.out, params, strict=True):
        check(layer.weight.grad.T.reshape(*shape, -1), data[f"grad.policy_loss.{name}"], name)
    model.zero_grad()
    dreamt.losses["value"].mean().backward()
    assert model.actor.out[0].weight.grad is None, "the value loss reaches the critic only"
    check(model.critic.out[0].weight.grad.T.reshape(*shape, -1), data["grad.value_loss.value_logits"])


def test_replay_loss(golden: Golden) -> None:
    data = golden("repl_loss")
    config = ActorCriticConfig(
        trace=float(data["cfg.lam"]),
        slow_critic=SlowCritic(regularizer=float(data["cfg.slowreg"])),
        loss_scales=ActorCriticLossScales(replay_value=1.0),
    )
    tables = {"critic": [data["in.value_logits"]], "slow_critic": [data["in.slow_logits"]]}
    model = table_actor_critic(config, ActionCodec(spaces.Discrete(2)), float(data["cfg.horizon"]), **tables)
    shape = data["in.rew"].shape
    flags = {name: torch.from_numpy(data[f"in.{key}"]) for name, key in (("is_last", "last"), ("terminated", "term"))}
    none = torch.zeros(*shape, 2).double()
    batch = Batch({}, none, double(data["in.rew"]), torch.zeros(shape).bool(), **flags)
    loss = model.replay_loss(lookup(shape), batch, double(data["in.boot"]))
    check(loss, data["out.repval"])
    check(loss.mean(), data["out.mean"])
    loss.mean().backward()
    check(model.critic.out[0].weight.grad.T.reshape(*shape, -1), data["grad.value_logits"])
    continues = model.discount * (~flags["terminated"]).double()
    check(replay_return(batch.reward, continues, flags["is_last"], double(data["in.boot"]), float(data["cfg.lam"])), data["out.ret"])


@pytest.mark.parametrize(("case", "rate"), [("perc", 0.01), ("perc_fast", None)])
def test_return_normaliser(golden: Golden, case: str, rate: float | None) -> None:
    data = golden("normalize")
    x = torch.from_numpy(data["in.x"]).double()
    if rate is None:
        # The fixture does not say its rate: the first update from zero shows it.
        high = np.percentile(data["in.x"][0].astype(np.float64), 95)
        low = np.percentile(data["in.x"][0].astype(np.float64), 5)
        rate = round(float(data[f"out.{case}.scale"][0] / (high - low)), 6)
    scaler = ReturnScaler(PercentileScale(rate=rate)).double()
    for u, returns in enumerate(x):
        scaler.update(returns)
        check(scaler.scale, data[f"out.{case}.scale"][u])
        check(scaler.low, data[f"out.{case}.offset"][u])
    check(scaler.high, data[f"out.{case}.state.hi"])
    check(scaler.low, data[f"out.{case}.state.lo"])


def test_slow_target(golden: Golden) -> None:
    data = golden("slow_target")
    slow = torch.from_numpy(data["in.slow0"]).double()
    for source, wanted in zip(data["in.source"], data["out.slow_every1"], strict=True):
        blend_([slow], [torch.from_numpy(source).double()], float(data["cfg.rate"]))
        check(slow, wanted)


def optimizer_case(data: dict[str, np.ndarray], case: str) -> tuple[list[str], list[torch.nn.Parameter], LaProp]:
    names = [key.removeprefix("in.param.") for key in data if key.startswith("in.param.")]
    parameters = [torch.nn.Parameter(torch.from_numpy(data[f"in.param.{name}"]).double()) for name in names]
    figure = {key: float(data[f"{case}.cfg.{key}"]) for key in ("lr", "agc", "eps", "beta1", "beta2", "warmup")}
    config = LaProp(
        learning_rate=figure["lr"],
        clip=figure["agc"],
        eps=figure["eps"],
        beta1=figure["beta1"],
        beta2=figure["beta2"],
        warmup=int(figure["warmup"]),
    )
    return names, parameters, config


@pytest.mark.parametrize("case", FIVE_UPDATES)
def test_optimizer(golden: Golden, case: str) -> None:
    data = golden("optimizer")
    names, parameters, config = optimizer_case(data, case)
    optimizer = config.optimizer({"all": parameters})
    for step in range(len(data[f"in.grad.{names[0]}"])):
        before = [parameter.detach().clone() for parameter in parameters]
        for name, parameter in zip(names, parameters, strict=True):
            parameter.grad = torch.from_numpy(data[f"in.grad.{name}"][step]).double()
        optimizer.step()
        for name, parameter, old in zip(names, parameters, before, strict=True):
            check(parameter, data[f"{case}.out.param.{name}"][step], name)
            check(parameter - old, data[f"{case}.out.update.{name}"][step], name)


def test_gradient_clipping(golden: Golden) -> None:
    data = golden("optimizer")
    names, parameters, config = optimizer_case(data, "default")
    gradients = [torch.from_numpy(data[f"in.grad.{name}"][0]).double() for name in names]
    clipped = clip_by_norm_ratio(gradients, [p.detach() for p in parameters], config.clip, config.min_norm)
    for name, gradient in zip(names, clipped, strict=True):
        check(gradient, data[f"agc.out.{name}"], name)
