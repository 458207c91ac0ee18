"""Golden: symlog, two-hot, categorical, norms, linears."""

import numpy as np
import pytest
import torch

from dreamctl.nn.blocks import MLP, BlockLinear, Linear, symexp, symlog
from dreamctl.nn.distributions import Bernoulli, Normal, OneHot, TwoHot, even_bins, one_hot, symexp_bins
from dreamctl.nn.scalars import SquaredError, SymlogSquaredError, SymlogTwoHot
from dreamctl.nn.style import LayerNorm, Norm, RMSNorm
from dreamctl.world_model.kl import BalancedKL
from tests.conftest import Golden
from tests.golden.names import check, double, load_weights, nest, to_ours


def test_symlog(golden: Golden) -> None:
    data = golden("symlog")
    x = double(data["in.x"])
    check(symlog(x), data["out.symlog_x"])
    check(symexp(double(data["in.y"])), data["out.symexp_y"])
    (gradient,) = torch.autograd.grad(symlog(x).sum(), x)
    check(gradient[2:], data["out.dsymlog_dx_nonzero"])


@pytest.mark.parametrize("case", ["b255", "odd", "even"])
def test_two_hot(golden: Golden, case: str) -> None:
    data = {key.removeprefix(f"{case}."): value for key, value in golden("twohot").items() if key.startswith(case)}
    bins = symexp_bins(len(data["bins"]))
    check(bins, data["bins"])
    logits, target = double(data["in.logits"]), double(data["in.target"]).detach()
    scalar = TwoHot(logits, bins)
    loss = scalar.loss(target)
    check(loss, data["out.loss"])
    loss.sum().backward()
    check(logits.grad, data["out.dloss_dlogits"])
    below, above, weight = scalar.neighbours(target)
    dense = one_hot(below, bins) * (1 - weight).unsqueeze(-1) + one_hot(above, bins) * weight.unsqueeze(-1)
    check(dense, data["out.target_twohot"])
    logits = double(data["in.logits_mean"])
    mean = TwoHot(logits, bins).mean
    check(mean, data["out.mean"])
    mean.sum().backward()
    check(logits.grad, data["out.dmean_dlogits"])
    zeros = torch.zeros(len(data["out.mean_zero_logits"]), len(bins))
    check(TwoHot(zeros.double(), bins).mean, data["out.mean_zero_logits"])
    assert (TwoHot(zeros.double(), bins).mean == 0).all()
    assert (TwoHot(zeros, bins.float()).mean == 0).all(), "also in float32"


def test_two_hot_in_symlog_space(golden: Golden) -> None:
    data = golden("twohot")
    bins = even_bins(len(data["v1.bins"]))
    check(bins, data["v1.bins"])
    kind, target = SymlogTwoHot(len(bins)), double(data["b255.in.target"]).detach()
    check(kind.distribution(double(data["b255.in.logits"])).loss(target), data["v1.out.loss"])
    check(kind.distribution(double(data["b255.in.logits_mean"])).mean, data["v1.out.mean"])
    below, above, weight = TwoHot(torch.zeros(len(bins)).double(), bins).neighbours(symlog(target))
    dense = one_hot(below, bins) * (1 - weight).unsqueeze(-1) + one_hot(above, bins) * weight.unsqueeze(-1)
    check(dense, data["v1.out.target_twohot"])


def test_normal(golden: Golden) -> None:
    data = golden("basic_dists")
    x, *numbers = (double(data[f"in.{name}"]) for name in ("x", "m1", "s1", "m2", "s2"))
    one, two = Normal(*numbers[:2]), Normal(*numbers[2:])
    check(one.log_prob(x), data["out.normal_logp"])
    check(one.entropy(), data["out.normal_entropy"])
    check(one.kl(two), data["out.normal_kl_qp"])


@pytest.mark.parametrize(("kind", "name"), [(SquaredError, "mse_sum"), (SymlogSquaredError, "symlog_mse_sum")])
def test_squared_errors(golden: Golden, kind: type, name: str) -> None:
    data = golden("basic_dists")
    scalar = kind().distribution(double(data["in.m1"]).unsqueeze(-1))
    check(scalar.loss(double(data["in.x"])).sum(-1), data[f"out.{name}"])


def test_bernoulli(golden: Golden) -> None:
    data = golden("basic_dists")
    logit = double(data["in.con_logit"])
    check(Bernoulli(logit).prob, data["out.prob1"])
    check(Bernoulli(logit).loss(double(data["in.con_hard"])), data["out.bce_hard"])
    soft = Bernoulli(logit).loss(double(data["in.con_soft"]))
    check(soft, data["out.bce_soft"])
    soft.sum().backward()
    check(logit.grad, data["out.dbce_soft_dlogit"])


def test_categorical(golden: Golden) -> None:
    data = golden("categorical")
    unimix = float(data["in.unimix"])
    post_logits, prior_logits = double(data["in.post"]), double(data["in.prior"])
    post, prior = OneHot(post_logits, unimix), OneHot(prior_logits, unimix)
    index = one_hot(torch.from_numpy(data["in.idx"]).long(), post_logits)
    check(post.log_probs, data["out.post_logprobs"])
    check(prior.log_probs, data["out.prior_logprobs"])
    check(post.log_prob(index), data["out.logp_idx"])
    check(post.entropy(), data["out.entropy"])
    check(post.mode, data["out.mode_onehot"])
    check(post.kl(prior), data["out.kl"])
    check(OneHot(post_logits[3:]).kl(OneHot(prior_logits[3:])), data["out.kl_no_unimix_rows_3plus"])
    per_group = [OneHot(post_logits[:, [s]], unimix) for s in range(post_logits.shape[1])]
    check(torch.stack([group.entropy() for group in per_group], 1), data["out.entropy_per_group"])
    others = [OneHot(prior_logits[:, [s]], unimix) for s in range(post_logits.shape[1])]
    check(torch.stack([p.kl(q) for p, q in zip(per_group, others, strict=True)], 1), data["out.kl_per_group"])


