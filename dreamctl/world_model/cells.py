"""Kinds of recurrent cell: how the deterministic state moves on, h_t = f(h_{t-1}, z_{t-1}, a_{t-1})."""

from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn

from dreamctl.core.limits import Count, Weight
from dreamctl.nn.blocks import DEFAULT_STYLE, BlockLinear, Dense, Linear, init_weight_, product_dtype
from dreamctl.nn.style import FullPrecisionLayerNorm, LayerStyle

# The update gate starts mostly closed: σ(-1) = 0.27 of the candidate is taken at each step.
UPDATE_BIAS = -1.0

W = TypeVar("W")


class SequenceModel(nn.Module, Generic[W]):
    """h_t = f(h_{t-1}, z_{t-1}, a_{t-1}), in three parts, so that a scan repeats only what depends on h and z.

    `weights` cuts the stored tensors into what a step multiplies by, `action_inputs` takes in the actions of all steps at once, and a
    call is one step: h (N, D), z (N, Z) and action_input (N, ·) -> the next h (N, D).
    """

    def __init__(self, action_size: int) -> None:
        super().__init__()
        self.action_size = action_size

    def weights(self) -> W:
        """The stored weights as a step uses them; once before a scan, gradients flow through."""
        raise NotImplementedError

    def action_inputs(self, action: Tensor, weights: W) -> Tensor:
        """What actions (N, A) contribute to a step, (N, ·)."""
        raise NotImplementedError

    def forward(self, h: Tensor, z: Tensor, action_input: Tensor, weights: W) -> Tensor:
        """One step: h (N, D), z (N, Z), action_input (N, ·) -> the next h (N, D)."""
        raise NotImplementedError


@dataclass(frozen=True)
class BlockGRU:
    """A GRU whose large matrices are block-diagonal (DreamerV3).

    Attributes:
        blocks: G; divides the width of h.
    """

    kind: ClassVar[str] = "block_gru"
    blocks: Count = 8

    def check(self, recurrent: int) -> None:
        """Refuse a width D of h that this cell cannot have.

        Raises:
            ValueError: D does not divide into blocks.
        """
        if recurrent % self.blocks:
            raise ValueError(f"recurrent={recurrent} does not divide into blocks={self.blocks}; make it a multiple")

    def module(self, recurrent: int, units: int, latent_size: int, action_size: int, *, style: LayerStyle) -> "BlockSequence":
        """The network of this cell."""
        return BlockSequence(recurrent, units, latent_size, action_size, blocks=self.blocks, style=style)


@dataclass(frozen=True)
class NormGRU:
    """A GRU whose three gates come from one linear layer and are normalised together (DreamerV2; DreamerV3, first version).

    Attributes:
        bias: whether that linear layer has one, as in DreamerV2.
        eps: of the layer norm.
        clip_actions: scale actions beyond ±1 back to ±1, as in DreamerV3.
    """

    kind: ClassVar[str] = "norm_gru"
    bias: bool = False
    eps: Weight = 1e-3
    clip_actions: bool = True

    def check(self, recurrent: int) -> None:
        """Any width of h will do."""

    def module(self, recurrent: int, units: int, latent_size: int, action_size: int, *, style: LayerStyle) -> "NormSequence":
        """The network of this cell."""
        return NormSequence(self, recurrent, units, latent_size, action_size, style=style)


@dataclass(frozen=True)
class PlainGRU:
    """The textbook GRU on a dense layer of [z, a] (Dreamer)."""

    kind: ClassVar[str] = "gru"

    def check(self, recurrent: int) -> None:
        """Any width of h will do."""

    def module(self, recurrent: int, units: int, latent_size: int, action_size: int, *, style: LayerStyle) -> "PlainSequence":
        """The network of this cell."""
        return PlainSequence(recurrent, units, latent_size, action_size, style=style)


Cell = BlockGRU | NormGRU | PlainGRU


def within_one(action: Tensor) -> Tensor:
    """a / sg(max(1, |a|)): actions (N, A) beyond ±1 are scaled back to ±1 and keep a gradient."""
    return action / action.detach().abs().clamp_min(1.0)


