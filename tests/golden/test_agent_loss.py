"""Golden: one loss of everything, images and vectors, continuous and discrete actions; and which loss reaches which part."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from dreamctl.actor_critic.model import ActorCritic, ActorCriticConfig, ActorCriticLossScales, Dreamt, NetworkConfig
from dreamctl.core.codec import ActionCodec
from dreamctl.core.experience import TaskSpec
from dreamctl.core.tensors import Batch, LatentState, Rollout
from dreamctl.nn.convolutions import PooledConvolutions
from dreamctl.nn.distributions import one_hot
from dreamctl.nn.optim import LaProp
from dreamctl.nn.scalars import SymexpTwoHot
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
LOSSES = {
    "rew": "reward",
    "con": "continue",
    "dyn": "dynamics",
    "rep": "representation",
    "image": "observation/image",
    "vec": "observation/vec",
    "policy": "policy",
    "value": "value",
    "repval": "replay_value",
}
MODULES = {
    "dyn": "world_model.rssm",
    "enc": "world_model.encoder",
    "dec": "world_model.decoder",
    "rew": "world_model.reward_predictor",
    "con": "world_model.continue_predictor",
    "pol": "actor_critic.actor",
    "val": "actor_critic.critic",
}


def given(probs: Tensor, index: Tensor) -> Tensor:
    """A draw that takes the sample from the noise."""
    return one_hot(index, probs)


def depth(data: Data, part: str) -> int:
    return len([key for key in data if key.startswith(f"w.{part}") and key.endswith("kernel") and "head" not in key])


def scale(data: Data, name: str) -> float:
    return float(data[f"cfg.scale.{name}"])


def space(data: Data) -> spaces.Space:
    if "in.img_action_idx" in data:
        return spaces.Discrete(data["w.pol.head.action.logits.bias"].size)
    return spaces.Box(-1, 1, data["in.prevact"].shape[2:], np.float32)


def world_model(data: Data) -> WorldModel:
    """Every size read off the fixture's arrays."""
    blocks, chunk, _ = data["w.dyn.dyngru.kernel"].shape
    channels = [data[f"w.enc.cnn{i}.bias"].size for i in range(depth(data, "enc.cnn"))]
    size, vector = data["in.image"].shape[2:], data["in.vec"].shape[2:]
    observation = {"image": spaces.Box(0, 255, size, np.uint8), "vec": spaces.Box(-np.inf, np.inf, vector)}
    beliefs = [depth(data, f"dyn.{side}") - 1 for side in ("prior", "obs")]
    config = WorldModelConfig(
        rssm=RSSMConfig(blocks * chunk, data["w.dyn.dynin0.bias"].size, BlockGRU(blocks), *beliefs),
        latent=CategoricalLatent(*data["in.stoch0"].shape[1:]),
        kl=BalancedKL(scale(data, "dyn"), scale(data, "rep"), 1.0),
        encoder=EncoderConfig(depth(data, "enc.mlp"), data["w.enc.mlp0.bias"].size),
        decoder=DecoderConfig(depth(data, "dec.mlp"), data["w.dec.mlp.linear0.bias"].size, len(data["w.dec.sp0.kernel"])),
        convolutions=PooledConvolutions(1, tuple(channels), len(data["w.enc.cnn0.kernel"])),
        reward_predictor=PredictorConfig(depth(data, "rew.mlp"), data["w.rew.mlp.linear0.bias"].size),
        reward_output=SymexpTwoHot(data["w.rew.head.logits.bias"].size),
        continue_predictor=PredictorConfig(depth(data, "con.mlp"), data["w.con.mlp.linear0.bias"].size),
        loss_scales=LossScales(scale(data, "image"), scale(data, "rew"), scale(data, "con")),
    )
    return WorldModel(config, TaskSpec(observation, space(data), "golden", "agent_loss"))


def learner(data: Data) -> Learner:
    """The whole agent with the fixture's weights and scale of returns."""
    model = world_model(data)
    config = ActorCriticConfig(
        actor=NetworkConfig(depth(data, "pol.mlp"), data["w.pol.mlp.linear0.bias"].size),
        critic=NetworkConfig(depth(data, "val.mlp"), data["w.val.mlp.linear0.bias"].size),
        value_output=SymexpTwoHot(data["w.val.head.logits.bias"].size),
        loss_scales=ActorCriticLossScales(scale(data, "policy"), scale(data, "value"), scale(data, "repval")),
        horizon=int(data["cfg.imag_length"]),
    )
    agent = ActorCritic(config, model.state_size, ActionCodec(space(data)), model.discount)
    load_weights(Parts(world_model=model, actor_critic=agent).double(), data, vectors=["vec"])
    agent.return_scaler.low.copy_(torch.tensor(data["in.retnorm_lo"]))
    agent.return_scaler.high.copy_(torch.tensor(data["in.retnorm_hi"]))
    return Learner(model, agent, LaProp())


