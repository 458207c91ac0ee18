"""Dreams that begin where something real happened: where they start, who acts, when they end, what they look like."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dreamctl.actor_critic.model import ActorCritic
from dreamctl.core.checkpoint import Checkpoint
from dreamctl.core.codec import ActionCodec
from dreamctl.core.errors import InputError, UsageError
from dreamctl.core.experience import Array, Episode, TaskSpec
from dreamctl.core.session import Session
from dreamctl.core.tensors import LatentState, Rollout
from dreamctl.replay.reader import Replay
from dreamctl.stages.agent import load_actor_critic, load_world_model
from dreamctl.stages.compute import Compute, as_made, generator, set_up
from dreamctl.stages.encoding import decoded, encoded
from dreamctl.stages.experiment import ImagineConfig, recorded
from dreamctl.stages.given_actions import given_actions
from dreamctl.world_model.model import WorldModel

ALIVE = 0.5


@dataclass(frozen=True)
class Dreamer:
    """The models of a checkpoint; without an actor only given actions can be dreamt."""

    world_model: WorldModel
    actor_critic: ActorCritic | None
    spec: TaskSpec
    compute: Compute
    seed: int

    @classmethod
    def load(cls, checkpoint: Checkpoint, path: Path, session: Session) -> "Dreamer":
        """From a checkpoint of either kind."""
        compute = set_up(as_made(session, checkpoint.provenance), recorded(checkpoint.config, path).experiment.world_model)
        world_model = load_world_model(checkpoint, path, compute)
        agent = load_actor_critic(checkpoint, path, world_model, compute) if checkpoint.kind == "agent" else None
        return cls(world_model, agent, checkpoint.spec, compute, session.seed)


@dataclass(frozen=True)
class Start:
    """A stretch of one real episode: `context` rows to observe and what followed, as far as it went.

    Attributes:
        rows: the stretch, at least the context; with recorded actions at most context + horizon rows.
        source: file number and row of its first row.
    """

    rows: Episode
    source: tuple[int, int]


def actions_kind(config: ImagineConfig, dreamer: Dreamer) -> str:
    """Who acts.

    Raises:
        UsageError: the policy is asked for and there is no actor.
    """
    if config.actions == "auto":
        return "policy" if dreamer.actor_critic is not None else "recorded"
    if config.actions in ("policy", "mode") and dreamer.actor_critic is None:
        raise UsageError(f"imagine.actions={config.actions}: the checkpoint is a world model without an actor; give an agent, or recorded")
    return config.actions


def choose_starts(replay: Replay, config: ImagineConfig, kind: str, seed: int) -> list[Start]:
    """Stretches drawn uniformly from the places where the context fits, and with recorded actions the whole dream.

    Where no whole dream fits, the longest stretches there are.

    Raises:
        InputError: no episode is as long as the context.
    """
    infos = [info for info in replay.episodes() if info.length > config.context]
    if not infos:
        longest = max((info.length for info in replay.episodes()), default=0)
        raise InputError(f"{replay.name}: longest episode holds {longest} rows, imagine.context is {config.context}; lower imagine.context")
    whole = config.context + (config.horizon if kind == "recorded" else 0)
    wanted = min(whole, max(info.length for info in infos))
    fits = [info for info in infos if info.length >= wanted]
    places = np.cumsum([info.length - wanted + 1 for info in fits])
    noise = np.random.default_rng([seed, 2])
    starts = []
    for place in noise.integers(0, places[-1], config.episodes):
        number = int(np.searchsorted(places, place, side="right"))
        row = int(place - (places[number - 1] if number else 0))
        starts.append(Start(replay.load(fits[number], rows=(row, row + wanted)), replay.locate(fits[number], row)))
    return starts


def dream_episodes(dreamer: Dreamer, starts: Sequence[Start], config: ImagineConfig, kind: str, session: Session) -> list[Episode]:
    """One dream a start.

    Raises:
        StoppedEarly, Interrupted: when asked to stop; nothing was written.
    """
    session.progress.start("imagine", len(starts))
    dreams = []
    for number, start in enumerate(starts):
        if session.stop.requested():
            raise session.stop.lost("imagine", f"dream {number} of {len(starts)}")
        with torch.no_grad(), dreamer.compute.autocast():
            dreams.append(_dream(dreamer, start, config, kind, number))
        session.progress.update(number + 1)
    return dreams


def _dream(dreamer: Dreamer, start: Start, config: ImagineConfig, kind: str, number: int) -> Episode:
    noise = generator(dreamer.compute, dreamer.seed, 3, number)
    latent = dreamer.world_model.config.latent
    seen = _observe(dreamer, start.rows, config.context, latent.noise((1, config.context), noise))
    horizon = config.horizon if kind != "recorded" else len(start.rows) - config.context
    act = _actor(dreamer, start, config, kind, noise, horizon)
    last = LatentState(seen.h[:, -1], seen.z[:, -1])
    rollout = dreamer.world_model.imagine(last, act, horizon, noise=latent.noise((horizon, 1), noise))
    return _as_episode(dreamer, start, seen, rollout, config, kind, noise)


def _observe(dreamer: Dreamer, rows: Episode, context: int, noise: Tensor) -> LatentState:
    """Posterior states (1, context, ·) of the first rows."""
    codec, model, device = ActionCodec(dreamer.spec.action), dreamer.world_model, dreamer.compute.device
    observation = encoded(dreamer.spec, {name: column[None, :context] for name, column in rows.observation.items()}, device)
    actions = torch.from_numpy(codec.encode(rows.action[:context])).to(device)
    previous = torch.cat([torch.zeros_like(actions[:1]), actions[:-1]]).unsqueeze(0)
    first = torch.zeros(1, context, dtype=torch.bool, device=device)
    first[:, 0] = True
    embedding = model.encoder(model.scaler(observation))
    return model.rssm.observe(model.rssm.initial(1, embedding), embedding, previous, first, noise=noise)[0]


def _actor(
    dreamer: Dreamer, start: Start, config: ImagineConfig, kind: str, noise: torch.Generator, horizon: int
) -> Callable[[LatentState, int], Tensor]:
    """Who chooses the action (1, A) at each imagined state."""
    codec, agent = ActionCodec(dreamer.spec.action), dreamer.actor_critic
    if kind in ("policy", "mode"):
        assert agent is not None
        chances = agent.noise((horizon + 1, 1), noise)

        def follow(state: LatentState, step: int) -> Tensor:
            belief = agent.policy(state.features)
            return belief.sample(chances[step]) if kind == "policy" else belief.mode

        return follow
    stored = given_actions(codec, start.rows, config, kind, seed=dreamer.seed + start.source[1], horizon=horizon)
    plan = torch.from_numpy(codec.encode(stored)).to(dreamer.compute.device)
    return lambda _, step: plan[min(step, len(plan) - 1)].unsqueeze(0)


def _as_episode(
    dreamer: Dreamer, start: Start, seen: LatentState, rollout: Rollout, config: ImagineConfig, kind: str, noise: torch.Generator
) -> Episode:
    """Context rows as the model reconstructs them, then the dream, cut where it ends; truth beside both as far as it goes."""
    model, context = dreamer.world_model, config.context
    state = LatentState(torch.cat([seen.h, rollout.state.h[:, 1:]], 1), torch.cat([seen.z, rollout.state.z[:, 1:]], 1))
    alive = model.survival(state.features)[0]
    rows, ended = _length(alive, context, config, noise)
    codec, real = ActionCodec(dreamer.spec.action), start.rows
    action = np.concatenate([real.action[: context - 1], codec.decode(rollout.action[0].cpu().numpy())])[:rows].copy()
    action[-1] = 0
    reward = np.concatenate([real.reward[:context], rollout.reward[0, 1:].cpu().numpy()])[:rows].astype(np.float32)
    flags = np.zeros((3, rows), np.bool_)
    flags[0, 0] = True
    flags[1, -1] = ended
    known = min(rows, len(real) if kind == "recorded" else context)
    extra = {"continue_prob": alive[:rows].cpu().numpy()}
    if dreamer.actor_critic is not None:
        features = state.features[0, :rows]
        extra["value"] = dreamer.actor_critic.value(features).mean.cpu().numpy()
        extra["entropy"] = dreamer.actor_critic.policy(features).entropy().cpu().numpy()
    return Episode(
        observation=_pictures(dreamer, state, rows),
        action=action,
        reward=reward,
        is_first=flags[0],
        terminated=flags[1],
        truncated=flags[2],
        extra=extra,
        truth={name: _padded(column[:known], rows) for name, column in real.observation.items()},
        truth_valid=np.arange(rows) < known,
        context=context,
        source_shard=start.source[0],
        source_row=start.source[1],
    )


def _pictures(dreamer: Dreamer, state: LatentState, rows: int) -> dict[str, Array]:
    """What the states look like, in environment units and the dtype of the space."""
    return decoded(dreamer.spec, dreamer.world_model.reconstruct(LatentState(state.h[0, :rows], state.z[0, :rows])))


def _length(alive: Tensor, context: int, config: ImagineConfig, noise: torch.Generator) -> tuple[int, bool]:
    """Rows of the dream, and whether it ended by itself."""
    if config.end == "never":
        return len(alive), False
    level = torch.rand(len(alive), generator=noise, device=noise.device) if config.end == "sample" else torch.full_like(alive, ALIVE)
    dead = (alive < level)[context:].nonzero()
    return (context + int(dead[0, 0]) + 1, True) if len(dead) else (len(alive), False)


def _padded(column: Array, rows: int) -> Array:
    return np.concatenate([column, np.zeros((rows - len(column), *column.shape[1:]), column.dtype)])