@dataclass(frozen=True)
class BlockWeights:
    """Views of a block cell's weights: own (G, D/G, D/G), from_* (U, D), gate_bias (G, 1, 3D/G)."""

    own: Tensor
    from_h: Tensor
    from_z: Tensor
    from_action: Tensor
    gate_bias: Tensor


class BlockSequence(SequenceModel[BlockWeights]):
    """The GRU of DreamerV3, whose large matrices are block-diagonal; block k sees its own part h_k of h, and all of z and a.

        u = SiLU(RMS(blockwise [h_k, Dense(h), Dense(z), Dense(a)] W_k + b))
        reset, candidate, update = three equal parts of each block of u V + c
        c = tanh(σ(reset) · candidate),  p = σ(update - 1),  h' = p c + (1 - p) h

    A step has no concatenation, and no weight is permuted twice. Norm and nonlinearity are those of the style.
    """

    def __init__(
        self, recurrent: int, units: int, latent_size: int, action_size: int, *, blocks: int, style: LayerStyle = DEFAULT_STYLE
    ) -> None:
        super().__init__(action_size)
        self.size, self.units, self.blocks, self.style = recurrent, units, blocks, style
        self.from_h = Dense(recurrent, units, style)
        self.from_z = Dense(latent_size, units, style)
        self.from_action = Dense(action_size, units, style)
        # The official initialiser's fan-in counts the shared input once a block, as this input size does.
        self.hidden = BlockLinear(recurrent + 3 * units * blocks, recurrent, blocks)
        self.hidden_norm = style.norm.module(recurrent)
        self.gates = BlockLinear(recurrent, 3 * recurrent, blocks)

    def weights(self) -> BlockWeights:
        """The stored weights as a step uses them; once before a scan, gradients flow through."""
        own = self.size // self.blocks
        dtype = product_dtype(self.hidden.weight)
        hidden = self.hidden.weight.to(dtype)
        shared = hidden[:, own:].transpose(0, 1).reshape(-1, self.size)  # (3U, D)
        gate_bias = self.gates.bias.view(self.blocks, 1, 3, own)
        update = torch.zeros_like(gate_bias)
        update[:, :, 2] = UPDATE_BIAS
        return BlockWeights(
            own=hidden[:, :own],
            from_h=shared[: self.units],
            from_z=shared[self.units : 2 * self.units],
            from_action=shared[2 * self.units :],
            gate_bias=(gate_bias + update).view(self.blocks, 1, -1).to(dtype),
        )

    def action_inputs(self, action: Tensor, weights: BlockWeights) -> Tensor:
        """What actions (N, A) add to the hidden layer, bias included, (N, D); actions beyond ±1 are scaled back to ±1."""
        return torch.addmm(self.hidden.bias, self.from_action(within_one(action)), weights.from_action)

    def forward(self, h: Tensor, z: Tensor, action_input: Tensor, weights: BlockWeights) -> Tensor:
        """One step: h (N, D), z (N, Z), action_input (N, D) -> the next h (N, D)."""
        shared = torch.addmm(action_input, self.from_h(h), weights.from_h)
        shared = torch.addmm(shared, self.from_z(z), weights.from_z)
        h = self._chunk(h)
        hidden = torch.baddbmm(self._chunk(shared), h, weights.own).transpose(0, 1).flatten(1)
        hidden = self.style.activate(self.hidden_norm(hidden))
        # Under autocast products are half; the state stays what it came as, which in a dream that begins from float32 is not.
        gates = torch.baddbmm(weights.gate_bias, self._chunk(hidden), self.gates.weight).to(h.dtype)
        reset, candidate, update = gates.chunk(3, -1)  # each (G, N, D/G)
        candidate = torch.tanh(torch.sigmoid(reset) * candidate)
        return torch.lerp(h, candidate, torch.sigmoid(update)).transpose(0, 1).flatten(1)

    def _chunk(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.blocks, -1)).transpose(0, 1)  # (G, N, D/G)


