"""Golden: three consecutive updates of everything, through the trainer that `run` uses, stored latents included."""

import re
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from gymnasium import spaces

from dreamctl.actor_critic.model import ActorCritic, ActorCriticConfig, NetworkConfig, SlowCritic
from dreamctl.core.codec import ActionCodec
from dreamctl.core.experience import Row, TaskSpec, Windows
from dreamctl.core.tensors import Batch
from dreamctl.nn.distributions import one_hot
from dreamctl.nn.optim import LaProp
from dreamctl.nn.scalars import SymexpTwoHot
from dreamctl.replay.reader import Replay
from dreamctl.replay.sampler import ReplayConfig, WindowSampler
from dreamctl.replay.windows.index import Behind, Places, WindowIndex
from dreamctl.replay.windows.latents import LatentStore
from dreamctl.replay.windows.side_file import SideFiles
from dreamctl.replay.windows.starts import StoredLatents
from dreamctl.stages.compute import Compute
from dreamctl.stages.learner import Learner, Noise
from dreamctl.stages.training import Trainer
from dreamctl.stages.window_start import Memory
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


def build(data: Data) -> tuple[Learner, TaskSpec]:
    """The whole agent, every size read off the fixture's arrays."""
    blocks, chunk, _ = data["w.dyn.dyngru.kernel"].shape
    groups, classes = data["s0.in.dyn.stoch"].shape[2:]
    units = {part: data[f"w.{part}.mlp.linear0.bias"].size for part in ("rew", "con", "pol", "val", "dec")}
    vector, action = data["s0.in.vec"].shape[-1], data["s0.in.action"].shape[-1]
    spec = TaskSpec({"vec": spaces.Box(-np.inf, np.inf, (vector,))}, spaces.Box(-1, 1, (action,)), "golden", "train_steps")
    beliefs = [layers(data, f"dyn.{side}") - 1 for side in ("prior", "obs")]
    config = WorldModelConfig(
        rssm=RSSMConfig(blocks * chunk, data["w.dyn.dynin0.bias"].size, BlockGRU(blocks), *beliefs),
        latent=CategoricalLatent(groups, classes),
        kl=BalancedKL(1.0, 0.1, 1.0),
        encoder=EncoderConfig(layers(data, "enc.mlp"), data["w.enc.mlp0.bias"].size),
        decoder=DecoderConfig(layers(data, "dec.mlp"), units["dec"]),
        reward_predictor=PredictorConfig(layers(data, "rew.mlp"), units["rew"]),
        reward_output=SymexpTwoHot(data["w.rew.head.logits.bias"].size),
        continue_predictor=PredictorConfig(layers(data, "con.mlp"), units["con"]),
        loss_scales=LossScales(),
    )
    agent = ActorCriticConfig(
        actor=NetworkConfig(layers(data, "pol.mlp"), units["pol"]),
        critic=NetworkConfig(layers(data, "val.mlp"), units["val"]),
        value_output=SymexpTwoHot(data["w.val.head.logits.bias"].size),
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
    return Learner(world_model, actor_critic, optimizer), spec


@dataclass(frozen=True)
class InOrder:
    """Draws every window there is, in order."""

    def choose(self, _: np.random.Generator, windows: WindowIndex, batch_size: int, behind: Behind) -> tuple[Places, Behind]:
        assert len(windows) == batch_size, "one window a stream"
        return windows.places(np.arange(batch_size)), behind


class GoldenTrainer(Trainer):
    """The trainer in float64."""

    def _to_batch(self, windows: Windows) -> Batch:
        batch = super()._to_batch(windows)
        observation = {name: column.double() for name, column in batch.observation.items()}
        return replace(batch, observation=observation, prev_action=batch.prev_action.double(), reward=batch.reward.double())


def given_noise(step: Data) -> Noise:
    index = {name: torch.from_numpy(step[f"in.{name}"]).long() for name in ("post_idx", "img_idx")}
    return Noise(index["post_idx"], index["img_idx"], torch.from_numpy(step["in.img_action_eps"]).double())


def new_trainer(learner: Learner, step: Data, spec: TaskSpec) -> Trainer:
    """A trainer on a replay of the step's rows, one stream a window, with the latents of its context row stored."""
    lanes, rows = step["in.reward"].shape
    replay = Replay.empty(spec, lanes)
    for lane in range(lanes):
        for t in range(rows):
            terminated, last = bool(step["in.is_terminal"][lane, t]), bool(step["in.is_last"][lane, t])
            observation, action = {"vec": step["in.vec"][lane, t]}, step["in.action"][lane, t]
            first, reward = bool(step["in.is_first"][lane, t]), float(step["in.reward"][lane, t])
            replay.add(Row(lane, observation, action, reward, first, terminated, last and not terminated))
    config = ReplayConfig(batch_size=lanes, batch_length=rows - 1, selector=InOrder(), start=StoredLatents())  # type: ignore[arg-type]
    h, z = (step[f"in.dyn.{name}"][:, :1].reshape(lanes, 1, -1) for name in ("deter", "stoch"))
    store = LatentStore((h.shape[-1], z.shape[-1]), np.float64)
    store.write(replay.streams, np.arange(lanes), np.zeros(lanes, np.int64), h, z, updates=0)
    memory = Memory(store, SideFiles(store, "golden", print))
    compute = Compute(torch.device("cpu"), "fp32", 1)
    return GoldenTrainer(learner, WindowSampler(replay, config, 0), spec, compute, 0, memory=memory)


def check_write_back(trainer: Trainer, step: Data) -> None:
    """The store holds the posteriors of the rows that were learned from, and the context row's own as it was."""
    assert trainer.memory is not None
    lanes, steps = step["out.writeback_deter"].shape[:2]
    stream, row = np.repeat(np.arange(lanes), steps), np.tile(1 + np.arange(steps), lanes)
    found = trainer.memory.store.read(trainer.sampler.streams, stream, row)
    assert found.known.all()
    check(torch.from_numpy(found.h).reshape(step["out.writeback_deter"].shape), step["out.writeback_deter"], "h written back")
    check(torch.from_numpy(found.z).reshape(step["out.writeback_stoch"].shape), step["out.writeback_stoch"], "z written back")
    context = trainer.memory.store.read(trainer.sampler.streams, np.arange(lanes), np.zeros(lanes, np.int64))
    assert (context.h == step["in.dyn.deter"][:, 0]).all()


def given(probs: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    return one_hot(index, probs)


def test_three_updates(golden: Golden) -> None:
    data = golden("train_steps")
    learner, spec = build(data)
    assert learner.actor_critic is not None
    parts = Parts(world_model=learner.world_model, actor_critic=learner.actor_critic)
    before = {name: parameter.detach().clone() for name, parameter in parts.named_parameters()}
    last = max(int(key[1:].partition(".")[0]) for key in data if re.match(r"s\d+\.", key))
    for number in range(last + 1):
        step = {key.removeprefix(f"s{number}."): value for key, value in data.items() if key.startswith(f"s{number}.")}
        trainer = new_trainer(learner, step, spec)
        learner.noise = lambda *_, step=step: given_noise(step)  # type: ignore[method-assign]
        learner.update = partial(Learner.update, learner, draw=given)  # type: ignore[method-assign]
        trainer.update(number)
        (figures,) = trainer._pending
        check_write_back(trainer, step)
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
            assert not data["cfg.warmup"] or all("slow_critic" in name for name in moved), "a warm-up begins with learning rate 0"
    assert check_parameters(parts, data, f"s{last}.param.", ["vec"], grad=False) == len(before)
