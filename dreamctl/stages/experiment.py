"""The experiment: its sections, composed from the parts' own config classes, and how layers of plain values become one."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from dreamctl.actor_critic.model import ActorCriticConfig
from dreamctl.core.config import Layer, Merged, Values, build, merge, to_plain
from dreamctl.core.errors import InputError, UsageError
from dreamctl.core.limits import Count, Natural, Weight, Within
from dreamctl.nn.optim import LaProp, Optimizer
from dreamctl.replay.sampler import ReplayConfig
from dreamctl.world_model.model import WorldModelConfig


@dataclass(frozen=True)
class EnvConfig:
    """Section `env`.

    Attributes:
        suite, task: as in `suite:task` on the command line.
        num_envs: lanes that act at once.
        vectorize: `async` gives each lane a process; `auto` does so where a step takes over a millisecond.
        options: the suite's own, beside these keys.
    """

    suite: str = "gym"
    task: str = ""
    num_envs: Count = 1
    vectorize: Literal["auto", "sync", "async"] = "auto"
    options: Mapping[str, object] = field(default_factory=dict, metadata={"rest": True})

    @property
    def name(self) -> str:
        """As it is written on the command line."""
        return f"{self.suite}:{self.task}"


@dataclass(frozen=True)
class CollectConfig:
    """Section `collect`.

    Attributes:
        steps: actions to take; reset rows do not count.
        episodes: stop after so many complete episodes instead.
        shard_mb: a lane's shard is full, and sealed, at so many megabytes.
        sync_seconds: what was collected survives a loss of power after so long; a crash costs nothing.
        frame_size: short side of stored pictures, with `--frames`.
    """

    steps: Count = 1000
    episodes: Count | None = None
    shard_mb: Count = 32
    sync_seconds: Annotated[float, Within(0.01)] = 5.0
    frame_size: Count = 200


@dataclass(frozen=True)
class TrainWMConfig:
    """Section `train_wm`.

    Attributes:
        updates: gradient updates.
        holdout: share of the episodes that is never trained on; the same losses are reported on it.
        holdout_batches: batches of a report.
        log_every, checkpoint_every: updates between two lines of metrics, and between two checkpoints.
    """

    updates: Count = 1000
    holdout: Annotated[float, Within(0, 0.9)] = 0.1
    holdout_batches: Natural = 4
    log_every: Count = 50
    checkpoint_every: Count = 500


@dataclass(frozen=True)
class TrainACConfig:
    """Section `train_ac`.

    Attributes:
        updates: gradient updates.
        log_every, checkpoint_every: updates between two lines of metrics, and between two checkpoints.
    """

    updates: Count = 1000
    log_every: Count = 50
    checkpoint_every: Count = 500


@dataclass(frozen=True)
class ImagineConfig:
    """Section `imagine`.

    Attributes:
        actions: who acts in a dream; `auto` is `recorded` for a world model and `policy` for an agent.
        action: the constant action, in environment units, with `constant`.
        file: a .npy file of actions (horizon, *action) in environment units, with `file`.
        episodes: how many dreams.
        context: rows that are observed before the dream begins, the start included.
        horizon: steps dreamt.
        end: a dream ends where its continue probability, discount divided out, is below 0.5, or where a draw says so, or never.
    """

    actions: Literal["auto", "recorded", "policy", "mode", "random", "constant", "file"] = "auto"
    action: tuple[float, ...] = ()
    file: str = ""
    episodes: Count = 5
    context: Count = 8
    horizon: Count = 64
    end: Literal["threshold", "sample", "never"] = "threshold"


@dataclass(frozen=True)
class EvalConfig:
    """Section `eval`.

    Attributes:
        episodes: how many, each from its own seed.
        num_envs: lanes at once; 0 means one for each episode, at most 20.
        action: sampled as DreamerV3 does, or the likeliest.
        frame_size: short side of stored pictures, with `--frames`.
    """

    episodes: Count = 20
    num_envs: Natural = 0
    action: Literal["sample", "mode"] = "sample"
    frame_size: Count = 200

    @property
    def lanes(self) -> int:
        """Lanes at once."""
        return self.num_envs or min(self.episodes, 20)


@dataclass(frozen=True)
class RenderConfig:
    """Section `render`.

    Attributes:
        fps: rows shown a second.
        episodes: at most so many of the file's episodes.
        max_steps: at most so many steps of each.
        size: long side of a picture in pixels.
        hold: seconds that the last row of an episode stays.
        view: `auto` shows pictures where there are any; `traces` shows vectors as traces even so.
    """

    fps: Annotated[int, Within(1, 50)] = 20
    episodes: Count = 5
    max_steps: Count = 400
    size: Annotated[int, Within(64, 2000)] = 300
    hold: Annotated[float, Within(0.1, 60)] = 1.2
    view: Literal["auto", "traces"] = "auto"


@dataclass(frozen=True)
class RunConfig:
    """Section `run`.

    Attributes:
        steps: environment steps in all, the random ones included.
        prefill: random steps before the first update.
        train_ratio: replayed steps an environment step.
        eval_every: environment steps between two evaluations, which choose the best checkpoint.
        eval_episodes: episodes of such an evaluation; the final one is `eval.episodes`, on other seeds.
        log_every: updates between two lines of metrics.
    """

    steps: Count = 10_000
    prefill: Natural = 1000
    train_ratio: Weight = 32.0
    eval_every: Count = 1000
    eval_episodes: Count = 10
    log_every: Count = 50


@dataclass(frozen=True)
class Experiment:
    """Everything that says which experiment it is; how it is run is in the session."""

    env: EnvConfig = field(default_factory=EnvConfig)
    collect: CollectConfig = field(default_factory=CollectConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    world_model: WorldModelConfig = field(default_factory=WorldModelConfig)
    actor_critic: ActorCriticConfig = field(default_factory=ActorCriticConfig)
    optimizer: Optimizer = field(default_factory=LaProp)
    train_wm: TrainWMConfig = field(default_factory=TrainWMConfig)
    train_ac: TrainACConfig = field(default_factory=TrainACConfig)
    imagine: ImagineConfig = field(default_factory=ImagineConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    render: RenderConfig = field(default_factory=RenderConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        starts, length = self.actor_critic.starts, self.replay.batch_length
        if starts > length:
            raise UsageError(f"actor_critic.starts: is {starts}, a window holds replay.batch_length={length} rows; lower it, or 0 for all")


SECTIONS = tuple(Experiment.__dataclass_fields__)
SPEED = ("replay.cache", "replay.cache_gb")  # keys that change how fast things go, and nothing else
GONE = {"collect": ("seal_steps",)}  # keys of artefacts of earlier versions
RECORDED = "recorded"  # source of the values that an artefact holds


@dataclass(frozen=True)
class Resolved:
    """An experiment and where each of its values came from."""

    experiment: Experiment
    merged: Merged = field(default_factory=Merged)

    @property
    def plain(self) -> Values:
        """The experiment as plain values, complete: what artefacts record."""
        plain: Values = to_plain(self.experiment)
        return plain


def resolve(layers: Sequence[Layer]) -> Resolved:
    """The experiment that layers of plain values make, later over earlier, over the dataclass defaults.

    Raises:
        UsageError: an unknown key or a value of a wrong type.
    """
    merged = merge(layers, base=to_plain(Experiment()))
    try:
        return Resolved(build(Experiment, merged.values), merged)
    except UsageError as error:
        source = merged.origins.get(str(error).partition(": ")[0], "")
        if not source or source.startswith("--") or source == RECORDED:
            raise  # where it is from is known: an option names the key, an artefact is named by whoever reads it
        raise UsageError(f"{error} (from {source})") from error


def recorded(config: Values, place: Path) -> Resolved:
    """The experiment that the artefact at `place` recorded.

    Raises:
        InputError: this version has no such experiment.
    """
    try:
        return resolve([_layer(config)])
    except UsageError as error:
        raise InputError(f"{place}: its config is of another version of dreamctl, or damaged ({error}); train it again") from error


def check_same_section(section: str, given: Resolved, kept: Resolved, where: str) -> None:
    """Refuse explicit options that contradict what an artefact was made with; a section is one, or one dotted key of it.

    Raises:
        UsageError: names the first key of the section that differs.
    """
    new, old = _leaves(given.plain), _leaves(kept.plain)
    for key in sorted((new.keys() | old.keys()) - {*SPEED}):
        # A kind may be given by its name alone: then the key that was given lies above the leaf that differs.
        said = any(f"{key}.".startswith(f"{origin}.") for origin in given.merged.origins)
        if said and f"{key}.".startswith(f"{section}.") and new.get(key) != old.get(key):
            raise UsageError(f"{key}: is {new.get(key)!r} here, {where} was made with {old.get(key)!r}; leave it out or start anew")


def gone_on(config: Values, given: Resolved, free: Collection[str]) -> Resolved:
    """The experiment that an artefact recorded, and over it what is given anew in the free sections, or for speed."""
    origins = given.merged.origins.items()
    said = [(key.split("."), source) for key, source in origins if key.partition(".")[0] in free or key in SPEED]
    anew = [Layer(source, _nested(path, given.merged.values)) for path, source in said]
    return Resolved(resolve([_layer(config), *anew]).experiment, given.merged)


def _layer(config: Values) -> Layer:
    """What an artefact recorded, without keys of earlier versions that mean nothing any more."""
    return Layer(RECORDED, {name: _without(part, GONE.get(name, ())) for name, part in config.items()})


def _without(section: object, keys: Collection[str]) -> object:
    return {key: value for key, value in section.items() if key not in keys} if isinstance(section, Mapping) else section


def _nested(path: Sequence[str], values: Values) -> Values:
    """One value of nested ones, under its own keys."""
    head, *rest = path
    return {head: _nested(rest, values[head]) if rest else values[head]}


def _leaves(plain: object, path: str = "") -> dict[str, object]:
    if not isinstance(plain, Mapping):
        return {path: plain}
    return {key: leaf for name, part in plain.items() for key, leaf in _leaves(part, f"{path}.{name}" if path else str(name)).items()}
