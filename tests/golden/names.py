"""The one map between the official parameter paths of the fixtures and our modules, and how tensors are laid out on either side."""

import re
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from tests.golden.report import ATOL, REPORT, RTOL

# (official path, ours); a number in angle brackets counts from one there, and from zero here.
MODULES = [
    ("dyn.dynin0norm", "world_model.rssm.sequence_model.from_h.norm"),
    ("dyn.dynin0", "world_model.rssm.sequence_model.from_h.linear"),
    ("dyn.dynin1norm", "world_model.rssm.sequence_model.from_z.norm"),
    ("dyn.dynin1", "world_model.rssm.sequence_model.from_z.linear"),
    ("dyn.dynin2norm", "world_model.rssm.sequence_model.from_action.norm"),
    ("dyn.dynin2", "world_model.rssm.sequence_model.from_action.linear"),
    ("dyn.dynhid0norm", "world_model.rssm.sequence_model.hidden_norm"),
    ("dyn.dynhid0", "world_model.rssm.sequence_model.hidden"),
    ("dyn.dyngru", "world_model.rssm.sequence_model.gates"),
    (r"dyn.prior(\d+)norm", r"world_model.rssm.transition.0.\1.norm"),
    ("dyn.priorlogit", "world_model.rssm.transition.1"),
    (r"dyn.prior(\d+)", r"world_model.rssm.transition.0.\1.linear"),
    ("dyn.obs0norm", "world_model.rssm.inference.norm"),
    ("dyn.obs0", "world_model.rssm.inference.linear"),
    (r"dyn.obs(\d+)norm", r"world_model.rssm.inference_hidden.<\1>.norm"),
    (r"dyn.obs(\d+)", r"world_model.rssm.inference_hidden.<\1>.linear"),
    ("dyn.obslogit", "world_model.rssm.inference_out"),
    # The recurrent model of the first DreamerV3.
    ("rssm", "world_model.rssm.initial_state"),
    ("rssm.img_in", "world_model.rssm.sequence_model.input.linear"),
    ("rssm.img_in.norm", "world_model.rssm.sequence_model.input.norm"),
    ("rssm.gru", "world_model.rssm.sequence_model.gates"),
    ("rssm.gru.norm", "world_model.rssm.sequence_model.gates_norm"),
    ("rssm.img_out", "world_model.rssm.transition.0.0.linear"),
    ("rssm.img_out.norm", "world_model.rssm.transition.0.0.norm"),
    ("rssm.img_stats", "world_model.rssm.transition.1"),
    ("rssm.obs_out", "world_model.rssm.inference.linear"),
    ("rssm.obs_out.norm", "world_model.rssm.inference.norm"),
    ("rssm.obs_stats", "world_model.rssm.inference_out"),
    (r"enc.mlp(\d+)norm", r"world_model.encoder.mlp.\1.norm"),
    (r"enc.mlp(\d+)", r"world_model.encoder.mlp.\1.linear"),
    (r"enc.cnn(\d+)norm", r"world_model.encoder.image.stages.\1.norm"),
    (r"enc.cnn(\d+)", r"world_model.encoder.image.stages.\1.conv"),
    ("dec.sp0", "world_model.decoder.image.from_h"),
    ("dec.sp1norm", "world_model.decoder.image.from_z.norm"),
    ("dec.sp1", "world_model.decoder.image.from_z.linear"),
    ("dec.sp2", "world_model.decoder.image.from_z_out"),
    ("dec.spnorm", "world_model.decoder.image.norm"),
    (r"dec.conv(\d+)norm", r"world_model.decoder.image.stages.\1.norm"),
    (r"dec.conv(\d+)", r"world_model.decoder.image.stages.\1.conv"),
    ("dec.imgout", "world_model.decoder.image.out"),
    (r"dec.mlp.linear(\d+)", r"world_model.decoder.mlp.\1.linear"),
    (r"dec.mlp.norm(\d+)", r"world_model.decoder.mlp.\1.norm"),
    (r"dec.vec.(\w+).(?:pred|logits)", r"world_model.decoder.out.{\1}"),
]
HEADS = {
    "rew": "world_model.reward_predictor",
    "con": "world_model.continue_predictor",
    "pol": "actor_critic.actor",
    "polc": "actor_critic.actor",
    "pold": "actor_critic.actor",
    "val": "actor_critic.critic",
    "slowval": "actor_critic.slow_critic",
}
HEAD_PARTS = [
    (r"mlp.linear(\d+)", r"mlp.\1.linear"),
    (r"mlp.norm(\d+)", r"mlp.\1.norm"),
    ("head.action.stddev", "out.1"),
    ("head.(?:logits|logit|action.mean|action.logits)", "out.0"),
]


