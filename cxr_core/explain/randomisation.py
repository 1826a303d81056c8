"""Cascading randomisation: a map of the network must change when the network forgets what it has learnt.

Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018, section 3: weights are drawn anew from the head down,
stage by stage, and the map of the network so far is compared with that of the trained one. A map that stays what it was
shows the film, not the network.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from timm.models import group_modules
from torch import nn

from cxr_core.explain.map_similarity import MEASURES, reduced
from cxr_core.explain.reference_maps import random_maps
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.modelling.network import Classifier

__all__ = ["Cascade", "MapMaker", "cascade", "levels", "randomised", "similarity_null"]

Pixels = npt.NDArray[np.uint8]
Maps = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
MapMaker = Callable[[Classifier], Maps]  # maps of the films under a network

_PARTS = 8  # that a backbone is cut into where timm does not say its stages
_BATCH = 32  # films at once when statistics of normalisation are measured again
_NULL_PAIRS = 400  # pairs of random maps: their mean is good to a twentieth of their spread


@dataclass(frozen=True)
class Cascade:
    """What came of it.

    Attributes:
        levels: names of what had been drawn anew, the head first; each level holds those before it.
        similarity: name in :data:`~cxr_core.explain.map_similarity.MEASURES` to (levels, n) float64: of each film's map
            with that of the trained network, mean over the draws; NaN where one of the two is blank.
    """

    levels: tuple[str, ...]
    similarity: dict[str, Floats]


def cascade(
    model: Classifier,
    frames: Pixels,
    preprocessing: Preprocessing,
    maps_of: MapMaker,
    trained: Maps,
    seed: int,
    draws: int,
) -> Cascade:
    """Compare maps while the network is drawn anew from the head down.

    Args:
        model: the trained network; it stays as it is.
        frames: (n, side, side) uint8, the films that are explained.
        preprocessing: turns frames into network input.
        maps_of: makes the films' maps under a network.
        trained: (n, side, side) maps under the trained one.
        seed: of the weights.
        draws: of all weights, over which similarities are averaged.
    """
    names = tuple(name for name, _ in levels(model))
    found = {measure: np.full((draws, len(names), len(frames)), np.nan) for measure in MEASURES}
    small = reduced(trained)
    for draw in range(draws):
        for level, (_, network) in enumerate(randomised(model, frames, preprocessing, seed + draw)):
            other = reduced(maps_of(network))
            for measure, compare in MEASURES.items():
                found[measure][draw, level] = compare(small, other)
    return Cascade(names, {measure: _mean_known(values) for measure, values in found.items()})


def levels(model: Classifier) -> list[tuple[str, list[str]]]:
    """Parts of a network from the head down: a name, and the names of the modules with weights of their own."""
    owners = [
        name
        for name, module in model.backbone.named_modules()
        if next(module.parameters(recurse=False), None) is not None
    ]
    if hasattr(model.backbone, "group_matcher"):
        grouped = group_modules(model.backbone, model.backbone.group_matcher(coarse=True))  # type: ignore[operator]
        parts = [[name for name in grouped[place] if name in set(owners)] for place in sorted(grouped)]
    else:
        parts = [list(part) for part in np.array_split(np.asarray(owners, object), min(_PARTS, len(owners)))]
    kept = [part for part in parts if part]
    named = [(f"stage {place}" if place else "stem", part) for place, part in enumerate(kept)]
    return [("head", ["head"]), *((name, [f"backbone.{one}" for one in part]) for name, part in reversed(named))]


def randomised(
    model: Classifier, frames: Pixels, preprocessing: Preprocessing, seed: int
) -> Iterator[tuple[str, Classifier]]:
    """The network with ever more of it drawn anew, as :func:`levels` orders it.

    Weights are drawn as torch draws those of a new module. Statistics of BatchNorm that are drawn anew are measured
    on the films themselves, since with those of the trained network, or with none, a random network gives numbers that
    vanish or overflow, and a map of rounding errors.

    Yields:
        The level's name, and one and the same network, changed in place between the levels.
    """
    network = copy.deepcopy(model).eval()
    fresh: list[nn.modules.batchnorm._BatchNorm] = []
    for place, (name, modules) in enumerate(levels(model)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(np.random.SeedSequence([seed, place]).generate_state(1)[0]))
            for one in modules:
                module = network.get_submodule(one)
                _draw(module)
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    fresh.append(module)
        _measure(network, fresh, frames, preprocessing)
        yield name, network


def similarity_null(side: int, seed: int, pairs: int = _NULL_PAIRS) -> dict[str, Floats]:
    """Similarities of pairs of random maps, name of the measure to (pairs,) float64.

    Args:
        side: of the maps, pixels.
        seed: of the maps.
        pairs: number of them.
    """
    small = reduced(random_maps([f"null {place}" for place in range(2 * pairs)], side, seed))
    return {measure: compare(small[:pairs], small[pairs:]) for measure, compare in MEASURES.items()}


@torch.no_grad()
def _draw(module: nn.Module) -> None:
    reset = getattr(module, "reset_parameters", None)
    if callable(reset):
        reset()
        return
    for parameter in module.parameters(recurse=False):  # a bare parameter: its own spread, about its own mean
        spread = float(parameter.std()) if parameter.numel() > 1 else 0.0
        parameter.copy_(parameter.mean() + spread * torch.randn_like(parameter))


@torch.no_grad()
def _measure(
    network: Classifier, norms: list[nn.modules.batchnorm._BatchNorm], frames: Pixels, preprocessing: Preprocessing
) -> None:
    if not norms or not len(frames):
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
        norm.train()
    device = next(network.parameters()).device
    for start in range(0, len(frames), _BATCH):
        network.embed(torch.from_numpy(preprocessing.tensor(frames[start : start + _BATCH])).to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def _mean_known(values: Floats) -> Floats:
    """Mean over the first axis, NaN left out."""
    known = ~np.isnan(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
