"""Monte Carlo dropout over the head: how much the answer depends on which parts of the embedding are heard.

Gal and Ghahramani, Dropout as a Bayesian approximation, ICML 2016. The backbone runs once, with everything in
evaluation mode; dropout and head are computed here from its embeddings, on copies of the head's numbers. No module is
switched to training, which would move BatchNorm statistics for good (TRAPS 9).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cxr_core.errors import CxrError
from cxr_core.evaluation.probabilities import softmax

if TYPE_CHECKING:
    from cxr_core.modelling.network import Classifier

__all__ = ["Head", "MonteCarlo", "entropy", "head_of", "monte_carlo"]

Floats = npt.NDArray[np.float64]

_BLOCK = 1 << 21  # numbers held at once: 2 million float64 are 16 MiB


@dataclass(frozen=True)
class Head:
    """Dropout and linear layer of a classifier, as numbers.

    Attributes:
        weight: (k, d) float64.
        bias: (k,) float64.
        rate: probability that a component of the embedding is dropped, 0 <= rate < 1.
    """

    weight: Floats
    bias: Floats
    rate: float


@dataclass(frozen=True)
class MonteCarlo:
    """What the passes say of n films; entropies in nats.

    Attributes:
        probabilities: (n, k) mean over the passes.
        predictive_entropy: (n,) entropy of that mean: all uncertainty.
        expected_entropy: (n,) mean of the passes' entropies: what every pass is unsure of.
        mutual_information: (n,) their difference, >= 0: what the passes disagree about (BALD: Houlsby et al. 2011).
    """

    probabilities: Floats
    predictive_entropy: Floats
    expected_entropy: Floats
    mutual_information: Floats


def head_of(model: Classifier) -> Head:
    """Copies of a classifier's head; the model is only read."""
    return Head(
        weight=model.head.weight.detach().cpu().numpy().astype(np.float64),
        bias=model.head.bias.detach().cpu().numpy().astype(np.float64),
        rate=float(model.dropout.p),
    )


def monte_carlo(embeddings: npt.NDArray[np.floating], head: Head, passes: int, seed: int) -> MonteCarlo:
    """Classify embeddings with many random halves of themselves.

    A pass drops the same components of every film, as one member of an ensemble would; each film still sees components
    dropped independently with the head's rate, and its answer depends on no other film.

    Args:
        embeddings: (n, d), finite.
        head: of the classifier that made them.
        passes: >= 1.
        seed: of the components that are dropped.

    Raises:
        CxrError: embeddings that do not fit the head or are not finite, a rate outside [0, 1), or no pass.
    """
    values = np.asarray(embeddings, np.float64)
    classes, size = head.weight.shape
    if values.size == 0:
        values = values.reshape(0, size)
    if values.ndim != 2 or values.shape[1] != size:
        raise CxrError(f"Embeddings of shape {values.shape} do not fit a head of {size} inputs: embed again.")
    if not np.isfinite(values).all():
        raise CxrError("Embeddings hold values that are no numbers: materialise embeddings again.")
    if not 0 <= head.rate < 1 or passes < 1:
        raise CxrError(f"Dropout {head.rate:g} in {passes} passes is none: give a rate below 1 and one pass or more.")
    kept = np.random.default_rng(seed).random((passes, 1, size)) >= head.rate
    heads = (head.weight * kept / (1 - head.rate)).reshape(passes * classes, size)
    means, within = np.empty((len(values), classes)), np.empty(len(values))
    step = max(1, _BLOCK // len(heads))
    for start in range(0, len(values), step):
        rows = slice(start, start + step)
        logits = (values[rows] @ heads.T).reshape(-1, passes, classes) + head.bias
        answers = softmax(logits.reshape(-1, classes)).reshape(logits.shape)
        means[rows] = answers.mean(axis=1)
        within[rows] = entropy(answers).mean(axis=1)
    total = entropy(means)
    return MonteCarlo(means, total, within, np.maximum(total - within, 0))  # entropy is concave: below 0 is rounding


def entropy(probabilities: Floats) -> Floats:
    """Shannon entropy along the last axis, nats; 0 log 0 is 0."""
    logarithms = np.log(probabilities, out=np.zeros_like(probabilities), where=probabilities > 0)
    return np.asarray(np.abs((probabilities * logarithms).sum(axis=-1)))
