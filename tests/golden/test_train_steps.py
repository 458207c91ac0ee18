"""Golden: three consecutive updates of everything, through the learner that `run` uses."""

import numpy as np
import torch
from gymnasium import spaces

from dreamctl.actor_critic.model import ActorCritic, ActorCriticConfig, NetworkConfig, SlowCritic
from dreamctl.core.codec import ActionCodec
from dreamctl.core.experience import TaskSpec
from dreamctl.core.tensors import Batch, LatentState
from dreamctl.nn.distributions import one_hot
from dreamctl.nn.optim import LaProp
from dreamctl.stages.learner import Learner, Noise
from dreamctl.world_model.cells import BlockGRU
from dreamctl.world_model.decoder import DecoderConfig
from dreamctl.world_model.encoder import EncoderConfig
from dreamctl.world_model.kl import BalancedKL
from dreamctl.world_model.latents import CategoricalLatent
from dreamctl.world_model.model import LossScales, PredictorConfig, WorldModel, WorldModelConfig
from dreamctl.world_model.rssm import RSSMConfig
from tests.conftest import Golden
from tests.golden.names import Parts, check, check_parameters, load_weights

Data = dict[str, np.ndarray]


def layers(data: Data, part: str) -> int:
    return len([key for key in data if key.startswith(f"w.{part}") and key.endswith("kernel") and "head" not in key])


def build(data: Data) -> Learner:
    """The whole agent, every size read off the fixture's arrays."""
    blocks, chunk, _ = data["w.dyn.dyngru.kernel"].shape
    groups, classes = data["s0.in.dyn.stoch"].shape[2:]
    units = {part: data[f"w.{part}.mlp.linear0.bias"].size for part in ("rew", "con", "pol", "val", "dec")}
    vector, action = data["s0.in.vec"].shape[-1], data["s0.in.action"].shape[-1]
    spec = TaskSpec({"vec": spaces.Box(-np.inf, np.inf, (vector,))}, spaces.Box(-1, 1, (action,)), "golden", "train_steps")
    config = WorldModelConfig(
        rssm=RSSMConfig(blocks * chunk, data["w.dyn.dynin0.bias"].size, BlockGRU(blocks)),
        latent=CategoricalLatent(groups, classes),
        kl=BalancedKL(1.0, 0.1, 1.0),
        encoder=EncoderConfig(layers(data, "enc.mlp"), data["w.enc.mlp0.bias"].size),
        decoder=DecoderConfig(layers(data, "dec.mlp"), units["dec"]),
        reward_predictor=PredictorConfig(layers(data, "rew.mlp"), units["rew"]),
        continue_predictor=PredictorConfig(layers(data, "con.mlp"), units["con"]),
        loss_scales=LossScales(),
    )
    agent = ActorCriticConfig(
        actor=NetworkConfig(layers(data, "pol.mlp"), units["pol"]),
        critic=NetworkConfig(layers(data, "val.mlp"), units["val"]),
        slow_critic=SlowCritic(rate=float(data["cfg.slow_rate"])),
        horizon=int(data["cfg.imag_length"]),
    )
    world_model = WorldModel(config, spec)
    actor_critic = ActorCritic(agent, world_model.state_size, ActionCodec(spec.action), world_model.discount)
    parts = Parts(world_model=world_model, actor_critic=actor_critic).double()
    load_weights(parts, data, vectors=["vec"])
    actor_critic.return_scaler.low.copy_(torch.tensor(data["in.retnorm_lo"]))
    actor_critic.return_scaler.high.copy_(torch.tensor(data["in.retnorm_hi"]))
    figure = {key: float(data[f"cfg.{key}"]) for key in ("lr", "agc", "eps", "beta1", "beta2", "warmup")}
    optimizer = LaProp(figure["lr"], int(figure["warmup"]), figure["agc"], 1e-3, figure["beta1"], figure["beta2"], figure["eps"])
    return Learner(world_model, actor_critic, optimizer)


def batch_and_start(step: Data) -> tuple[Batch, LatentState]:
    """The window without its context row, whose stored latents are the start and whose action is the first previous one."""
    tensor = {key: torch.from_numpy(value) for key, value in step.items()}
    batch = Batch(
        observation={"vec": tensor["in.vec"][:, 1:].double()},
        prev_action=tensor["in.action"][:, :-1].double(),
        reward=tensor["in.reward"][:, 1:].double(),
        is_first=tensor["in.is_first"][:, 1:],
        is_last=tensor["in.is_last"][:, 1:],
        terminated=tensor["in.is_terminal"][:, 1:],
    )
    return batch, LatentState(tensor["in.dyn.deter"][:, 0].double(), tensor["in.dyn.stoch"][:, 0].double().flatten(1))


def given(probs: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    return one_hot(index, probs)


def test_three_updates(golden: Golden) -> None:
    data = golden("train_steps")
    learner = build(data)
    assert learner.actor_critic is not None
    parts = Parts(world_model=learner.world_model, actor_critic=learner.actor_critic)
    before = {name: parameter.detach().clone() for name, parameter in parts.named_parameters()}
    for number in range(3):
        step = {key.removeprefix(f"s{number}."): value for key, value in data.items() if key.startswith(f"s{number}.")}
        batch, start = batch_and_start(step)
        index = {name: torch.from_numpy(step[f"in.{name}"]).long() for name in ("post_idx", "img_idx")}
        noise = Noise(index["post_idx"], index["img_idx"], torch.from_numpy(step["in.img_action_eps"]).double())
        observed = learner.world_model.observe(start, batch, noise=noise.posterior, draw=given)
        check(observed.state.h, step["out.writeback_deter"])
        check(observed.state.z.reshape(step["out.writeback_stoch"].shape), step["out.writeback_stoch"])
        figures, _ = learner.update(batch, start, noise, given)
        check(figures["loss"], step["out.total"], "total")
        check(figures["gradient_norm"], step["out.grad_norm"], "gradient norm")
        scales = {"rep": 0.1, "repval": 0.3}
        names = {"rew": "reward", "con": "continue", "dyn": "dynamics", "rep": "representation", "vec": "observation/vec"}
        names |= {"policy": "policy", "value": "value", "repval": "replay_value"}
        for theirs, ours in names.items():
            check(figures[f"loss/{ours}"] / scales.get(theirs, 1.0), step[f"out.loss.{theirs}"], ours)
        check(learner.actor_critic.return_scaler.low, step["out.retnorm_lo"])
        check(learner.actor_critic.return_scaler.high, step["out.retnorm_hi"])
        if number == 0:
            check_parameters(parts, data, "s0.param.", ["vec"], grad=False)
            moved = [name for name, p in parts.named_parameters() if not torch.equal(p, before[name])]
            assert all("slow_critic" in name for name in moved), "the first update has learning rate 0"
    assert check_parameters(parts, data, "s2.param.", ["vec"], grad=False) == len(before)
