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
        rate: of the moving average, which starts at 0 and is not debiased.
        low, high: percentiles in [0, 1].
        limit: smallest scale, so that small returns are not blown up.
    """

    kind: ClassVar[str] = "percentile"
    rate: Share = 0.01
    low: Share = 0.05
    high: Share = 0.95
    limit: Annotated[float, Within(1e-8)] = 1.0


ReturnScale = PercentileScale


class ReturnScaler(nn.Module):
    """The running range of returns; its two numbers are buffers, so they travel with the weights."""

    def __init__(self, config: ReturnScale) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))

    @torch.no_grad()
    def update(self, returns: Tensor) -> None:
        """Take returns of any shape into the running range."""
        ordered = returns.flatten().sort().values
        for name, level in (("low", self.config.low), ("high", self.config.high)):
            self.get_buffer(name).lerp_(percentile(ordered, level), self.config.rate)

    @property
    def scale(self) -> Tensor:
        """S, ()."""
        return (self.get_buffer("high") - self.get_buffer("low")).clamp_min(self.config.limit)
