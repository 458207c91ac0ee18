"""bfloat16 against float32 and float32 against float64: the same batch, noise and choices, through the learner that trains."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium import Space, spaces
from torch import Tensor
from torch.overrides import TorchFunctionMode

from dreamctl.actor_critic.model import ActorCritic, ActorCriticConfig, NetworkConfig
from dreamctl.core.checkpoint import Checkpoint
from dreamctl.core.codec import ActionCodec
from dreamctl.core.errors import StoppedEarly, UsageError
from dreamctl.core.session import Session
from dreamctl.core.tensors import Batch, LatentState
from dreamctl.nn.convolutions import PooledConvolutions
from dreamctl.nn.distributions import inverse_cdf, one_hot
from dreamctl.nn.heads import Head
from dreamctl.nn.optim import LaProp
from dreamctl.stages import compute
from dreamctl.stages.collect import collect
from dreamctl.stages.compute import Compute, set_up
from dreamctl.stages.dreaming import Dreamer
from dreamctl.stages.evaluate import evaluate
from dreamctl.stages.imagine import imagine
from dreamctl.stages.learner import Learner, Noise
from dreamctl.stages.policy import load_policy
from dreamctl.stages.run import run
from dreamctl.stages.train_ac import train_ac
from dreamctl.stages.train_wm import train_wm
from dreamctl.world_model.cells import Cell
from dreamctl.world_model.decoder import DecoderConfig
from dreamctl.world_model.encoder import EncoderConfig
from dreamctl.world_model.latents import CategoricalLatent, GaussianLatent, Latent
from dreamctl.world_model.model import PredictorConfig, WorldModelConfig
from dreamctl.world_model.rssm import RSSMConfig
from tests.kinds import each
from tests.stages.tiny import RESUME, differing, finite, stopping, tiny
from tests.world_model.models import BOX, DISCRETE, batch, world_model

HALF = Compute(torch.device("cpu"), "bf16", 1)
SINGLE = Compute(torch.device("cpu"), "fp32", 1)
B, T, UNITS = 8, 12, 64
VECTOR: Mapping[str, Space] = {"state": spaces.Box(-np.inf, np.inf, (6,), np.float32)}
IMAGE: Mapping[str, Space] = {"camera": spaces.Box(0, 255, (16, 16, 3), np.uint8)}
SEEN = pytest.mark.parametrize("seen", [VECTOR, IMAGE], ids=["vectors", "images"])
ACTS = pytest.mark.parametrize("space", [BOX, DISCRETE], ids=["box", "discrete"])
PREDICTOR = PredictorConfig(units=UNITS)
SIZES = {
    "rssm": RSSMConfig(recurrent=128, units=UNITS),
    "latent": CategoricalLatent(8, 8),
    "encoder": EncoderConfig(2, UNITS),
    "decoder": DecoderConfig(2, UNITS),
    "convolutions": PooledConvolutions(depth=8, multipliers=(2, 3)),
    "reward_predictor": PREDICTOR,
    "continue_predictor": PREDICTOR,
}


class Choices:
    """Draws as ever and remembers each choice, so that another computation can make the same ones."""

    def __init__(self) -> None:
        self.made: list[Tensor] = []

    def draw(self, probs: Tensor, noise: Tensor) -> Tensor:
        self.made.append(inverse_cdf(probs, noise).argmax(-1))
        return one_hot(self.made[-1], probs)

    def again(self) -> Callable[[Tensor, Tensor], Tensor]:
        left = iter(self.made)
        return lambda probs, _: one_hot(next(left), probs)


@dataclass
class Computed:
    """Loss terms, and the gradient of every parameter."""

    terms: dict[str, Tensor]
    figures: dict[str, Tensor]
    gradients: dict[str, Tensor]
    state: LatentState

    @property
    def loss(self) -> float:
        return sum(float(term.detach().mean()) for term in self.terms.values())


def learner(space: Space, seen: Mapping[str, Space], dtype: torch.dtype = torch.float32, **changes: object) -> Learner:
    """Fresh networks, as training begins with them."""
    model = world_model(space, seen, **{**SIZES, **changes})
    config = ActorCriticConfig(actor=NetworkConfig(2, UNITS, scale=0.01), critic=NetworkConfig(2, UNITS, scale=0.0), horizon=5, starts=4)
    actor_critic = ActorCritic(config, model.state_size, ActionCodec(space), model.discount)
    return Learner(model.to(dtype), actor_critic.to(dtype), LaProp(learning_rate=1e-3, warmup=1))


def computed(made: Learner, choices: Choices | None, precision: Compute = SINGLE, remember: Choices | None = None) -> Computed:
    """Loss terms and gradients of one update, its optimizer left out."""
    dtype = next(made.world_model.parameters()).dtype
    rows = cast(batch(made.world_model, B, T), dtype)
    chances = made.noise(B, T, torch.Generator().manual_seed(0))
    noise = Noise(*(part.to(dtype) for part in (chances.posterior, chances.dream, chances.action)))
    draw = remember.draw if remember is not None else choices.again() if choices is not None else inverse_cdf
    with precision.autocast():
        terms, figures, state = made.losses(rows, made.world_model.rssm.initial(B, rows.reward), noise, draw)
    made.optimizer.zero_grad()
    torch.stack([term.mean() for term in terms.values()]).sum().backward()
    parts = {"world_model": made.world_model, "actor_critic": made.actor_critic}
    named = {f"{part}.{name}": p for part, module in parts.items() for name, p in module.named_parameters() if p.requires_grad}
    return Computed(terms, figures, {name: p.grad.double() for name, p in named.items()}, state)


def cast(rows: Batch, dtype: torch.dtype) -> Batch:
    first = rows.is_first.clone()
    first[:, 0] = first[::2, 5] = True
    observation = {name: column if column.dtype == torch.uint8 else column.to(dtype) for name, column in rows.observation.items()}
    return replace(rows, observation=observation, prev_action=rows.prev_action.to(dtype), reward=rows.reward.to(dtype), is_first=first)


@lru_cache
def in_single(space_name: str, seen_name: str) -> tuple[Computed, Choices]:
    choices = Choices()
    space, seen = {"box": BOX, "discrete": DISCRETE}[space_name], {"vectors": VECTOR, "images": IMAGE}[seen_name]
    return computed(learner(space, seen), None, remember=choices), choices


def both(space: Space, seen: Mapping[str, Space]) -> tuple[Computed, Computed]:
    """The same update in float32 and in bfloat16."""
    single, choices = in_single("box" if space is BOX else "discrete", "vectors" if seen is VECTOR else "images")
    return single, computed(learner(space, seen), choices, HALF)


MODULES = {
    "encoder": "world_model.encoder.",
    "sequence model": "world_model.rssm.sequence_model.",
    "prior": "world_model.rssm.transition.",
    "posterior": "world_model.rssm.inference",
    "decoder": "world_model.decoder.",
    "reward": "world_model.reward_predictor.",
    "continue": "world_model.continue_predictor.",
    "actor": "actor_critic.actor.",
    "critic": "actor_critic.critic.",
}


def module_gradient(found: Computed, prefix: str) -> Tensor:
    return torch.cat([gradient.flatten() for name, gradient in found.gradients.items() if name.startswith(prefix)])


# bfloat16 against float32


@SEEN
@ACTS
def test_the_loss_in_half_precision_is_within_two_percent(space: Space, seen: Mapping[str, Space]) -> None:
    single, half = both(space, seen)
    assert half.loss == pytest.approx(single.loss, rel=0.02)
    assert half.terms.keys() == single.terms.keys()


@SEEN
@ACTS
def test_every_module_gets_the_same_direction_in_half_precision(space: Space, seen: Mapping[str, Space]) -> None:
    single, half = both(space, seen)
    cosines = {
        module: float(torch.cosine_similarity(module_gradient(single, prefix), module_gradient(half, prefix), 0))
        for module, prefix in MODULES.items()
    }
    assert all(cosine >= 0.98 for cosine in cosines.values()), cosines
    assert sum(len(module_gradient(single, prefix)) for prefix in MODULES.values()) == sum(g.numel() for g in single.gradients.values())


def test_casts_made_in_a_dream_without_gradients_do_not_outlive_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Earlier versions of torch would give the actor's weights no gradient (github.com/pytorch/pytorch, pull request 165068)."""
    made, order = learner(BOX, VECTOR), []
    losses = ActorCritic.losses
    monkeypatch.setattr(torch, "clear_autocast_cache", lambda: order.append("clear"))
    monkeypatch.setattr(ActorCritic, "losses", lambda *given: order.append("losses") or losses(*given))
    computed(made, None, HALF)
    assert order[:2] == ["clear", "losses"]


