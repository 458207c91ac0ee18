"""What is seen goes in, and what is predicted comes out: vectors, choices and images, alone and together."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium import Space, spaces
from torch import Tensor

from dreamctl.core.codec import ObservationCodec
from dreamctl.core.errors import UsageError
from dreamctl.core.parts import Choices, Numbers
from dreamctl.core.tensors import LatentState
from dreamctl.nn.convolutions import Convolutions, PooledConvolutions
from dreamctl.nn.optim import LaProp
from dreamctl.nn.style import LayerNorm, LayerStyle, NoNorm
from dreamctl.world_model.decoder import DecoderConfig
from dreamctl.world_model.inputs import Inputs
from dreamctl.world_model.reconstruction import (
    ImageOutput,
    Reconstruction,
    ShiftedImage,
    SigmoidImage,
    SquaredDistance,
    UnitNormal,
    image_loss,
    vector_loss,
    vector_mean,
)
from dreamctl.world_model.scaling import VectorScaling
from tests.kinds import each, kinds
from tests.world_model.models import BOX, CHOICES, EVERYTHING, IMAGES, TINY, VECTORS, batch, chances, spec, start, world_model

B, T = 2, 3
SEEN = {"everything": EVERYTHING, "images": IMAGES, "choices": CHOICES, "one": {"front": IMAGES["front"]}}
KINDS = [*itertools.product(kinds(Convolutions), kinds(Reconstruction), kinds(ImageOutput), kinds(VectorScaling))]


def image(*shape: int) -> Space:
    return spaces.Box(0, 255, shape, np.uint8)


def grid(height: int, width: int) -> dict[str, Tensor]:
    """An image whose numbers all differ."""
    return {"front": torch.arange(height * width * 3).remainder(251).to(torch.uint8).view(1, height, width, 3)}


@pytest.mark.parametrize("seen", SEEN)
@pytest.mark.parametrize(("convolutions", "distance", "output", "vectors"), KINDS, ids=["-".join(k.kind for k in all_) for all_ in KINDS])
def test_every_kind_sees_learns_and_draws(seen: str, convolutions: type, distance: type, output: type, vectors: type) -> None:
    decoder = replace(TINY.decoder, reconstruction=distance(), image=output())
    stages = convolutions(depth=2, multipliers=(2, 4))
    model = world_model(BOX, SEEN[seen], convolutions=stages, decoder=decoder, vectors=vectors())
    rows = batch(model, B, T)
    observed = model.observe(start(model, B), rows, noise=chances(model, B, T))
    terms, _ = model.losses(observed, rows)
    assert {name for name in terms if name.startswith("observation/")} == {f"observation/{name}" for name in SEEN[seen]}
    assert all(term.shape == (B, T) and term.isfinite().all() for term in terms.values())
    sum(term.mean() for name, term in terms.items() if name.startswith("observation/")).backward()
    for part in (model.encoder, model.decoder):
        assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in part.parameters())
    drawn = model.reconstruct(observed.state)
    assert {name: value.shape for name, value in drawn.items()} == {name: value.shape for name, value in rows.observation.items()}
    assert all(drawn[name].min() >= 0 and drawn[name].max() <= 1 for name in SEEN[seen] if name in IMAGES)


@pytest.mark.parametrize("seen", SEEN)
def test_the_embedding_is_vectors_then_images_in_the_order_of_places(seen: str) -> None:
    model = world_model(BOX, SEEN[seen])
    rows = batch(model, B, T)
    embedding = model.encoder(model.scaler(rows.observation))
    assert embedding.shape == (B, T, model.encoder.size)
    vectors, channels = (8 if seen in ("everything", "choices") else 0), 8
    places = 0 if seen == "choices" else 3 * 4 * channels
    assert model.encoder.size == vectors + places
    if seen == "images":
        changed = {**rows.observation, "front": rows.observation["front"].clone()}
        changed["front"][:, :, 0, 0] ^= 255  # the corner reaches the places near it and no other
        moved = (model.encoder(changed) != embedding).any(0).any(0).unflatten(-1, (3, 4, channels)).any(-1)
        assert moved[0, 0]
        assert not moved[2].any()
        assert not moved[:, 3].any()


def test_images_are_sorted_on_the_way_in_and_as_the_space_has_them_on_the_way_out() -> None:
    model = world_model(BOX, IMAGES)
    assert model.encoder.image is not None
    assert model.decoder.image is not None
    assert model.encoder.image.names == ["back", "front"]
    assert list(model.decoder.image.images) == ["front", "back"]
    with torch.no_grad():
        for parameter in model.decoder.image.out.parameters():
            parameter.zero_()
        model.decoder.image.out.bias.copy_(torch.tensor([1.0, 2, 3, 4]).double())
    drawn = model.reconstruct(start(model, B))
    assert drawn["front"].shape == (B, 12, 16, 3)
    assert drawn["front"][0, 0, 0].tolist() == pytest.approx([1 / (1 + math.exp(-x)) for x in (1, 2, 3)])
    assert drawn["back"].unique().tolist() == pytest.approx([1 / (1 + math.exp(-4))])


def test_brightness_is_centred_once_inside_the_encoder() -> None:
    model = world_model(BOX, {"front": image(12, 16, 3)})
    assert model.encoder.image is not None
    seen: list[Tensor] = []
    model.encoder.image.stages[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    rows = grid(12, 16)
    assert model.scaler(rows)["front"] is rows["front"], "uint8 until inside the encoder"
    model.encoder(model.scaler(rows))
    torch.testing.assert_close(seen[0], rows["front"].double() / 255 - 0.5)
    assert (seen[0].min(), seen[0].max()) == (-0.5, 250 / 255 - 0.5)


@each("output", ImageOutput)
def test_fresh_brightness_is_near_the_middle(output: type) -> None:
    assert output().mean(torch.zeros(1)).item() == 0.5


def test_brightness_of_the_first_output_stays_inside_zero_and_one() -> None:
    raw = torch.tensor([-30.0, -1.0, 0.0, 1.0, 30.0], dtype=torch.float64)
    bright = SigmoidImage().mean(raw)
    assert ((bright > 0) & (bright < 1)).all()
    model = world_model(BOX, {"front": image(12, 16, 3)})
    for parameter in model.decoder.parameters():
        parameter.data.mul_(2)
    drawn = model.reconstruct(start(model, B))["front"]
    assert 0 < drawn.min() < 0.3 < 0.7 < drawn.max() < 1


@pytest.mark.parametrize("brightness", [0, 77, 255])
def test_a_constant_image_costs_the_square_of_its_distance_at_every_number(brightness: int) -> None:
    model, bias = world_model(BOX, {"front": image(12, 16, 3)}), 0.7
    assert model.decoder.image is not None
    for parameter in model.decoder.image.out.parameters():
        parameter.data.zero_()
    model.decoder.image.out.bias.data.fill_(bias)
    seen = torch.full((B, 12, 16, 3), brightness, dtype=torch.uint8)
    loss = model.decoder.losses(model.decoder(start(model, B)), {"front": seen})["observation/front"]
    wanted = 12 * 16 * 3 * (1 / (1 + math.exp(-bias)) - brightness / 255) ** 2
    torch.testing.assert_close(loss, torch.full((B,), wanted).double())


def test_shifted_brightness_is_clamped_in_what_is_shown_only() -> None:
    raw = torch.tensor([-30.0, -0.5, 0.25, 30.0], dtype=torch.float64)
    assert ShiftedImage().mean(raw).tolist() == [-29.5, 0.0, 0.75, 30.5]
    model = world_model(BOX, {"front": image(12, 16, 3)}, decoder=replace(TINY.decoder, image=ShiftedImage()))
    assert model.decoder.image is not None
    torch.nn.init.constant_(model.decoder.image.out.bias, 9.0)
    begin = start(model, B)
    assert model.decoder(begin)["front"].min() > 1
    assert model.reconstruct(begin)["front"].max() == 1


def test_losses_of_an_image_by_hand() -> None:
    mean = torch.tensor([0.0, 0.5, 1.0, 0.2]).double().view(1, 2, 2, 1)
    seen = torch.tensor([0, 255, 255, 51], dtype=torch.uint8).view(1, 2, 2, 1)
    assert image_loss(SquaredDistance(), mean, seen).tolist() == pytest.approx([0.25])
    assert image_loss(UnitNormal(), mean, seen).tolist() == pytest.approx([0.125 + 4 * 0.5 * math.log(2 * math.pi)])
    assert image_loss(SquaredDistance(tolerance=0.3), mean, seen).tolist() == [0]


def test_losses_of_numbers_by_hand() -> None:
    mean, target = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[1.5, 0.0], [0.0, 1e-5]])
    parts = (Numbers(2),)
    assert vector_loss(SquaredDistance(), parts, mean, target).tolist() == pytest.approx([4.25, 1e-10])
    assert vector_loss(SquaredDistance(tolerance=1e-8), parts, mean, target).tolist() == [4.25, 0]
    assert vector_loss(UnitNormal(), parts, mean, target).tolist() == pytest.approx([2.125 + math.log(2 * math.pi), math.log(2 * math.pi)])


@each("distance", Reconstruction)
def test_choices_cost_their_cross_entropy_whatever_the_kind(distance: type) -> None:
    parts = (Choices(2, 2), Choices(1, 4))
    logits = torch.tensor([[0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]])
    target = torch.tensor([[1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]])
    wanted = math.log(2) + math.log(1 + math.exp(-1)) + math.log(4)
    assert vector_loss(distance(), parts, logits, target).tolist() == pytest.approx([wanted])


def test_predicted_choices_are_probabilities_of_each_group() -> None:
    parts = (Choices(2, 2), Choices(1, 3))
    mean = vector_mean(parts, torch.tensor([[0.0, 0.0, 1.0, 0.0, 5.0, 5.0, 5.0]]))
    assert mean[0].tolist() == pytest.approx([0.5, 0.5, 1 / (1 + math.exp(-1)), 1 - 1 / (1 + math.exp(-1)), 1 / 3, 1 / 3, 1 / 3])
    numbers = torch.randn(2, 3)
    assert torch.equal(vector_mean((Numbers(3),), numbers), numbers)


def test_a_predicted_choice_is_read_back_by_its_codec() -> None:
    model = world_model(BOX, CHOICES)
    drawn = {name: value.detach().numpy() for name, value in model.reconstruct(start(model, B)).items()}
    gear, doors = (ObservationCodec(CHOICES[name]).decode(drawn[name]) for name in ("gear", "doors"))
    assert all(CHOICES["gear"].contains(value) for value in gear)
    assert all(CHOICES["doors"].contains(value) for value in doors)


def test_only_numbers_are_scaled() -> None:
    model = world_model(BOX, EVERYTHING)
    rows = batch(model, B, T).observation
    assert model.scaler.names == sorted(VECTORS)
    scaled = model.scaler(rows)
    assert all(scaled[name] is rows[name] for name in EVERYTHING if name not in VECTORS)
    assert not any(torch.equal(scaled[name], rows[name]) for name in VECTORS)


def test_a_block_of_h_fills_its_own_channels_of_every_place() -> None:
    model = world_model(BOX, {"front": image(12, 16, 3)}, decoder=DecoderConfig(1, 8, blocks=4), style=LayerStyle(NoNorm(), "relu"))
    decoder = model.decoder.image
    assert decoder is not None
    begin, seen = start(model, 1), []
    decoder.stages[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    torch.nn.init.constant_(decoder.from_z_out.bias, 50.0)  # keeps the nonlinearity where it is linear
    h = begin.h.clone()
    h[:, 4:8] += 1  # the second of four blocks
    for moved in (begin.h, h):
        decoder(LatentState(moved, begin.z))
    changed = (seen[0] != seen[1])[0]  # (3, 4, 8)
    assert changed[..., 2:4].all()
    assert not changed[..., :2].any()
    assert not changed[..., 4:].any()


def test_a_style_reaches_every_layer_that_sees_and_draws() -> None:
    model = world_model(BOX, EVERYTHING, style=LayerStyle(LayerNorm(), "elu"))
    parts = (model.encoder, model.decoder, model.reward_predictor, model.continue_predictor)
    modules = [module for part in parts for module in part.modules()]
    assert not any(isinstance(module, torch.nn.RMSNorm) for module in modules)
    assert sum(isinstance(module, torch.nn.LayerNorm) for module in modules) == 1 + 2 + 1 + 3 + 2
    assert {module.style.activation for module in modules if hasattr(module, "style")} == {"elu"}


@each("convolutions", Convolutions)
def test_what_is_seen_is_learned(convolutions: type) -> None:
    """Each window shows one of two halves bright, one of three gears and a number; the model draws them back."""
    seen = {"front": IMAGES["front"], "gear": CHOICES["gear"], "height": VECTORS["height"]}
    model = world_model(BOX, seen, convolutions=convolutions(depth=2, multipliers=(2, 4)))
    rows = batch(model, 3, 1)
    front = torch.full((3, 1, 12, 16, 3), 20, dtype=torch.uint8)
    front[::2, :, :, :8], front[1::2, :, :, 8:] = 230, 230
    gear = torch.nn.functional.one_hot(torch.arange(3), 3).double().unsqueeze(1).expand(3, 1, 3)
    rows = replace(rows, observation={"front": front, "gear": gear, "height": 3 * rows.observation["height"]})
    optimizer = LaProp(learning_rate=1e-2, warmup=0).optimizer({"world_model": list(model.parameters())})
    for step in range(45):
        observed = model.observe(start(model, 3), rows, noise=chances(model, 3, 1, seed=step))
        terms, _ = model.losses(observed, rows)
        optimizer.zero_grad()
        torch.stack([term.mean() for name, term in terms.items() if name.startswith("observation/")]).sum().backward()
        optimizer.step()
    drawn = model.reconstruct(observed.state)
    assert (drawn["front"] - front / 255).abs().mean() < 0.1, "fresh: 0.41"
    assert torch.equal(drawn["gear"].argmax(-1), gear.argmax(-1))


@pytest.mark.parametrize(
    ("height", "width", "stages", "left"),
    [(64, 64, 4, (4, 4)), (96, 96, 4, (6, 6)), (64, 96, 4, (4, 6)), (48, 256, 4, (3, 16)), (12, 32, 2, (3, 8)), (6, 6, 1, (3, 3))],
)
def test_stages_leave_of_an_image(height: int, width: int, stages: int, left: tuple[int, int]) -> None:
    seen = {"front": image(height, width, 1)}
    convolutions = PooledConvolutions(depth=4, multipliers=(2,) * stages)
    assert Inputs.of(spec(BOX, seen)).sides_left(convolutions) == left


@pytest.mark.parametrize(
    ("height", "width", "stages", "message"),
    [
        (84, 84, 4, "multiples of 16 from 48 to 256, nearest 80x80; resize it in the environment$"),
        (210, 160, 4, "nearest 208x160"),
        (32, 32, 4, "nearest 48x48; resize it in the environment or give world_model.convolutions.multipliers 3 entries"),
        (64, 512, 4, "nearest 64x256; resize it in the environment$"),
        (30, 30, 2, "multiples of 4 from 12 to 64, nearest 32x32; .* 1 entries"),
        (7, 7, 4, "nearest 48x48; resize it in the environment$"),
    ],
)
def test_a_size_that_cannot_be_halved_names_the_nearest(height: int, width: int, stages: int, message: str) -> None:
    with pytest.raises(UsageError, match=rf"observation 'front' is {height}x{width}: {stages} convolution stages want .*{message}"):
        world_model(BOX, {"front": image(height, width, 3)}, convolutions=PooledConvolutions(2, (4,) * stages))


def test_blocks_that_do_not_divide_are_told_apart() -> None:
    with pytest.raises(UsageError, match=r"decoder.blocks=8: depth times the last multiplier is 6, wanted a multiple of 8"):
        world_model(BOX, IMAGES, convolutions=PooledConvolutions(2, (2, 3)))
    with pytest.raises(UsageError, match=r"decoder.blocks=3: world_model.rssm.recurrent is 16, wanted a multiple of 3"):
        world_model(BOX, IMAGES, decoder=DecoderConfig(1, 8, blocks=3))