@pytest.mark.parametrize(("term", "short"), [("dynamics", "dyn"), ("representation", "rep")])
def test_categorical_kl_loss(golden: Golden, term: str, short: str) -> None:
    data = golden("categorical")
    kl = BalancedKL(dynamics=1.0, representation=1.0, free_nats=float(data["in.free"]))
    post, prior = double(data["in.post"]), double(data["in.prior"])
    loss = kl(OneHot(post, float(data["in.unimix"])), OneHot(prior, float(data["in.unimix"])))[term]
    check(loss, data[f"out.{short}"])
    (loss * torch.from_numpy(data["in.kl_w"])).sum().backward()
    zero = torch.zeros_like(post)
    check(post.grad if post.grad is not None else zero, data[f"out.d{short}_dpost"])
    check(prior.grad if prior.grad is not None else zero, data[f"out.d{short}_dprior"])


def test_straight_through_sample(golden: Golden) -> None:
    data = golden("categorical")
    logits = double(data["in.post"])
    index = torch.from_numpy(data["in.idx"]).long()
    sample = OneHot(logits, float(data["in.unimix"])).sample(index, lambda probs, noise: one_hot(noise, probs))
    check(sample, data["out.st_sample"])
    (sample * torch.from_numpy(data["in.st_w"])).sum().backward()
    check(logits.grad, data["out.st_grad"])


# Both fixtures use one ε, which is the official one of the RMS norm only.
@pytest.mark.parametrize(("case", "kind"), [("rms", RMSNorm()), ("layer", LayerNorm(eps=1e-4))])
def test_norms(golden: Golden, case: str, kind: Norm) -> None:
    data = golden("norms")
    x = double(data["in.x"])
    norm = kind.module(x.shape[-1]).double()
    parameters = {"scale": norm.weight} | ({"shift": norm.bias} if case == "layer" else {})
    for name, parameter in parameters.items():
        parameter.data.copy_(to_ours(name, data[f"w.{case}.{name}"]))
    y = norm(x)
    check(y, data[f"out.{case}"])
    y.backward(torch.from_numpy(data["in.gy"]).double())
    check(x.grad, data[f"out.d{case}_dx"])
    for name, parameter in parameters.items():
        check(parameter.grad, data[f"grad.{case}.{name}"], name)


def test_linears(golden: Golden) -> None:
    data = golden("linears")
    x, blocks = double(data["in.x"]), int(data["in.blocks"])
    block = BlockLinear(x.shape[1], data["w.block.bias"].size, blocks).double()
    block.weight.data.copy_(to_ours("kernel", data["w.block.kernel"]))
    block.bias.data.copy_(to_ours("bias", data["w.block.bias"]))
    y = block(x)
    check(y, data["out.block"])
    y.backward(torch.from_numpy(data["in.gy"]).double())
    check(x.grad, data["out.dblock_dx"])
    check(block.weight.grad, data["grad.block.kernel"])
    check(block.bias.grad, data["grad.block.bias"])
    linear = Linear(x.shape[1], data["w.linear.bias"].size).double()
    linear.weight.data.copy_(to_ours("kernel", data["w.linear.kernel"]))
    linear.bias.data.copy_(to_ours("bias", data["w.linear.bias"]))
    check(linear(x).reshape(data["out.linear"].shape), data["out.linear"])


def test_mlp(golden: Golden) -> None:
    data = golden("linears")
    layers = sum(key.startswith("w.mlp.linear") and key.endswith("kernel") for key in data)
    mlp = MLP(data["in.x"].shape[1], layers, data["w.mlp.linear0.bias"].size).double()
    official = {f"w.dec.{key[2:]}": value for key, value in data.items() if key.startswith("w.mlp.")}
    load_weights(nest("world_model.decoder.mlp", mlp), official)
    check(mlp(double(data["in.x"])), data["out.mlp"])


# Numbers whose spread is compared: enough to know it to a third of a percent.
DRAWN = 100_000


@pytest.mark.parametrize("layer", ["linear", "block"])
def test_initial_weights_have_the_official_spread(golden: Golden, layer: str) -> None:
    data = golden("linears")
    shape = [int(n) for n in data[f"init.{layer}.shape"]]
    torch.manual_seed(0)
    scale = 1 if layer == "linear" else shape[0]
    draws = [
        (Linear(shape[0], shape[1]) if layer == "linear" else BlockLinear(scale * shape[1], scale * shape[2], shape[0])).weight.detach()
        for _ in range(-(-DRAWN // np.prod(shape)))
    ]
    weight = torch.stack(draws)
    limit, before = float(data[f"init.{layer}.max_abs"]), float(data[f"init.{layer}.std_before_trunc"])
    assert weight.abs().max() <= limit * (1 + 1e-6)
    assert weight.abs().max() >= 0.99 * limit
    # Cutting a normal at two standard deviations leaves 0.8796 of its spread.
    assert weight.std().item() == pytest.approx(0.8796 * before, rel=0.02)