@pytest.mark.parametrize("updates", [10, 20])
def test_the_direction_is_the_same_after_updates(updates: int) -> None:
    made = learner(DISCRETE, VECTOR)
    rows = cast(batch(made.world_model, B, T), torch.float32)
    for number in range(updates):
        made.update(rows, made.world_model.rssm.initial(B, rows.reward), made.noise(B, T, torch.Generator().manual_seed(number)))
    scaler, choices = made.actor_critic.return_scaler.state_dict(), Choices()
    before = {name: value.clone() for name, value in scaler.items()}
    single = computed(made, None, remember=choices)
    made.actor_critic.return_scaler.load_state_dict(before)
    half = computed(made, choices, HALF)
    assert half.loss == pytest.approx(single.loss, rel=0.02)
    for module, prefix in MODULES.items():
        one, two = module_gradient(single, prefix), module_gradient(half, prefix)
        assert float(torch.cosine_similarity(one, two, 0)) >= 0.98, module


class Dtypes(TorchFunctionMode):
    """The floating dtypes that go into and come out of each function of torch."""

    def __init__(self) -> None:
        super().__init__()
        self.into: dict[str, set[torch.dtype]] = defaultdict(set)
        self.out_of: dict[str, set[torch.dtype]] = defaultdict(set)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", str(func))
        for where, values in ((self.into, [*args, *(kwargs or {}).values()]), (self.out_of, [result])):
            where[name] |= {value.dtype for value in values if isinstance(value, Tensor) and value.is_floating_point()}
        return result


