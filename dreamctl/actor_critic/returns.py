"""Returns and their scale."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from dreamctl.core.limits import Share, Within


def lambda_return(reward: Tensor, continue_prob: Tensor, value: Tensor, trace: float) -> Tensor:
    """Bootstrapped return of each imagined step (DreamerV3, critic learning; indices as in our time table).

        R_t = r_{t+1} + c_{t+1} ((1 - λ) v_{t+1} + λ R_{t+1}),   R_H = v_H

    Args:
        reward: (N, H+1); index t belongs to state t, here and below.
        continue_prob: (N, H+1), already holds the discount.
        value: (N, H+1).
        trace: λ in [0, 1].

    Returns:
        (N, H); the last state only bootstraps.
    """
    return _backward(reward, continue_prob, value, torch.full_like(value, trace))


def replay_return(reward: Tensor, continues: Tensor, is_last: Tensor, bootstrap: Tensor, trace: float) -> Tensor:
    """Bootstrapped return along real experience; the end of an episode cuts the trace, only a terminal one cuts the bootstrap.

        R_t = r_{t+1} + c_{t+1} ((1 - λ_{t+1}) b_{t+1} + λ_{t+1} R_{t+1}),   λ_t = λ (1 - last_t),   R_{T-1} = b_{T-1}

    Args:
        reward: (B, T).
        continues: (B, T), γ (1 - terminated).
        is_last: (B, T) bool.
        bootstrap: (B, T), b_t is the return of a dream that began at t.
        trace: λ in [0, 1].

    Returns:
        (B, T-1).
    """
    return _backward(reward, continues, bootstrap, trace * (~is_last).to(reward.dtype))


def _backward(reward: Tensor, continues: Tensor, value: Tensor, trace: Tensor) -> Tensor:
    """R_t = (r + c (1 - λ) v)_{t+1} + (c λ)_{t+1} R_{t+1}, from the last value backwards; all (N, L), result (N, L-1)."""
    immediate = (reward + continues * (1 - trace) * value).unbind(1)
    carried = (continues * trace).unbind(1)
    returns = [value[:, -1]]
    for step in range(len(immediate) - 1, 0, -1):
        returns.append(torch.addcmul(immediate[step], carried[step], returns[-1]))
    return torch.stack(returns[:0:-1], 1)


def percentile(ordered: Tensor, level: float) -> Tensor:
    """Linearly interpolated percentile, (), of sorted values (n,); unlike `torch.quantile` it reads no tensor back to the host."""
    position = level * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return torch.lerp(ordered[below], ordered[above], position - below)


@dataclass(frozen=True)
class PercentileScale:
    """Returns are divided by a smoothed range between two of their percentiles, never by less than a limit (DreamerV3, actor learning).

        lo ← (1 - rate) lo + rate P_low(R),  hi ← (1 - rate) hi + rate P_high(R),  S = max(limit, hi - lo)

    Attributes:
        rate: of the moving averages, which start at 0.
        low, high: percentiles in [0, 1].
        limit: smallest scale, so that small returns are not blown up.
        debias: whether the averages are divided by 1 - (1 - rate)ⁿ after n updates, as if they had not started at 0.
    """

    kind: ClassVar[str] = "percentile"
    names: ClassVar[tuple[str, ...]] = ("low", "high")
    rate: Share = 0.01
    low: Share = 0.05
    high: Share = 0.95
    limit: Annotated[float, Within(1e-8)] = 1.0
    debias: bool = False

    def statistics(self, returns: Tensor) -> tuple[Tensor, ...]:
        """Both percentiles of returns of any shape."""
        ordered = returns.flatten().sort().values
        return percentile(ordered, self.low), percentile(ordered, self.high)

    def scale(self, low: Tensor, high: Tensor) -> Tensor:
        """S from the averages, ()."""
        return (high - low).clamp_min(self.limit)


@dataclass(frozen=True)
class DeviationScale:
    """Returns are divided by their smoothed standard deviation, never by less than a limit (DreamerV3 official code, `meanstd`).

        m ← (1 - rate) m + rate E[R],  q ← (1 - rate) q + rate E[R²],  S = max(limit, √(q - m²))

    Attributes:
        rate, limit, debias: as those of the percentiles.
    """

    kind: ClassVar[str] = "deviation"
    names: ClassVar[tuple[str, ...]] = ("mean", "square")
    rate: Share = 0.01
    limit: Annotated[float, Within(1e-8)] = 1.0
    debias: bool = True

    def statistics(self, returns: Tensor) -> tuple[Tensor, ...]:
        """E[R], E[R²]."""
        return returns.mean(), returns.square().mean()

    def scale(self, mean: Tensor, square: Tensor) -> Tensor:
        """S from the averages, ()."""
        return (square - mean.square()).clamp_min(0).sqrt().clamp_min(self.limit)


@dataclass(frozen=True)
class NoScale:
    """Returns as they are, S = 1 (Dreamer, DreamerV2)."""

    kind: ClassVar[str] = "none"
    names: ClassVar[tuple[str, ...]] = ()
    rate: ClassVar[float] = 0.0
    debias: ClassVar[bool] = False

    def statistics(self, returns: Tensor) -> tuple[Tensor, ...]:  # noqa: ARG002
        """Nothing."""
        return ()

    def scale(self) -> Tensor:
        """1, ()."""
        return torch.ones(())


ReturnScale = PercentileScale | DeviationScale | NoScale


class ReturnScaler(nn.Module):
    """The running statistics of returns; they are buffers, so they travel with the weights."""

    def __init__(self, config: ReturnScale) -> None:
        super().__init__()
        self.config = config
        for name in (*config.names, *(["correction"] if config.debias else [])):
            self.register_buffer(name, torch.zeros(()))
        self.register_buffer("like", torch.ones(()), persistent=False)

    @torch.no_grad()
    def update(self, returns: Tensor) -> None:
        """Take returns of any shape into the running statistics."""
        for name, found in zip(self.config.names, self.config.statistics(returns), strict=True):
            self.get_buffer(name).lerp_(found, self.config.rate)
        if self.config.debias:
            self.get_buffer("correction").lerp_(self.get_buffer("like"), self.config.rate)

    @property
    def averages(self) -> dict[str, Tensor]:
        """The running statistics by name, each (), the bias of their start divided out where the kind wants that."""
        raw = {name: self.get_buffer(name) for name in self.config.names}
        if not self.config.debias:
            return raw
        correction = self.get_buffer("correction").clamp_min(self.config.rate)
        return {name: average / correction for name, average in raw.items()}

    @property
    def scale(self) -> Tensor:
        """S, ()."""
        return self.config.scale(*self.averages.values()).to(self.get_buffer("like"))
