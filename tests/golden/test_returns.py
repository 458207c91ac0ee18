"""Golden: λ-returns, imagination and replay losses, return normaliser, slow critic, optimizer."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from dreamctl.actor_critic.model import ActorCritic, ActorCriticConfig, ActorCriticLossScales, Dreamt, NetworkConfig
from dreamctl.actor_critic.returns import DeviationScale, NoScale, PercentileScale, ReturnScaler, lambda_return, replay_return
from dreamctl.actor_critic.targets import SlowCritic, SlowTarget
from dreamctl.core.codec import ActionCodec
from dreamctl.core.tensors import Batch, LatentState, Rollout
from dreamctl.nn.distributions import Normal, one_hot
from dreamctl.nn.optim import LaProp, blend_every_, clip_by_norm_ratio
from dreamctl.nn.scalars import SymexpTwoHot
from dreamctl.nn.schedules import Constant, Cosine, Linear
from tests.conftest import Golden
from tests.golden.names import check, double

Data = Mapping[str, np.ndarray]


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
    flat, value = NetworkConfig(layers=0), SymexpTwoHot(tables["critic"][0].shape[-1])
    config = ActorCriticConfig(**{**vars(config), "actor": flat, "critic": flat, "value_output": value})
    actor_critic = ActorCritic(config, rows, codec, 1 - 1 / horizon).double()
    for name, outputs in tables.items():
        for layer, table in zip(getattr(actor_critic, name).out, outputs, strict=True):
            layer.weight.data.copy_(torch.from_numpy(table.reshape(rows, -1)).T)
    return actor_critic


def lookup(shape: tuple[int, ...]) -> Tensor:
    """Features that pick one row each of the tables, (*shape, rows)."""
    rows = int(np.prod(shape))
    return torch.eye(rows, dtype=torch.float64).reshape(*shape, rows)


def imagination_config(data: Data) -> ActorCriticConfig:
    slow = SlowTarget if data["cfg.slowtar"] else SlowCritic
    return ActorCriticConfig(
        trace=float(data["cfg.lam"]),
        entropy_scale=float(data["cfg.actent"]),
        slow_critic=slow(regularizer=float(data["cfg.slowreg"])),
        return_scale=PercentileScale(rate=float(data["cfg.ret_rate"]), limit=float(data["cfg.ret_limit"])),
    )


def imagined(data: Data) -> tuple[ActorCritic, Rollout, list[str]]:
    """An agent whose networks look the fixture's numbers up, its dream, and what the actor's layers emit."""
    discrete = "in.policy.logits" in data
    params = ["logits"] if discrete else ["mean", "std"]
    size = data[f"in.policy.{params[0]}"].shape[-1]
    codec = ActionCodec(spaces.Discrete(size) if discrete else spaces.Box(-1, 1, (size,)))
    actor = [data[f"in.policy.{name}"] for name in params]
    critics = {"critic": [data["in.value_logits"]], "slow_critic": [data["in.slow_logits"]]}
    model = table_actor_critic(imagination_config(data), codec, float(data["cfg.horizon"]), actor=actor, **critics)
    model.output = model.output if discrete else GivenNormal()
    model.return_scaler.low.copy_(torch.tensor(data["in.retnorm_lo"]))
    model.return_scaler.high.copy_(torch.tensor(data["in.retnorm_hi"]))
    shape = data["in.rew"].shape
    action = torch.from_numpy(data["in.action"])
    action = one_hot(action.long(), torch.zeros(size).double()) if discrete else action.double()
    state = LatentState(lookup(shape), torch.zeros(*shape, 0).double())
    # A discount that the continue label does not hold multiplies here, and the weights divide it out.
    discount = 1.0 if data["cfg.contdisc"] else model.discount
    return model, Rollout(state, action, double(data["in.rew"]), discount * double(data["in.con"]), discount), params


def metrics(model: ActorCritic, rollout: Rollout, dreamt: Dreamt) -> dict[str, Tensor]:
    """Official metrics by their names, from what the modules gave."""
    value, slow = model.value(rollout.state.features).mean, model.slow_value(rollout.state.features)
    values = model.config.slow_critic.target(value, slow)[:, :-1]
    normed = (dreamt.returns - model.return_scaler.low) / model.return_scaler.scale
    figures = dreamt.figures
    return {
        "adv": figures["advantage"],
        "adv_mag": figures["advantage_magnitude"],
        "adv_std": ((dreamt.returns - values) / model.return_scaler.scale).std(correction=0),
        "tar": figures["return"],
        "val": figures["value"],
        "slowval": slow.mean(),
        "rew": figures["imagined_reward"],
        "con": figures["imagined_continue"] / rollout.discount,
        "ent_action": figures["policy_entropy"],
        "ret": normed.mean(),
        "ret_min": normed.min(),
        "ret_max": normed.max(),
        "ret_rate": (normed.abs() >= 1).double().mean(),
        "weight": dreamt.weights.mean(),
    }


@pytest.mark.parametrize("case", ["cont", "disc", "cont_nocd", "disc_slowtar"])
def test_imagination_loss(golden: Golden, case: str) -> None:
    data = {key.removeprefix(f"{case}."): value for key, value in golden("imag_loss").items() if key.startswith(f"{case}.")}
    model, rollout, params = imagined(data)
    shape = data["in.rew"].shape
    dreamt = model.losses(rollout)
    for name in ("policy", "value"):
        check(dreamt.losses[name], data[f"out.{name}"], name)
    check(dreamt.returns, data["out.ret"])
    check(model.return_scaler.low, data["out.retnorm_lo"])
    check(model.return_scaler.high, data["out.retnorm_hi"])
    check(model.value(rollout.state.features).mean, data["out.val"])
    check(model.slow_value(rollout.state.features), data["out.slowval"])
    found = metrics(model, rollout, dreamt)
    for key in (key for key in data if key.startswith("out.metric.")):
        check(found[key.removeprefix("out.metric.")], data[key], key)
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


def rate_of(data: Data, case: str) -> float:
    """The fixture does not say its rate: the first update from zero shows it, in the offset, which has no least value."""
    return float(data[f"out.{case}.offset"][0] / np.percentile(data["in.x"][0].astype(np.float64), 5))


NORMALISERS = {
    "perc": lambda _: PercentileScale(),
    "perc_debias": lambda _: PercentileScale(debias=True),
    "perc_fast": lambda data: PercentileScale(rate=rate_of(data, "perc_fast")),
    "meanstd": lambda _: DeviationScale(limit=1e-8),
    "none": lambda _: NoScale(),
}


@pytest.mark.parametrize("case", NORMALISERS)
def test_return_normaliser(golden: Golden, case: str) -> None:
    """The official offset is the lower percentile or the mean; the current code subtracts it from nothing, and neither do we."""
    data = golden("normalize")
    scaler = ReturnScaler(NORMALISERS[case](data)).double()
    scales, offsets = [], []
    for returns in torch.from_numpy(data["in.x"]).double():
        scaler.update(returns)
        scales.append(scaler.scale)
        offsets.append(next(iter(scaler.averages.values()), torch.zeros(()).double()).clone())
    check(torch.stack(scales), data[f"out.{case}.scale"])
    check(torch.stack(offsets), data[f"out.{case}.offset"])
    names = {"lo": "low", "hi": "high", "mean": "mean", "sqrs": "square", "corr": "correction"}
    for key in (key for key in data if key.startswith(f"out.{case}.state.")):
        check(scaler.get_buffer(names[key.rpartition(".")[2]]), data[key], key)


@pytest.mark.parametrize("every", [1, 2])
def test_slow_target(golden: Golden, every: int) -> None:
    data = golden("slow_target")
    slow, calls = torch.from_numpy(data["in.slow0"]).double(), torch.zeros((), dtype=torch.int64)
    for source, wanted in zip(data["in.source"], data[f"out.slow_every{every}"], strict=True):
        blend_every_([slow], [torch.from_numpy(source).double()], float(data["cfg.rate"]), every, calls)
        check(slow, wanted)


def optimizer_case(data: dict[str, np.ndarray], case: str) -> tuple[list[str], list[torch.nn.Parameter], LaProp]:
    names = [key.removeprefix("in.param.") for key in data if key.startswith("in.param.")]
    parameters = [torch.nn.Parameter(torch.from_numpy(data[f"in.param.{name}"]).double()) for name in names]
    figure = {key: float(data[f"{case}.cfg.{key}"]) for key in ("lr", "agc", "eps", "beta1", "beta2", "warmup", "wd", "anneal")}
    updates = int(figure["anneal"] - figure["warmup"])
    # The official cosine ends at a tenth of the rate times the rate itself: it hands a rate to what wants a share.
    schedules = {"linear": lambda: Linear(updates, 0.1), "cosine": lambda: Cosine(updates, 0.1 * figure["lr"])}
    config = LaProp(
        learning_rate=figure["lr"],
        clip=figure["agc"],
        eps=figure["eps"],
        beta1=figure["beta1"],
        beta2=figure["beta2"],
        warmup=int(figure["warmup"]),
        weight_decay=figure["wd"],
        nesterov=case == "nesterov",
        schedule=schedules.get(case, Constant)(),
    )
    return names, parameters, config


OPTIMIZER_CASES = ["default", "warm3", "nowarm", "wd", "noagc", "nesterov", "linear", "cosine"]


@pytest.mark.parametrize("case", OPTIMIZER_CASES)
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
            check(parameter, data[f"{case}.out.param.{name}"][step], f"{case}.out.param.{name}")
            check(parameter - old, data[f"{case}.out.update.{name}"][step], f"{case}.out.update.{name}")


def test_gradient_clipping(golden: Golden) -> None:
    data = golden("optimizer")
    names, parameters, config = optimizer_case(data, "default")
    gradients = [torch.from_numpy(data[f"in.grad.{name}"][0]).double() for name in names]
    clipped = clip_by_norm_ratio(gradients, [p.detach() for p in parameters], config.clip, config.min_norm)
    for name, gradient in zip(names, clipped, strict=True):
        check(gradient, data[f"agc.out.{name}"], name)