# What must not be rounded: distributions and their samples, returns and their scale, two-hot, labels, reconstructions, norms.
PRECISE = ["softmax", "log_softmax", "log", "cumsum", "sort", "addcmul", "gather", "bucketize", "cumprod", "square", "rms_norm"]
PRECISE += ["binary_cross_entropy_with_logits"]
ROUNDED = ["addmm", "baddbmm"]


def test_a_head_rounds_its_blocks_and_not_its_last_layer() -> None:
    head = Head(8, 3, 2, layers=2, units=16)
    dense, last = [], []
    for block in head.mlp:
        block.linear.register_forward_hook(lambda _module, _given, result: dense.append(result.dtype))
    for out in head.out:
        out.register_forward_hook(lambda _module, given, result: last.extend((given[0].dtype, result.dtype)))
    with HALF.autocast():
        head(torch.ones(4, 8))
    assert dense == [torch.bfloat16] * 2
    assert last == [torch.float32] * 4


@SEEN
@ACTS
def test_only_products_and_the_recurrent_state_are_rounded(space: Space, seen: Mapping[str, Space]) -> None:
    made = learner(space, seen)
    with Dtypes() as used:
        half = computed(made, None, HALF)
    for name in PRECISE:
        assert used.into[name] == {torch.float32}, f"{name} of {used.into[name]}"
    for name in [*ROUNDED, *(["conv2d"] if seen is IMAGE else [])]:
        assert used.out_of[name] == {torch.bfloat16}, f"{name} gives {used.out_of[name]}"
    assert {half.state.h.dtype, half.state.z.dtype} == {torch.bfloat16}
    precise = {**half.terms, **half.figures}
    assert {name: value.dtype for name, value in precise.items() if value.dtype != torch.float32} == {}
    assert {p.dtype for p in made.parameters} == {p.grad.dtype for p in made.parameters} == {torch.float32}
    assert made.actor_critic.return_scaler.scale.dtype == torch.float32


def test_distributions_of_half_precision_numbers_are_float32() -> None:
    made = learner(DISCRETE, VECTOR)
    rows = cast(batch(made.world_model, B, T), torch.float32)
    model, noise = made.world_model, made.noise(B, T, torch.Generator().manual_seed(0))
    with HALF.autocast():
        observed = model.observe(model.rssm.initial(B, rows.reward), rows, noise=noise.posterior)
        prior = model.config.latent.distribution(model.rssm.prior(observed.state.h))
        posterior = model.config.latent.distribution(observed.posterior)
        value = made.actor_critic.value(observed.state.features)
    assert observed.posterior.dtype == torch.bfloat16
    assert {posterior.kl(prior).dtype, posterior.entropy().dtype, posterior.probs.dtype} == {torch.float32}
    assert {value.mean.dtype, value.loss(rows.reward).dtype} == {torch.float32}
    label = model.config.continue_output.losses(torch.full((1, 1, 1), 20.0).bfloat16(), torch.zeros(1, 1, dtype=torch.bool), 1 - 1 / 333)
    assert float(label["continue"]) == pytest.approx(20 / 333, rel=1e-3), "the discount in the label is not rounded"


@each("kind", Cell)
@pytest.mark.parametrize("latent", [CategoricalLatent(4, 4), GaussianLatent(8)], ids=["categorical", "gaussian"])
def test_every_cell_and_latent_learns_in_half_precision(kind: type[Cell], latent: Latent) -> None:
    rssm = RSSMConfig(recurrent=32, units=UNITS, cell=kind())
    made = learner(BOX, VECTOR, rssm=rssm, latent=latent)
    half = computed(made, None, HALF)
    assert all(bool(gradient.isfinite().all()) for gradient in half.gradients.values())
    single = computed(learner(BOX, VECTOR, rssm=rssm, latent=latent), None)
    assert half.loss == pytest.approx(single.loss, rel=0.1)


