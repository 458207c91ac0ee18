"""Golden: sequence model, RSSM, heads."""

import numpy as np
import pytest
import torch

from dreamctl.core.tensors import LatentState
from dreamctl.nn.distributions import one_hot
from dreamctl.nn.heads import Head
from dreamctl.nn.scalars import SymexpTwoHot
from dreamctl.world_model.cells import BlockGRU, BlockSequence
from dreamctl.world_model.continues import SoftContinue
from dreamctl.world_model.kl import BalancedKL
from dreamctl.world_model.latents import CategoricalLatent
from dreamctl.world_model.model import WorldModelConfig
from dreamctl.world_model.rssm import RSSM, RSSMConfig
from tests.conftest import Golden
from tests.golden.names import check, check_parameters, double, load_weights, nest

Data = dict[str, np.ndarray]


def given(probs: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """A draw that takes the sample from the noise."""
    return one_hot(index, probs)


def rssm_config(data: Data) -> tuple[RSSMConfig, CategoricalLatent]:
    cell = BlockGRU(int(data["cfg.blocks"]))
    config = RSSMConfig(int(data["cfg.deter"]), int(data["cfg.hidden"]), cell, int(data["cfg.imglayers"]), int(data["cfg.obslayers"]))
    return config, CategoricalLatent(int(data["cfg.stoch"]), int(data["cfg.classes"]), float(data["cfg.unimix"]))


def sequence_model(data: Data) -> BlockSequence:
    config, latent = rssm_config(data)
    sizes = config.recurrent, config.units, latent.size, data["in.action"].shape[-1]
    return BlockSequence(*sizes, blocks=int(data["cfg.blocks"]))


def test_sequence_model(golden: Golden) -> None:
    data = golden("gru")
    model = sequence_model(data).double()
    root = nest("world_model.rssm.sequence_model", model)
    load_weights(root, data)
    h, stoch, action = double(data["in.h0"]), double(data["in.stoch"]), double(data["in.action"])
    weights = model.weights()
    h_t = h
    for t in range(action.shape[1]):
        h_t = model(h_t, stoch[:, t].flatten(1), model.action_inputs(action[:, t], weights), weights)
        check(h_t, data["out.deter"][:, t], f"h at step {t}")
    (h_t * torch.from_numpy(data["in.gy"])).sum().backward()
    check_parameters(root, data, "grad.", grad=True)
    for leaf, name in ((h, "h0"), (stoch, "stoch"), (action, "action")):
        check(leaf.grad, data[f"grad.{name}"], name)


@pytest.mark.parametrize("case", ["rssm_cont", "rssm_disc"])
def test_observe(golden: Golden, case: str) -> None:
    data = golden(case)
    config, latent = rssm_config(data)
    actions = int(data["cfg.action_dim"])
    rssm = RSSM(config, latent, data["in.tokens"].shape[-1], actions).double()
    root = nest("world_model.rssm", rssm)
    load_weights(root, data)

    def encode(action: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(action)
        return one_hot(tensor.long(), torch.zeros(actions).double()) if data["cfg.action_discrete"] else tensor.double()

    start = LatentState(torch.from_numpy(data["in.deter0"]).double(), torch.from_numpy(data["in.stoch0"]).double().flatten(1))
    inputs = torch.from_numpy(data["in.tokens"]).double(), encode(data["in.prevact"]), torch.from_numpy(data["in.reset"])
    state, posterior = rssm.observe(start, *inputs, noise=torch.from_numpy(data["in.stoch_idx"]).long(), draw=given)
    groups = data["out.stoch"].shape
    prior = rssm.prior(state.h)
    check(state.h, data["out.deter"])
    check(state.z.reshape(groups), data["out.stoch"])
    check(posterior.reshape(groups), data["out.post_logit"])
    check(prior.reshape(groups), data["out.prior_logit"])
    q, p = latent.distribution(posterior), latent.distribution(prior)
    losses = BalancedKL(1.0, 1.0, float(data["cfg.free_nats"]))(q, p)
    check(q.kl(p), data["out.kl_raw"])
    check(losses["dynamics"], data["out.dyn"])
    check(losses["representation"], data["out.rep"])
    check(p.entropy().mean(), data["out.dyn_ent_mean"])
    check(q.entropy().mean(), data["out.rep_ent_mean"])
    total = losses["dynamics"].mean() + 0.1 * losses["representation"].mean()
    total = total + (torch.from_numpy(data["in.g_deter"]) * state.h).sum()
    total = total + (torch.from_numpy(data["in.g_stoch"]) * state.z.reshape(groups)).sum()
    check(total, data["out.L"])
    total.backward()
    check_parameters(root, data, "grad.", grad=True)

    last = LatentState(state.h[:, -1], state.z[:, -1])
    dreamt = encode(data["in.img_action"])
    plan = torch.cat([dreamt, dreamt[:, -1:]], 1).unbind(1)
    noise = torch.from_numpy(data["in.img_stoch_idx"]).long().transpose(0, 1)
    imagined, taken = rssm.imagine(last, lambda _, step: plan[step], len(noise), noise=noise, draw=given)
    check(taken[:, :-1], dreamt.numpy())
    groups = data["out.img_stoch"].shape
    check(imagined.h[:, 1:], data["out.img_deter"])
    check(imagined.z[:, 1:].reshape(groups), data["out.img_stoch"])
    check(rssm.prior(imagined.h[:, 1:]).reshape(groups), data["out.img_logit"])


def head(data: Data, name: str, path: str) -> Head:
    """The official head `name` with its weights."""
    kernels = [key for key in data if key.startswith(f"w.{name}.head") and key.endswith("kernel")]
    layers = len([key for key in data if key.startswith(f"w.{name}.mlp.linear") and key.endswith("kernel")])
    features, units = data[f"w.{name}.mlp.linear0.kernel"].shape
    module = Head(features, *(data[key].shape[1] for key in kernels), layers=layers, units=units).double()
    load_weights(nest(path, module), {key: value for key, value in data.items() if key.startswith(f"w.{name}.")})
    return module


def test_reward_and_continue_heads(golden: Golden) -> None:
    data = golden("heads")
    features = torch.from_numpy(data["in.feat"]).double()
    logits = head(data, "rew", "world_model.reward_predictor")(features)
    reward = SymexpTwoHot(logits.shape[-1]).distribution(logits)
    check(logits, data["out.rew_logits"])
    check(reward.mean, data["out.rew_mean"])
    check(reward.loss(torch.from_numpy(data["in.reward"]).double()), data["out.rew_loss"])
    continues, discount = SoftContinue(), 1 - 1 / WorldModelConfig().horizon
    logit = head(data, "con", "world_model.continue_predictor")(features)
    check(logit.squeeze(-1), data["out.con_logit"])
    check(continues.continue_prob(logit, discount), data["out.con_prob"])
    check(continues.losses(logit, torch.from_numpy(data["in.cont"]) == 0, discount)["continue"], data["out.con_loss_contdisc"])


def test_weights_outside_the_map_are_noticed(golden: Golden) -> None:
    data = golden("gru")
    model = sequence_model(data)
    missing = {key: value for key, value in data.items() if "dyngru" not in key}
    with pytest.raises(AssertionError, match="not in the fixture"):
        load_weights(nest("world_model.rssm.sequence_model", model), missing)
