"""The classic mistakes of the fixtures' README, made in the modules that train: a golden test must notice each of them."""

import inspect
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType

import pytest

from dreamctl.actor_critic.model import ActorCritic
from dreamctl.actor_critic.returns import _backward, replay_return
from dreamctl.actor_critic.targets import SlowCritic
from dreamctl.nn.actions import BoundedNormal
from dreamctl.nn.convolutions import ConvolutionStage, PooledConvolutions
from dreamctl.nn.distributions import OneHot, TwoHot
from dreamctl.nn.optim import LaPropOptimizer, clip_by_norm_ratio
from dreamctl.nn.style import RMSNorm
from dreamctl.world_model.cells import BlockSequence, within_one
from dreamctl.world_model.continues import SoftContinue
from dreamctl.world_model.images import ImageDecoder, ImageEncoder
from dreamctl.world_model.kl import BalancedKL
from dreamctl.world_model.rssm import RSSM
from tests.conftest import Golden
from tests.golden import test_observations, test_policies, test_primitives, test_returns, test_train_steps, test_world_model
from tests.golden.report import REPORT

GOLDEN_TEST = Callable[..., None]
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Mistake:
    """Text that is replaced in the source of functions of ours, and a golden test that must fail for it.

    Attributes:
        edits: function, its text, what the mistake writes instead.
        noticed_by: takes the fixture `golden`.
    """

    edits: list[tuple[object, str, str]]
    noticed_by: GOLDEN_TEST


sequence_model = test_world_model.test_sequence_model
observe = partial(test_world_model.test_observe, case="rssm_cont")
images = partial(test_observations.test_encoder_and_decoder, case="encdec_small")
categorical = test_primitives.test_categorical
dynamics_loss = partial(test_primitives.test_categorical_kl_loss, term="dynamics", short="dyn")
two_hot = partial(test_primitives.test_two_hot, case="odd")
bounded_normal = test_policies.test_bounded_normal
replay_returns = partial(test_returns.test_replay_return, case="d")
imagination = partial(test_returns.test_imagination_loss, case="cont")
replay_loss = test_returns.test_replay_loss
clipping = test_returns.test_gradient_clipping
optimizer = partial(test_returns.test_optimizer, case="warm3")
three_updates = test_train_steps.test_three_updates

KL_TERM = "posterior.detach().kl(prior).clamp_min(self.free_nats)"
KL_TERM_BY_GROUP = "(posterior.detach().probs * (posterior.detach().log_probs - prior.log_probs)).sum(-1).clamp_min(self.free_nats).sum(-1)"
DISTANCES = "distance = (target - self.bins[below]).abs()\n    span = distance + (self.bins[above] - target).abs()"
DISTANCES_IN_SYMLOG_SPACE = (
    "low, x, high = (v.sign() * v.abs().log1p() for v in (self.bins[below], target, self.bins[above]))\n"
    "    distance = (x - low).abs()\n    span = distance + (high - x).abs()"
)
CONVOLVED = "F.conv2d(x, weight, bias, padding=self.kernel // 2)"
STAGE = "return self.style.activate(self.norm(self.conv(x)))"
STAGE_THAT_POOLS_LAST = (
    "x, before = self.norm(self.conv(x)), x\n"
    "    x = F.max_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1) if x.shape[1] == before.shape[1] else x\n"
    "    return self.style.activate(x)"
)
WEIGHT = "rollout.continue_prob.detach().cumprod(1)"
WEIGHT_WITHOUT_THE_START = "torch.cat([torch.ones_like(rollout.reward[:, :1]), rollout.continue_prob.detach()[:, 1:]], 1).cumprod(1)"
WEIGHT_SHIFTED = "torch.cat([torch.ones_like(rollout.reward[:, :1]), rollout.continue_prob.detach()[:, :-1]], 1).cumprod(1)"

