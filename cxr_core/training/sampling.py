"""Which images an epoch draws, and in what order (TRAPS 1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cxr_core.dataset.frames import LabelledFrames
from cxr_core.errors import CxrError

__all__ = ["SAMPLINGS", "balanced", "epoch_batches", "source_balanced", "weights_of"]

Rows = npt.NDArray[np.intp]
Weights = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


def balanced(labels: Labels, sources: Sequence[str]) -> Weights:
    """Chance of each image, (n,) summing to 1, so that every class is drawn equally often."""
    counts = np.bincount(labels)
    return _normalised(1.0 / counts[labels])


def source_balanced(labels: Labels, sources: Sequence[str]) -> Weights:
    """Chance of each image so that inside each source all its classes are drawn equally often.

    A source is drawn in proportion to its images, as without balancing. Where every source has every class, source and
    class are then independent: knowing the source says nothing of the class, and the shortcut earns nothing (the
    reweighing of Kamiran & Calders 2012, with classes made equal). A source of one class has nothing to balance; what
    it gives away cannot be cured by drawing, only by films of its other classes.

    Raises:
        CxrError: the sources are not known.
    """
    if len(sources) != len(labels):
        raise CxrError("Source-balanced sampling needs the source of each film: add it to metadata.csv, column source.")
    names, place = np.unique(np.asarray(sources, dtype=str), return_inverse=True)
    cells = np.zeros((len(names), int(labels.max()) + 1))
    np.add.at(cells, (place, labels), 1)
    classes_of = (cells > 0).sum(axis=1)
    return _normalised(cells.sum(axis=1)[place] / (classes_of[place] * cells[place, labels]))


SAMPLINGS = {"balanced": balanced, "source_balanced": source_balanced}


def weights_of(data: LabelledFrames, sampling: str) -> Weights | None:
    """Chance of each image under a way of sampling; None where each image is drawn once."""
    return None if sampling == "shuffle" else SAMPLINGS[sampling](data.labels, data.sources)


def epoch_batches(
    n: int, size: int, seed: int, epoch: int, weights: Weights | None = None, parts: int = 1
) -> list[Rows]:
    """The rows of an epoch in batches.

    Args:
        n: number of images.
        size: images of a batch, all parts together.
        seed, epoch: of the draw; the same two give the same batches.
        weights: chance of each image, (n,) summing to 1. None: each image once. Else n draws by systematic sampling
            (Kish 1965): an image of expected count c is drawn floor(c) or ceil(c) times, so that the mix of an epoch
            hardly varies.
        parts: processes that share a batch. A last batch that cannot give two images to each is left out: BatchNorm
            has no variance of one value.

    Returns:
        Batches of row numbers; at least one.
    """
    rng = np.random.default_rng([seed, epoch])
    if weights is None:
        order = rng.permutation(n)
    else:
        points = (rng.random() + np.arange(n)) / n
        drawn = np.searchsorted(np.cumsum(weights), points, side="right")
        order = rng.permutation(np.minimum(drawn, n - 1))  # the sum of the weights may round to just below 1
    batches = [order[start : start + size] for start in range(0, n, size)]
    return batches[:-1] if len(batches) > 1 and len(batches[-1]) < 2 * parts else batches


def _normalised(weights: Weights) -> Weights:
    return weights / weights.sum()
