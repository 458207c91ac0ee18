"""Golden: Dreamer, DreamerV2 and the first DreamerV3, whose parts are kinds of ours."""

import numpy as np
import pytest
import torch

from dreamctl.actor_critic.returns import lambda_return
from dreamctl.nn.distributions import LatentDistribution, Normal, OneHot, one_hot
from dreamctl.nn.scalars import SymlogSquaredError, SymlogTwoHot
from dreamctl.nn.style import LayerNorm, LayerStyle
from dreamctl.world_model.cells import NormGRU
from dreamctl.world_model.initial import LearnedInitial
from dreamctl.world_model.kl import KL, AverageKL, BalancedKL, PlainKL
from dreamctl.world_model.latents import CategoricalLatent, GaussianLatent, Latent
from dreamctl.world_model.rssm import RSSM, RSSMConfig
from tests.conftest import Golden
from tests.golden.names import check, double, load_weights, nest, to_ours

Data = dict[str, np.ndarray]

V3_2023 = LayerStyle(norm=LayerNorm(eps=1e-3), activation="silu")
DIVERGENCES = ["bal", "bal_free_avg", "bal_free_elem", "plain_free"]


def part(data: Data, prefix: str) -> Data:
    return {key.removeprefix(f"{prefix}."): value for key, value in data.items() if key.startswith(f"{prefix}.")}