MISTAKES = {
    "RMSNorm eps 1e-5": Mistake([(RMSNorm.module, "eps=self.eps", "eps=1e-5")], sequence_model),
    "gate order update,reset,cand": Mistake(
        [
            (BlockSequence.forward, "reset, candidate, update = gates", "update, reset, candidate = gates"),
            (BlockSequence.weights, "update[:, :, 2]", "update[:, :, 0]"),
        ],
        sequence_model,
    ),
    "gates split globally not per block": Mistake(
        [
            (BlockSequence.forward, "gates.chunk(3, -1)", "map(self._chunk, gates.transpose(0, 1).flatten(1).chunk(3, -1))"),
            (BlockSequence.weights, "update[:, :, 2]", "update.view(-1)[2 * self.size :]"),
        ],
        sequence_model,
    ),
    "no -1 update bias": Mistake([(BlockSequence.weights, "= UPDATE_BIAS", "= 0.0")], sequence_model),
    "update gate keeps old": Mistake([(BlockSequence.forward, "lerp(h, candidate,", "lerp(candidate, h,")], sequence_model),
    "no action clip": Mistake([(within_one, "action.detach().abs().clamp_min(1.0)", "1.0")], sequence_model),
    "prev action not masked at reset": Mistake(
        [(RSSM.observe, "prev_action.transpose(0, 1) * keep", "prev_action.transpose(0, 1)")], observe
    ),
    "no unimix": Mistake([(OneHot.__init__, "self.unimix = unimix", "self.unimix = 0.0")], categorical),
    "free bits per group": Mistake([(BalancedKL.__call__, KL_TERM, KL_TERM_BY_GROUP)], dynamics_loss),
    "KL reversed": Mistake([(BalancedKL.__call__, "posterior.detach().kl(prior)", "prior.kl(posterior.detach())")], dynamics_loss),
    "norm before pooling": Mistake(
        [(PooledConvolutions.down, f"F.max_pool2d({CONVOLVED}, 2)", CONVOLVED), (ConvolutionStage.forward, STAGE, STAGE_THAT_POOLS_LAST)],
        images,
    ),
    "encoder without -0.5": Mistake([(ImageEncoder.forward, "/ 255 - 0.5", "/ 255")], images),
    "decoder space block transposed wrong": Mistake([(ImageDecoder.forward, ".permute(0, 2, 3, 1, 4)", ".permute(0, 2, 3, 4, 1)")], images),
    "std bias +2 missing": Mistake([(BoundedNormal.distribution, "std + 2.0", "std")], bounded_normal),
    "return uses r_i instead of r_{i+1}": Mistake([(_backward, "(reward +", "(reward.roll(1, 1) +")], replay_returns),
    "is_last cuts bootstrap": Mistake([(replay_return, "reward, continues,", "reward, continues * ~is_last,")], replay_returns),
    "weights without con_0": Mistake([(ActorCritic.losses, WEIGHT, WEIGHT_WITHOUT_THE_START)], imagination),
    "weights shifted": Mistake([(ActorCritic.losses, WEIGHT, WEIGHT_SHIFTED)], imagination),
    "adv subtracts lo": Mistake([(ActorCritic.losses, "(log_prob, returns,", "(log_prob, returns - self.return_scaler.low,")], imagination),
    "normaliser used before update": Mistake(
        [
            (ActorCritic.losses, "self.return_scaler.update(returns)\n", "\n"),
            (ActorCritic.losses, "returns.detach()\n", "returns.detach(); self.return_scaler.update(returns)\n"),
        ],
        imagination,
    ),
    "entropy divided by S": Mistake([(ActorCritic.losses, "entropy_scale * entropy", "entropy_scale * entropy / scale")], imagination),
    "no slow regulariser": Mistake([(SlowCritic.loss, " * value.loss(slow)", " * 0.0")], imagination),
    "repval weight missing": Mistake([(ActorCritic.replay_loss, "(~batch.is_last[:, :-1]).to(loss.dtype) * ", "")], replay_loss),
    "twohot in symlog space": Mistake([(TwoHot.neighbours, DISTANCES, DISTANCES_IN_SYMLOG_SPACE)], two_hot),
    "AGC unit pmin 0": Mistake([(clip_by_norm_ratio, "(parameters), min_norm)", "(parameters), 0.0)")], clipping),
    "Adam instead of LaProp": Mistake(
        [
            (LaPropOptimizer._step, "(momenta, normalised,", "(momenta, gradients,"),
            (LaPropOptimizer._step, "(parameters, momenta,", "(parameters, torch._foreach_div(momenta, scales),"),
        ],
        optimizer,
    ),
    "warm-up (t+1)/W": Mistake([(LaPropOptimizer._step, "(step - 1) / config.warmup", "step / config.warmup")], optimizer),
    "contdisc label hard": Mistake([(SoftContinue.losses, "dtype) * discount", "dtype)")], three_updates),
}


def function_of(place: object) -> FunctionType:
    """The plain function inside a property or a decorator."""
    place = getattr(place, "fget", None) or getattr(place, "func", None) or place
    function = inspect.unwrap(place)
    assert isinstance(function, FunctionType)
    return function


def mutate(place: object, edits: list[tuple[str, str]], patch: pytest.MonkeyPatch) -> None:
    """Give a function the code of its edited source, for everyone who holds it."""
    function = function_of(place)
    source = textwrap.dedent(inspect.getsource(function))
    for old, new in edits:
        assert source.count(old) == 1, f"{function.__qualname__} holds {source.count(old)} times: {old}"
        source = source.replace(old, new)
    module = compile(source, f"<mistaken {function.__qualname__}>", "exec")
    code = next(constant for constant in module.co_consts if isinstance(constant, CodeType) and constant.co_name == function.__name__)
    patch.setattr(function, "__code__", code)


@pytest.fixture
def golden() -> Golden:
    """The fixtures of the README with its table of mistakes, whatever `--golden` says: at some sizes a mistake makes no difference.

    A single block, say, is in the same place in every order.
    """
    return lambda name: REPORT.load(HERE / f"{name}.npz")


@pytest.fixture(autouse=True)
def _unreported(monkeypatch: pytest.MonkeyPatch) -> None:
    """What mistaken code computes is no result of ours."""
    monkeypatch.setattr(REPORT, "worst", {})
    monkeypatch.setattr(REPORT, "seen", {})


@pytest.mark.parametrize("name", MISTAKES)
def test_a_golden_test_notices(golden: Golden, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    mistake = MISTAKES[name]
    mistake.noticed_by(golden)
    for place in {id(place): place for place, _, _ in mistake.edits}.values():
        mutate(place, [(old, new) for other, old, new in mistake.edits if other is place], monkeypatch)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        mistake.noticed_by(golden)


def test_every_mistake_of_the_table_is_made() -> None:
    text = (HERE / "README.md").read_text()
    assert set(MISTAKES) == set(re.findall(r"^(\S.*?) +failing checks", text, re.MULTILINE))
