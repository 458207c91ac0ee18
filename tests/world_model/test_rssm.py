from dataclasses import replace

import pytest
import torch

from dreamctl.core.tensors import Batch, LatentState
from dreamctl.world_model.cells import BlockGRU, Cell, NormGRU, PlainGRU
from dreamctl.world_model.initial import InitialState
from dreamctl.world_model.latents import CategoricalLatent, GaussianLatent, Latent
from dreamctl.world_model.model import Observed, WorldModel
from dreamctl.world_model.rssm import RSSMConfig
from tests.kinds import kinds
from tests.world_model.models import batch, chances, start, world_model

close = torch.testing.assert_close


def see(model: WorldModel, seen: Batch, begin: LatentState, noise: torch.Tensor | None = None) -> Observed:
    return model.observe(begin, seen, noise=chances(model, *seen.reward.shape) if noise is None else noise)


def same(one: Observed, two: Observed, steps: slice) -> bool:
    pairs = ((one.state.h, two.state.h), (one.state.z, two.state.z), (one.posterior, two.posterior))
    return all(torch.allclose(a[:, steps], b[:, steps], rtol=1e-12, atol=1e-12) for a, b in pairs)


def resets(seen: Batch, *steps: int) -> Batch:
    is_first = torch.zeros_like(seen.is_first)
    is_first[:, list(steps)] = True
    return replace(seen, is_first=is_first)


# Every recurrent model must know these laws, whatever it is made of.
VARIANTS = [
    (latent, RSSMConfig(16, 8, cell, initial=initial()))
    for latent in (CategoricalLatent(3, 4), GaussianLatent(5))
    for cell in (BlockGRU(4), NormGRU(), PlainGRU())
    for initial in kinds(InitialState)
]


@pytest.fixture(params=VARIANTS, ids=lambda variant: "-".join([variant[0].kind, variant[1].cell.kind, variant[1].initial.kind]))
def model(request: pytest.FixtureRequest) -> WorldModel:
    latent, rssm = request.param
    model = world_model(latent=latent, rssm=rssm)
    for parameter in model.rssm.initial_state.parameters():
        parameter.data.normal_()
    return model


def test_the_laws_are_asked_of_every_cell() -> None:
    assert {type(rssm.cell) for _, rssm in VARIANTS} == set(kinds(Cell))
    assert {type(latent) for latent, _ in VARIANTS} == set(kinds(Latent))


def test_a_reset_cuts_memory(model: WorldModel) -> None:
    seen = resets(batch(model), 2)
    past = batch(model, seed=9)
    other = replace(
        seen,
        observation={name: torch.cat([past.observation[name][:, :2], column[:, 2:]], 1) for name, column in seen.observation.items()},
        prev_action=torch.cat([past.prev_action[:, :3], seen.prev_action[:, 3:]], 1),
    )
    one, two = see(model, seen, start(model)), see(model, other, start(model, seed=5))
    assert same(one, two, slice(2, None))
    assert not same(one, two, slice(0, 1))


def test_no_gradient_crosses_a_reset(model: WorldModel) -> None:
    seen, begin = resets(batch(model), 2), start(model)
    begin.h.requires_grad_()
    seen.prev_action.requires_grad_()
    seen.observation["height"].requires_grad_()
    found = see(model, seen, begin)
    (found.state.h[:, 2:].sum() + found.state.z[:, 2:].square().sum() + found.posterior[:, 2:].square().sum()).backward()
    assert begin.h.grad is not None
    assert (begin.h.grad == 0).all()
    assert (seen.prev_action.grad[:, :3] == 0).all()
    assert (seen.observation["height"].grad[:, :2] == 0).all()
    assert (seen.observation["height"].grad[:, 2:] != 0).any()


def test_a_reset_leaves_the_batch_as_it_was(model: WorldModel) -> None:
    seen = resets(batch(model), 0, 3)
    before = seen.prev_action.clone()
    see(model, seen, start(model))
    assert torch.equal(seen.prev_action, before)


def test_with_a_reset_everywhere_each_step_stands_alone(model: WorldModel) -> None:
    seen = resets(batch(model), 0, 1, 2, 3, 4)
    alike = replace(seen, observation={name: column[:, :1].expand_as(column) for name, column in seen.observation.items()})
    found = see(model, alike, start(model), noise=chances(model, 3, 1).expand(-1, 5, -1))
    close(found.state.features, found.state.features[:, :1].expand(-1, 5, -1))