# float32 against float64


@SEEN
@ACTS
def test_gradients_in_single_precision_are_those_of_double(space: Space, seen: Mapping[str, Space]) -> None:
    single, choices = in_single("box" if space is BOX else "discrete", "vectors" if seen is VECTOR else "images")
    double = computed(learner(space, seen, torch.float64), choices)
    assert single.loss == pytest.approx(double.loss, rel=1e-5)
    for name, wanted in double.gradients.items():
        # Numbers of a tensor are summed from terms of the size of its largest, so that is what their errors are measured by.
        assert float((single.gradients[name] - wanted).abs().max()) <= 1e-3 * float(wanted.abs().max()), name


# Choosing


def test_an_unknown_precision_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="--precision fp16: is not known; known: auto, fp32, bf16"):
        set_up(Session(precision="fp16"), WorldModelConfig())


def test_auto_is_half_precision_for_wide_models_on_devices_that_are_faster_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    wide, narrow = WorldModelConfig(), WorldModelConfig(rssm=RSSMConfig(recurrent=compute.NARROW))
    for faster in (True, False):
        monkeypatch.setattr(compute, "_half_is_faster", lambda _, faster=faster: faster)
        assert set_up(Session(threads=1), wide).precision == ("bf16" if faster else "fp32")
        assert set_up(Session(threads=1), narrow).precision == "fp32"
        assert set_up(Session(threads=1, precision="bf16"), narrow).precision == "bf16"
        assert set_up(Session(threads=1, precision="fp32"), wide).precision == "fp32"
    assert isinstance(SINGLE.autocast(), nullcontext)


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory, replay: Path) -> Path:
    """A world model and an agent that were trained in bf16."""
    folder = tmp_path_factory.mktemp("half")
    session = Session(precision="bf16")
    train_wm(tiny(), [replay], folder / "wm.ckpt", None, session)
    train_ac(tiny(), folder / "wm.ckpt", [replay], folder / "agent.ckpt", None, Session())
    return folder


def test_checkpoints_record_it_and_later_stages_compute_so_too(half: Path) -> None:
    for name in ("wm.ckpt", "agent.ckpt"):
        kept = Checkpoint.load(half / name)
        assert kept.provenance["precision"] == "bf16"
        assert all(t.dtype != torch.bfloat16 for part in kept.weights.values() for t in part.values())
        assert finite(half / name)
    agent = half / "agent.ckpt"
    assert load_policy(Checkpoint.load(agent), agent, Session(), action="sample", seed=0).compute.precision == "bf16"
    assert Dreamer.load(Checkpoint.load(agent), agent, Session()).compute.precision == "bf16"
    assert Dreamer.load(Checkpoint.load(agent), agent, Session(precision="fp32")).compute.precision == "fp32"


def test_every_stage_computes_in_half_precision(half: Path, replay: Path, tmp_path: Path) -> None:
    agent = half / "agent.ckpt"
    imagine(tiny(), agent, [replay], tmp_path / "dreams.h5", Session())
    imagine(tiny(), half / "wm.ckpt", [replay], tmp_path / "recorded.h5", Session())
    assert evaluate(tiny(), agent, None, Session()).return_mean > 0
    assert collect(tiny(collect={"steps": 30}), tmp_path / "more", agent, Session()).env_steps == 30


def test_a_run_in_half_precision_finishes(tmp_path: Path) -> None:
    small = {"steps": 60, "prefill": 40, "eval_every": 60, "eval_episodes": 1, "train_ratio": 4}
    latents = {"batch_size": 4, "batch_length": 8, "start": "latents"}
    run(tiny(run=small, replay=latents), tmp_path / "run", Session(precision="bf16"))
    assert Checkpoint.load(tmp_path / "run" / "agent.ckpt").provenance["precision"] == "bf16"
    assert finite(tmp_path / "run" / "agent.ckpt")


def test_resuming_goes_on_in_the_precision_it_had(half: Path, replay: Path, tmp_path: Path) -> None:
    out = tmp_path / "wm.ckpt"
    with pytest.raises(StoppedEarly):
        train_wm(tiny(), [replay], out, None, stopping(3, precision="bf16"))
    train_wm(tiny(), [replay], out, None, RESUME)
    assert Checkpoint.load(out).provenance["precision"] == "bf16"
    assert differing(out, half / "wm.ckpt") == []