def batch(data: Data) -> Batch:
    action = torch.from_numpy(ActionCodec(space(data)).encode(data["in.prevact"])).double()
    first = torch.from_numpy(data["in.is_first"])
    return Batch(
        observation={"image": torch.from_numpy(data["in.image"]), "vec": torch.from_numpy(data["in.vec"]).double()},
        prev_action=action * ~first.unsqueeze(-1),
        reward=torch.from_numpy(data["in.reward"]).double(),
        is_first=first,
        is_last=torch.from_numpy(data["in.is_last"]),
        terminated=torch.from_numpy(data["in.is_terminal"]),
    )


def noise(data: Data) -> Noise:
    post, dream = (torch.from_numpy(data[f"in.{name}"]).long() for name in ("post_idx", "img_idx"))
    if "in.img_action_eps" in data:
        return Noise(post, dream, torch.from_numpy(data["in.img_action_eps"]).double())
    return Noise(post, dream, torch.from_numpy(data["in.img_action_idx"]).long().unsqueeze(-1))


def norm(gradients: list[Tensor | None]) -> Tensor:
    """‖·‖ over all of them; one that nothing reached counts as zeros."""
    reached = [gradient.norm() for gradient in gradients if gradient is not None]
    return torch.stack(reached).norm() if reached else torch.zeros(()).double()


def check_figures(data: Data, agent: ActorCritic, figures: dict[str, Tensor], seen: tuple[Rollout, Dreamt]) -> None:
    """The official metrics, from figures that training reports and from what the critic learned from."""
    rollout, dreamt = seen
    scaler, values = agent.return_scaler, agent.value(rollout.state.features).mean
    found = {
        "adv": figures["advantage"],
        "adv_std": ((dreamt.returns - values[:, :-1]) / scaler.scale).std(correction=0),
        "ret": ((dreamt.returns - scaler.low) / scaler.scale).mean(),
        "ret_rate": (((dreamt.returns - scaler.low) / scaler.scale).abs() >= 1).double().mean(),
        "val": figures["value"],
        "weight": (rollout.continue_prob.cumprod(1) / rollout.discount).mean(),
        "rew": figures["imagined_reward"],
        "con": figures["imagined_continue"],
        "ent_action": figures["policy_entropy"],
        "dyn_ent": figures["prior_entropy"],
        "rep_ent": figures["posterior_entropy"],
    }
    for name, value in found.items():
        check(value, data[f"out.metric.{name}"], name)


@pytest.mark.parametrize("case", ["agent_loss_cont", "agent_loss_disc"])
def test_losses_gradients_and_their_routing(golden: Golden, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = golden(case)
    made = learner(data)
    model, agent = made.world_model, made.actor_critic
    assert agent is not None
    dreams: list[tuple[Rollout, Dreamt]] = []
    losses_of_a_dream = agent.losses

    def losses(rollout: Rollout) -> Dreamt:
        dreams.append((rollout, losses_of_a_dream(rollout)))
        return dreams[-1][1]

    monkeypatch.setattr(agent, "losses", losses)
    start = LatentState(torch.from_numpy(data["in.deter0"]).double(), torch.from_numpy(data["in.stoch0"]).double().flatten(1))
    observed = model.observe(start, batch(data), noise=noise(data).posterior, draw=given)
    check(model.encoder(observed.scaled), data["out.tokens"], "tokens")
    check(observed.state.h, data["out.feat.deter"], "h")
    check(observed.state.z.reshape(data["out.feat.stoch"].shape), data["out.feat.stoch"], "z")
    check(observed.posterior.reshape(data["out.feat.logit"].shape), data["out.feat.logit"], "posterior")

    terms, figures, *_ = made.losses(batch(data), start, noise(data), given)
    assert terms.keys() == set(LOSSES.values())
    for theirs, ours in LOSSES.items():
        wanted, found = data[f"out.loss.{theirs}"], terms[ours] / scale(data, theirs)
        check(found if found.shape == wanted.shape else found.mean(1).reshape(wanted.shape), wanted, ours)  # of dreams: their mean
    check(agent.return_scaler.low, data["out.state.retnorm.lo.value"], "low")
    check(agent.return_scaler.high, data["out.state.retnorm.hi.value"], "high")
    check_figures(data, agent, figures, dreams[-1])

    root = Parts(world_model=model, actor_critic=agent)
    for theirs, ours in LOSSES.items():
        for module, path in MODULES.items():
            parameters = list(root.get_submodule(path).parameters())
            gradients = torch.autograd.grad(terms[ours].mean(), parameters, retain_graph=True, allow_unused=True)
            wanted = data[f"out.gradnorm.{theirs}.{module}"]
            assert wanted != 0 or norm(gradients) == 0, f"{ours} must not reach {path}"
            check(norm(gradients) / scale(data, theirs), wanted, f"{ours} -> {path}")
    total = torch.stack([term.mean() for term in terms.values()]).sum()
    check(total, data["out.total"], "total")
    total.backward()
    assert check_parameters(root, data, "grad.", ["vec"], grad=True) == len([p for p in root.parameters() if p.requires_grad])
    assert all(parameter.grad is None for parameter in agent.slow_critic.parameters())