@dataclass(frozen=True)
class InputWeights:
    """The weights of a dense layer on [z, a], cut and transposed: from_z (Z, U), from_action (A, U)."""

    from_z: Tensor
    from_action: Tensor


class DenseInput(SequenceModel[InputWeights]):
    """A cell on one dense layer of [z, a], of which the part of the actions is computed for all steps at once.

    x = Dense([z, a]),  h' = move(h, x)
    """

    def __init__(self, units: int, latent_size: int, action_size: int, style: LayerStyle) -> None:
        super().__init__(action_size)
        self.input = Dense(latent_size + action_size, units, style)

    def weights(self) -> InputWeights:
        """The stored weights as a step uses them; once before a scan, gradients flow through."""
        weight = self.input.linear.weight.to(product_dtype(self.input.linear.weight)).t()
        return InputWeights(*weight.split([len(weight) - self.action_size, self.action_size]))

    def action_inputs(self, action: Tensor, weights: InputWeights) -> Tensor:
        """What actions (N, A) add before norm and nonlinearity of the dense layer, bias included, (N, U)."""
        product = action @ weights.from_action
        return product if self.input.linear.bias is None else product + self.input.linear.bias

    def forward(self, h: Tensor, z: Tensor, action_input: Tensor, weights: InputWeights) -> Tensor:
        """One step: h (N, D), z (N, Z), action_input (N, U) -> the next h (N, D)."""
        return self.move(h, self.input.activate(torch.addmm(action_input, z, weights.from_z)))

    def move(self, h: Tensor, x: Tensor) -> Tensor:
        """h (N, D) and the dense layer's answer x (N, U) -> the next h (N, D)."""
        raise NotImplementedError


class NormSequence(DenseInput):
    """One linear layer on [h, x], normalised over its 3D numbers, three gates (DreamerV2 official code, `GRUCell`).

    reset, candidate, update = LayerNorm([h, x] W)
    c = tanh(σ(reset) · candidate),  p = σ(update - 1),  h' = p c + (1 - p) h
    """

    def __init__(self, cell: NormGRU, recurrent: int, units: int, latent_size: int, action_size: int, *, style: LayerStyle) -> None:
        super().__init__(units, latent_size, action_size, style)
        self.cell = cell
        self.gates = Linear(recurrent + units, 3 * recurrent, bias=cell.bias)
        self.gates_norm = FullPrecisionLayerNorm(3 * recurrent, eps=cell.eps)

    def action_inputs(self, action: Tensor, weights: InputWeights) -> Tensor:
        """What actions (N, A) add to the dense layer, (N, U); scaled back to ±1 if the cell says so."""
        return super().action_inputs(within_one(action) if self.cell.clip_actions else action, weights)

    def move(self, h: Tensor, x: Tensor) -> Tensor:
        """h (N, D) and x (N, U) -> the next h (N, D)."""
        gates = self.gates_norm(self.gates(torch.cat([h, x], -1))).to(h.dtype)
        reset, candidate, update = gates.chunk(3, -1)
        candidate = torch.tanh(torch.sigmoid(reset) * candidate)
        return torch.lerp(h, candidate, torch.sigmoid(update + UPDATE_BIAS))


class PlainSequence(DenseInput):
    """The textbook GRU (arXiv:1406.1078), the reset gate applied after the product, as Keras and torch have it.

    r = σ(W_r x + U_r h + b_r),  u = σ(W_u x + U_u h + b_u)
    c = tanh(W x + b + r · (U h + d)),  h' = (1 - u) c + u h
    """

    def __init__(self, recurrent: int, units: int, latent_size: int, action_size: int, *, style: LayerStyle) -> None:
        super().__init__(units, latent_size, action_size, style)
        self.gru = nn.GRUCell(units, recurrent)
        init_weight_(self.gru.weight_ih, units)
        init_weight_(self.gru.weight_hh, recurrent)
        nn.init.zeros_(self.gru.bias_ih)
        nn.init.zeros_(self.gru.bias_hh)

    def move(self, h: Tensor, x: Tensor) -> Tensor:
        """h (N, D) and x (N, U) -> the next h (N, D)."""
        return self.gru(x, h).to(h.dtype)
