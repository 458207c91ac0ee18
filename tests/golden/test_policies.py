"""Golden: what actors emit: bounded normals and categorical policies of one and of several choices."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from gymnasium import Space, spaces

from dreamctl.actor_critic.model import ActorCritic, ActorCriticConfig, NetworkConfig
from dreamctl.core.codec import ActionCodec
from dreamctl.core.parts import Numbers
from dreamctl.nn.actions import BoundedNormal, CategoricalAction
from dreamctl.nn.distributions import one_hot
from tests.conftest import Golden
from tests.golden.names import check, double, load_weights, nest

Data = Mapping[str, np.ndarray]


def actor_of(data: Data, prefix: str, space: Space, **changes: object) -> ActorCritic:
    """An actor-critic with a fixture's actor, every size read off its arrays."""
    layers = sum(key.startswith(f"w.{prefix}.mlp.linear") and key.endswith("kernel") for key in data)
    network = NetworkConfig(layers, data[f"w.{prefix}.mlp.linear0.bias"].size)
    config = ActorCriticConfig(actor=network, critic=network, **changes)
    model = ActorCritic(config, data["in.feat"].shape[-1], ActionCodec(space), 1 - 1 / 333).double()
    official = {key.replace(prefix, "pol", 1): value for key, value in data.items() if key.startswith(f"w.{prefix}.")}
    load_weights(nest("actor_critic.actor", model.actor), official)
    return model


def choices(indices: np.ndarray, logits: int) -> torch.Tensor:
    """Class numbers as one-hot actions of `logits` numbers."""
    like = torch.zeros(*indices.shape, logits).double()
    return one_hot(torch.from_numpy(indices).long(), like)


def test_bounded_normal(golden: Golden) -> None:
    data = golden("bounded_normal")
    kind, part = BoundedNormal(float(data["in.minstd"]), float(data["in.maxstd"])), Numbers(data["in.mean_raw"].shape[-1])
    for what in ("logp", "entropy"):
        mean_raw, std_raw = double(data["in.mean_raw"]), double(data["in.std_raw"])
        normal = kind.distribution(torch.cat([mean_raw, std_raw], -1), part)
        check(normal.mean, data["out.mean"])
        check(normal.std, data["out.std"])
        value = normal.log_prob(torch.from_numpy(data["in.action"]).double()) if what == "logp" else normal.entropy()
        check(value, data[f"out.{what}"])
        (value * torch.from_numpy(data["in.g"])).sum().backward()
        check(mean_raw.grad if mean_raw.grad is not None else torch.zeros_like(mean_raw), data[f"out.d{what}_dmean_raw"])
        check(std_raw.grad, data[f"out.d{what}_dstd_raw"])


def test_a_policy_of_numbers(golden: Golden) -> None:
    data = golden("heads")
    size = data["in.eps"].shape[-1]
    model = actor_of(data, "polc", spaces.Box(-1, 1, (size,)))
    features = torch.from_numpy(data["in.feat"]).double()
    normal = model.policy(features)
    action = normal.sample(torch.from_numpy(data["in.eps"]).double())
    check(normal.mode, data["out.polc_mean"])
    check(normal.std, data["out.polc_std"])
    check(action, data["out.polc_action"])
    check(normal.log_prob(action), data["out.polc_logp"])
    check(normal.entropy(), data["out.polc_entropy"])
    # The range that the official code scales its entropy metric by: all standard deviations at their least, and at their greatest.
    kind, part = BoundedNormal(), Numbers(1)
    for raw, name in ((-100.0, "minent"), (100.0, "maxent")):
        entropy = kind.distribution(torch.tensor([0.0, raw]).double(), part).entropy()
        check(entropy.expand(data[f"out.polc_{name}"].shape), data[f"out.polc_{name}"], name)


@pytest.mark.parametrize(("unimix", "name"), [(0.0, "pold"), (0.01, "pold_unimix")], ids=["official", "paper"])
def test_a_policy_of_one_choice(golden: Golden, unimix: float, name: str) -> None:
    data = golden("heads")
    classes = data["w.pold.head.action.logits.bias"].size
    model = actor_of(data, "pold", spaces.Discrete(classes), discrete=CategoricalAction(unimix))
    features = torch.from_numpy(data["in.feat"]).double()
    check(model.actor(features), data["out.pold_logits"])
    policy = model.policy(features)
    check(policy.log_prob(choices(data["in.a_idx"], classes)), data[f"out.{name}_logp"])
    check(policy.entropy(), data[f"out.{name}_entropy"])


def test_a_policy_of_several_choices(golden: Golden) -> None:
    data = golden("heads")
    groups = data["in.a_multi"].shape[-1]
    classes = data["w.polm.head.action.logits.bias"].size // groups
    model = actor_of(data, "polm", spaces.MultiDiscrete([classes] * groups))
    policy = model.policy(torch.from_numpy(data["in.feat"]).double())
    check(policy.log_prob(choices(data["in.a_multi"], classes).flatten(-2)), data["out.polm_logp"])
    check(policy.entropy(), data["out.polm_entropy"])