def given(probs: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """A draw that takes the sample from the noise."""
    return one_hot(index.long(), probs)


def test_the_return_of_dreamer_v2_is_ours_one_index_later(golden: Golden) -> None:
    """R_t = r_t + d_t (...) there is R_t = r_{t+1} + c_{t+1} (...) here, so rewards and discounts move up by one; λ is 0.95."""
    data = part(golden("legacy"), "v2_lambda")
    reward, discount, value = (torch.from_numpy(data[f"in.{name}"]).double().T for name in ("reward", "discount", "value"))
    nothing = torch.zeros_like(reward[:, :1])
    values = torch.cat([value, torch.from_numpy(data["in.bootstrap"]).double().unsqueeze(1)], 1)
    found = lambda_return(torch.cat([nothing, reward], 1), torch.cat([nothing, discount], 1), values, 0.95)
    check(found.T, data["out.ret"])


def divergence(balance: float, free: float, free_avg: float) -> KL:
    """The kind of ours that DreamerV2's `balance, free, free_avg` stand for; at balance ½ it ignores `free_avg`."""
    if balance == 0.5:
        return PlainKL(free_nats=free, free="step")
    return AverageKL(balance, 1.0, free) if free_avg else BalancedKL(balance, 1 - balance, free)


@pytest.mark.parametrize("case", DIVERGENCES)
@pytest.mark.parametrize("latent", ["cat", "gauss"])
def test_divergences_of_dreamer_v2(golden: Golden, latent: str, case: str) -> None:
    data = part(golden("legacy"), f"v2_kl.{latent}")
    inputs = {key.removeprefix("in."): double(value) for key, value in data.items() if key.startswith("in.")}

    def distribution(side: str) -> LatentDistribution:
        return OneHot(inputs[f"{side}_logit"]) if latent == "cat" else Normal(inputs[f"{side}_mean"], inputs[f"{side}_std"])

    posterior, prior = distribution("post"), distribution("prior")
    check(posterior.kl(prior), data["out.value"])
    terms = divergence(*data[f"{case}.cfg"])(posterior, prior)
    assert all(term.shape == data["out.value"].shape for term in terms.values())
    loss = torch.stack([term.mean() for term in terms.values()]).sum()
    check(loss, data[f"{case}.out.loss"])
    loss.backward()
    for name, leaf in inputs.items():
        check(leaf.grad, data[f"{case}.grad.{name}"], name)


def test_divergence_of_dreamer_v1(golden: Golden) -> None:
    data = golden("legacy")
    sides = {side: [double(data[f"v2_kl.gauss.in.{side}_{name}"]) for name in ("mean", "std")] for side in ("post", "prior")}
    posterior, prior = Normal(*sides["post"]), Normal(*sides["prior"])
    check(PlainKL()(posterior, prior)["divergence"].mean(), data["v1_kl.out.mean_kl"])
    check(PlainKL(free_nats=3.0)(posterior, prior)["divergence"].mean(), data["v1_kl.out.free3"])


def test_cell_of_dreamer_v2(golden: Golden) -> None:
    data = part(golden("legacy"), "v2_gru")
    h, x = double(data["in.h"]), double(data["in.x"])
    cell = NormGRU(bias=True, clip_actions=False).module(h.shape[1], x.shape[1], 1, 1, style=LayerStyle()).double()
    of_x, of_h = to_ours("kernel", data["in.kernel"]).split([x.shape[1], h.shape[1]], 1)
    with torch.no_grad():
        cell.gates.weight.copy_(torch.cat([of_h, of_x], 1))
        cell.gates.bias.copy_(to_ours("bias", data["in.bias"]))
        cell.gates_norm.weight.copy_(to_ours("scale", data["in.ln_scale"]))
        cell.gates_norm.bias.copy_(to_ours("bias", data["in.ln_bias"]))
    check(cell.move(h, x), data["out.h"])


def first_v3(data: Data, latent: Latent) -> RSSM:
    """The recurrent model of the first DreamerV3 with its weights."""
    recurrent, units = data["w.rssm.initial"].size, data["w.rssm.img_in.kernel"].shape[1]
    config = RSSMConfig(recurrent, units, NormGRU(), prior_layers=1, initial=LearnedInitial())
    rssm = RSSM(config, latent, data["in.embed"].shape[-1], data["in.prevact"].shape[-1], style=V3_2023).double()
    load_weights(nest("world_model.rssm", rssm), data)
    return rssm


@pytest.mark.parametrize("kind", ["cat", "gauss"])
def test_recurrent_model_of_the_first_dreamer_v3(golden: Golden, kind: str) -> None:
    data = part(golden("legacy"), f"v3_2023_rssm.{kind}")
    samples = data["out.post_stoch"].shape[2:]
    latent = CategoricalLatent(*samples, unimix=0.01) if kind == "cat" else GaussianLatent(*samples, min_std=0.1, std="sigmoid")
    rssm = first_v3(data, latent)
    embedding, action = (torch.from_numpy(data[f"in.{name}"]).double() for name in ("embed", "prevact"))
    noise = torch.from_numpy(data["in.post_sample"]).double()
    begin = rssm.initial(len(embedding), embedding)
    state, params = rssm.observe(begin, embedding, action, torch.from_numpy(data["in.is_first"]), noise=noise, draw=given)
    beliefs = {"post": latent.distribution(params), "prior": latent.distribution(rssm.prior(state.h))}
    check(state.h, data["out.post_deter"])
    check(state.h, data["out.prior_deter"])
    check(state.z.unflatten(-1, samples), data["out.post_stoch"])
    check(beliefs["prior"].sample(torch.from_numpy(data["in.prior_sample"]).double(), given), data["out.prior_stoch"])
    for side, belief in beliefs.items():
        figures = {"logit": belief.log_probs} if kind == "cat" else {"mean": belief.mean, "std": belief.std}
        for name, figure in figures.items():
            check(figure, data[f"out.{side}_{name}"], f"{side} {name}")
    terms = BalancedKL(1.0, 1.0, free_nats=1.0)(beliefs["post"], beliefs["prior"])
    check(terms["dynamics"], data["out.dyn"])
    check(terms["representation"], data["out.rep"])


def test_two_hot_of_the_first_dreamer_v3(golden: Golden) -> None:
    data = part(golden("legacy"), "v3_2023_disc")
    logits = double(data["in.logits"])
    scalar = SymlogTwoHot(logits.shape[-1]).distribution(logits)
    check(-scalar.loss(torch.from_numpy(data["in.target"]).double()), data["out.logp"])
    check(scalar.mean, data["out.mean"])


def test_symlog_error_of_the_first_dreamer_v3(golden: Golden) -> None:
    data = part(golden("legacy"), "v3_2023_symlog")
    scalar = SymlogSquaredError().distribution(double(data["in.mode"]).unsqueeze(-1))
    check(-scalar.loss(torch.from_numpy(data["in.x"]).double()).sum(-1), data["out.logp"])