def our_name(official: str, vectors: list[str]) -> str:
    """Our parameter name for an official one; `vectors` are the vector observations, sorted as the decoder holds them."""
    path, leaf = official.rsplit(".", 1)
    leaf = {"kernel": "weight", "scale": "weight", "bias": "bias", "initial": "raw"}[leaf]
    head, _, rest = path.partition(".")
    rules, prefix = (HEAD_PARTS, HEADS[head] + ".") if head in HEADS else (MODULES, "")
    for pattern, ours in rules:
        match = re.fullmatch(pattern, rest if head in HEADS else path)
        if match:
            name = re.sub(r"\{(\w+)\}", lambda key: str(vectors.index(key[1])), match.expand(ours))
            name = re.sub(r"<(\d+)>", lambda number: str(int(number[1]) - 1), name)
            return f"{prefix}{name}.{leaf}"
    raise KeyError(official)


def to_ours(official: str, array: np.ndarray) -> Tensor:
    """A tensor in our layout: linear kernels [in, out] and convolution kernels [k, k, in, out] turn, block kernels and vectors stay."""
    tensor = torch.from_numpy(np.asarray(array, np.float64))
    turned = {2: (1, 0), 4: (3, 2, 0, 1)}.get(tensor.ndim) if official.endswith("kernel") else None
    return tensor.permute(turned) if turned else tensor


class Parts(nn.Module):
    """Whatever modules a fixture needs, under the names that the map uses."""

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)


def nest(path: str, module: nn.Module) -> nn.Module:
    """The module under a dotted path: `nest("world_model.rssm", m)`."""
    head, _, rest = path.partition(".")
    return Parts(**{head: nest(rest, module) if rest else module})


def load_weights(root: nn.Module, data: Mapping[str, np.ndarray], prefix: str = "w.", vectors: list[str] | None = None) -> int:
    """Copy every official weight into the module tree that holds it; returns how many, all of the module's parameters are covered."""
    ours = dict(root.named_parameters())
    loaded = set()
    for key in (key for key in data if key.startswith(prefix)):
        name = our_name(key.removeprefix(prefix), vectors or [])
        if name in ours:
            with torch.no_grad():
                ours[name].copy_(to_ours(key, data[key]))
            loaded.add(name)
    assert loaded == set(ours), f"not in the fixture: {sorted(set(ours) - loaded)}"
    return len(loaded)


def check_parameters(root: nn.Module, data: Mapping[str, np.ndarray], prefix: str, vectors: list[str] | None = None, *, grad: bool) -> int:
    """Compare every array under `prefix` with our parameters or their gradients; returns how many were compared."""
    ours, count = dict(root.named_parameters()), 0
    for key in (key for key in data if key.startswith(prefix)):
        name = key.removeprefix(prefix)
        if "." not in name:
            continue  # an input, compared by the test itself
        parameter = ours[our_name(name, vectors or [])]
        check(parameter.grad if grad else parameter, to_ours(key, data[key]).numpy(), key)
        count += 1
    assert count, f"no arrays under {prefix}"
    return count


def check(found: Tensor | None, wanted: np.ndarray, name: str = "") -> None:
    """Equal in float64 at the golden tolerance, and noted in the report."""
    assert found is not None, f"{name}: no gradient reached it"
    array = found.detach().double().numpy()
    REPORT.compare(array, wanted)
    np.testing.assert_allclose(array, wanted, rtol=RTOL, atol=ATOL, err_msg=name)
    assert array.shape == np.shape(wanted), f"{name}: shape {array.shape}, wanted {np.shape(wanted)}"


def double(array: np.ndarray) -> Tensor:
    """A float64 leaf that wants a gradient."""
    return torch.from_numpy(np.asarray(array, np.float64)).requires_grad_()