def test_two_chunks_are_as_good_as_one(model: WorldModel) -> None:
    seen, noise = resets(batch(model), 3), chances(model, 3, 5)
    whole = see(model, seen, start(model), noise)

    def part(steps: slice) -> Batch:
        fields = {name: getattr(seen, name)[:, steps] for name in ("prev_action", "reward", "is_first", "is_last", "terminated")}
        return Batch({name: column[:, steps] for name, column in seen.observation.items()}, **fields)

    first = see(model, part(slice(0, 2)), start(model), noise[:, :2])
    second = see(model, part(slice(2, 5)), LatentState(first.state.h[:, -1], first.state.z[:, -1]), noise[:, 2:])
    close(torch.cat([first.state.features, second.state.features], 1), whole.state.features)
    close(torch.cat([first.posterior, second.posterior], 1), whole.posterior)


def test_the_order_of_the_batch_does_not_matter(model: WorldModel) -> None:
    order = torch.tensor([2, 0, 1])
    seen, noise, begin = batch(model), chances(model, 3, 5), start(model)
    shuffled = replace(
        seen, observation={name: column[order] for name, column in seen.observation.items()}, prev_action=seen.prev_action[order]
    )
    one = see(model, seen, begin, noise)
    two = see(model, shuffled, LatentState(begin.h[order], begin.z[order]), noise[order])
    close(one.state.features[order], two.state.features)


def test_an_observation_reaches_no_earlier_step(model: WorldModel) -> None:
    seen = batch(model)
    column = seen.observation["height"].clone()
    column[:, 3] += 5
    one, two = see(model, seen, start(model)), see(model, replace(seen, observation={**seen.observation, "height": column}), start(model))
    assert same(one, two, slice(0, 3))
    close(one.state.h[:, 3], two.state.h[:, 3])
    assert not torch.allclose(one.posterior[:, 3], two.posterior[:, 3])


def test_an_action_reaches_the_step_that_it_led_to_and_none_before(model: WorldModel) -> None:
    seen = batch(model)
    prev_action = seen.prev_action.clone()
    prev_action[:, 3] -= 1
    one, two = see(model, seen, start(model)), see(model, replace(seen, prev_action=prev_action), start(model))
    assert same(one, two, slice(0, 3))
    assert not torch.allclose(one.state.h[:, 3], two.state.h[:, 3])


def test_a_dreamt_step_is_the_observed_one_without_the_observation(model: WorldModel) -> None:
    seen = batch(model)
    found = see(model, seen, start(model))
    begin = LatentState(found.state.h[:, 1], found.state.z[:, 1])
    actions = seen.prev_action[:, 2:]
    dreamt, taken = model.rssm.imagine(begin, lambda _, step: actions[:, min(step, 2)], 1, noise=chances(model, 1, 3))
    close(dreamt.h[:, 0], begin.h)
    close(dreamt.h[:, 1], found.state.h[:, 2])
    close(taken[:, 0], actions[:, 0])


def test_the_last_action_of_a_dream_is_drawn_but_not_taken() -> None:
    model = world_model()
    asked: list[int] = []

    def act(state: LatentState, step: int) -> torch.Tensor:
        asked.append(step)
        return torch.full((3, 2), float(step)).double() + 0 * state.h[:, :1]

    dreamt, taken = model.rssm.imagine(start(model), act, 4, noise=chances(model, 4, 3))
    assert asked == [0, 1, 2, 3, 4]
    assert taken[0, :, 0].tolist() == [0, 1, 2, 3, 4]
    assert dreamt.h.shape == (3, 5, 16)


def test_dreamt_latents_come_from_the_prior() -> None:
    model = world_model()
    dreamt, _ = model.rssm.imagine(start(model), lambda *_: torch.zeros(3, 2).double(), 3, noise=torch.zeros(3, 3, 3).double())
    assert (dreamt.z[:, 1:].unflatten(-1, (3, 4)).argmax(-1) == 0).all(), "noise 0 draws the first class"
    full, _ = model.rssm.imagine(
        start(model),
        lambda *_: torch.zeros(3, 2).double(),
        3,
        noise=torch.ones(3, 3, 3).double(),
        draw=lambda p, _: (p == p.amax(-1, True)).to(p),
    )
    prior = model.config.latent.distribution(model.rssm.prior(full.h[:, 1:]))
    close(full.z[:, 1:], prior.mode.flatten(-2))


def test_the_prior_does_not_see_the_observation(model: WorldModel) -> None:
    seen = batch(model)
    found = see(model, seen, start(model))
    height = seen.observation["height"].clone()
    height[:, -1] += 3
    other = see(model, replace(seen, observation={**seen.observation, "height": height}), start(model))
    close(model.rssm.prior(found.state.h)[:, -1], model.rssm.prior(other.state.h)[:, -1])
