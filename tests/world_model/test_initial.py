from dataclasses import replace

import torch

from dreamctl.core.tensors import LatentState
from dreamctl.world_model.initial import InitialState, LearnedInitial
from dreamctl.world_model.latents import GaussianLatent
from dreamctl.world_model.model import WorldModel
from tests.kinds import each
from tests.world_model.models import TINY, batch, chances, start, world_model


def starting(kind: type, **changes: object) -> WorldModel:
    return world_model(rssm=replace(TINY.rssm, initial=kind()), **changes)


@each("kind", InitialState)
def test_every_reset_leads_to_the_initial_state(kind: type) -> None:
    model = starting(kind)
    for parameter in model.rssm.initial_state.parameters():
        parameter.data.normal_()
    seen, noise = batch(model), chances(model, 3, 5)
    first = torch.zeros_like(seen.is_first)
    first[:, 0] = True
    begun = model.observe(start(model), replace(seen, is_first=first), noise=noise)
    fresh = model.rssm.initial(3, seen.reward)
    alike = replace(seen, prev_action=seen.prev_action.index_fill(1, torch.tensor([0]), 0.0))
    torch.testing.assert_close(begun.state.features, model.observe(fresh, alike, noise=noise).state.features)


@each("kind", InitialState)
def test_every_initial_state_has_the_shape_and_dtype_that_is_asked_for(kind: type) -> None:
    for latent in (TINY.latent, GaussianLatent(5)):
        model = starting(kind, latent=latent).float()
        state = model.rssm.initial(4, torch.zeros(1, dtype=torch.float64))
        assert (state.h.shape, state.z.shape) == ((4, 16), (4, latent.size))
        assert state.h.dtype == state.z.dtype == torch.float64


def test_nothing_is_learned_of_zeros() -> None:
    rssm = world_model().rssm
    assert not list(rssm.initial_state.parameters())
    assert (rssm.initial(2, torch.zeros(1)).features == 0).all()


def test_a_learned_state_is_a_tanh_with_the_likeliest_latent() -> None:
    rssm = starting(LearnedInitial).rssm
    rssm.initial_state.raw.data.copy_(torch.linspace(-2, 2, 16))
    state = rssm.initial(2, torch.zeros(1).double())
    torch.testing.assert_close(state.h[1], torch.tanh(torch.linspace(-2, 2, 16).double()))
    logits = rssm.prior(state.h).unflatten(-1, (3, 4))
    torch.testing.assert_close(state.z.unflatten(-1, (3, 4)).argmax(-1), logits.argmax(-1))
    assert (state.z.unflatten(-1, (3, 4)).sum(-1) == 1).all()


def test_a_learned_state_learns_from_what_follows_a_reset_only() -> None:
    model = starting(LearnedInitial)
    raw = model.rssm.initial_state.raw
    seen, begin = batch(model), start(model)
    states = model.observe(begin, seen, noise=chances(model, 3, 5)).state
    assert torch.autograd.grad(states.features.sum(), raw, allow_unused=True)[0].abs().max() == 0, "there was no reset"
    first = torch.zeros_like(seen.is_first)
    first[1, 2] = True
    states = model.observe(begin, replace(seen, is_first=first), noise=chances(model, 3, 5)).state
    before, after = LatentState(states.h[:, :2], states.z[:, :2]), LatentState(states.h[1, 2:], states.z[1, 2:])
    assert torch.autograd.grad(before.features.sum(), raw, retain_graph=True)[0].abs().max() == 0
    assert torch.autograd.grad(after.features.sum(), raw)[0].abs().max() > 0
