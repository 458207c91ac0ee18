"""Golden: encoder and decoder, of vectors, choices and images."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from dreamctl.core.experience import TaskSpec
from dreamctl.core.tensors import LatentState
from dreamctl.nn.convolutions import ConvolutionLayer, Convolutions, PooledConvolutions, StridedConvolutions
from dreamctl.world_model.decoder import Decoder, DecoderConfig
from dreamctl.world_model.encoder import Encoder, EncoderConfig
from dreamctl.world_model.inputs import Inputs
from dreamctl.world_model.reconstruction import SquaredDistance
from dreamctl.world_model.scaling import SymlogOnly, VectorScaler
from tests.conftest import Golden
from tests.golden.names import Parts, check, check_parameters, load_weights

Data = dict[str, np.ndarray]
KINDS = {"encdec_strided": StridedConvolutions}


def observation_space(data: Data, name: str) -> spaces.Space:
    """The space that an official observation is of."""
    if f"cfg.classes.{name}" in data:
        return spaces.Discrete(int(data[f"cfg.classes.{name}"]))
    column = data[f"in.{name}"]
    return spaces.Box(0, 255, column.shape[2:], np.uint8) if column.dtype == np.uint8 else spaces.Box(-np.inf, np.inf, column.shape[2:])


def observations(data: Data) -> list[str]:
    """Names in the order of the official observation space, where `image` comes before `aux`, however the file is sorted."""
    names = [key.removeprefix("in.") for key in data if f"out.pred.{key.removeprefix('in.')}" in data]
    return sorted(names, key=lambda name: name != "image")


def encode(data: Data, inputs: Inputs) -> dict[str, torch.Tensor]:
    """The observations as a batch holds them, in double precision but for images."""
    vectors = {name: torch.from_numpy(codec.encode(data[f"in.{name}"])).double() for name, codec in inputs.vectors.items()}
    return vectors | {name: torch.from_numpy(data[f"in.{name}"]) for name in inputs.images}


def stages(data: Data, kind: type[Convolutions]) -> Convolutions:
    return kind(int(data["cfg.depth"]), tuple(data["cfg.mults"].tolist()), int(data["cfg.kernel"]))


@pytest.mark.parametrize("case", ["encdec_small", "encdec_64", "encdec_vec", "encdec_strided"])
def test_encoder_and_decoder(golden: Golden, case: str) -> None:
    data = golden(case)
    spec = TaskSpec({name: observation_space(data, name) for name in observations(data)}, spaces.Discrete(2), "golden", case)
    inputs, convolutions = Inputs.of(spec), stages(data, KINDS.get(case, PooledConvolutions))
    layers, units, vectors = int(data["cfg.layers"]), int(data["cfg.units"]), list(inputs.vectors)
    deter, stoch = (torch.from_numpy(data[f"in.{name}"]).double().requires_grad_() for name in ("deter", "stoch"))
    encoder = Encoder(EncoderConfig(layers, units), inputs, convolutions).double()
    config = DecoderConfig(layers, units, int(data["cfg.bspace"]))
    decoder = Decoder(config, inputs, deter.shape[-1], stoch[0, 0].numel(), convolutions=convolutions).double()
    root = Parts(world_model=Parts(encoder=encoder, decoder=decoder))
    load_weights(root, data, vectors=vectors)

    scaler = VectorScaler(SymlogOnly(), inputs.numbers).double()
    scaled = scaler(encode(data, inputs))
    tokens = encoder(scaled)
    check(tokens, data["out.tokens"], "tokens")
    (tokens * torch.from_numpy(data["in.g_tokens"])).sum().backward()
    predicted = decoder(LatentState(deter, stoch.flatten(2)))
    losses = decoder.losses(predicted, scaled)
    assert predicted.keys() == set(observations(data))
    for name, value in predicted.items():
        wanted = data[f"out.pred.{name}"]
        discrete = f"cfg.classes.{name}" in data
        check(value.argmax(-1) if discrete else value.reshape(wanted.shape), wanted, name)
        check(losses[f"observation/{name}"], data[f"out.loss.{name}"], name)
    total = sum(loss.mean() for loss in losses.values())
    check(total, data["out.L"], "total")
    total.backward()
    check_parameters(root, data, "grad.", vectors, grad=True)
    check(deter.grad, data["grad.deter"], "gradient of h")
    check(stoch.grad, data["grad.stoch"], "gradient of z")


def test_initial_kernels_have_the_official_spread(golden: Golden) -> None:
    data = golden("linears")
    kernel, _, size_in, size_out = (int(n) for n in data["init.conv.shape"])
    torch.manual_seed(0)
    draws = -(-100_000 // (kernel * kernel * size_in * size_out))
    weight = torch.stack([ConvolutionLayer(PooledConvolutions().down, size_in, size_out, kernel).weight.detach() for _ in range(draws)])
    before, limit = float(data["init.conv.std_before_trunc"]), float(data["init.conv.max_abs"])
    assert weight[0, 0].numel() == int(data["init.conv.fanin"])
    assert 0.99 * limit <= weight.abs().max() <= limit * (1 + 1e-6)
    # Cutting a normal at two standard deviations leaves 0.8796 of its spread.
    assert weight.std().item() == pytest.approx(0.8796 * before, rel=0.02)


def test_tolerance_of_the_first_version(golden: Golden) -> None:
    data = golden("legacy")
    kind = SquaredDistance(tolerance=1e-8)
    scaler = VectorScaler(SymlogOnly(), {"x": data["v3_2023_symlog.in.x"].shape[-1]}).double()
    target = scaler.scale("x", torch.from_numpy(data["v3_2023_symlog.in.x"]).double())
    check(-kind.loss(torch.from_numpy(data["v3_2023_symlog.in.mode"]), target), data["v3_2023_symlog.out.logp"])
