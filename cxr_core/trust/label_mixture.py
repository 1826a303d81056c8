"""Whether the films filed under one label are a mixture of two classes: a fit to their scores, with a test.

The scores come from a head of other sources, so that neither place nor spread is known for this source; what is known
from the others is how far the two classes lie apart. Two normal components, weak priors on distance and variances, the
maximum by expectation-conditional-maximisation (Dempster, Laird, Rubin 1977; Meng and Rubin 1993). Twice the gain in
log posterior over a single component is tested against half a chi-squared of one degree of freedom plus half a zero,
since the share lies on its boundary there (Self and Liang, JASA 1987).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Mixture", "Reference", "fit_mixture", "mixture_p_value", "resampled_shares"]

Floats = npt.NDArray[np.float64]

_TRUST = 10.0  # films that the priors on distance and variances are worth: little beside the hundred of a cell
_STARTS = (0.02, 0.15, 0.4)  # shares from which the fit starts; above a half a shift explains as much as a mixture
_STEPS = 150
_RESAMPLE_STEPS = 40  # from the fit to all films on
_BLOCK = 1 << 21  # weights held at once, float64


@dataclass(frozen=True)
class Reference:
    """Scores of the two classes in other sources, out of fold: means and standard deviations.

    Attributes:
        other: mean of the class that may have been filed wrongly.
        own: mean of the class that the label names; larger.
        other_spread, own_spread: standard deviations, > 0.
    """

    other: float
    own: float
    other_spread: float
    own_spread: float

    @property
    def distance(self) -> float:
        """Distance of the means in standard deviations: how well the classes are told apart elsewhere."""
        return (self.own - self.other) / float(np.sqrt((self.other_spread**2 + self.own_spread**2) / 2))


@dataclass(frozen=True)
class Mixture:
    """A fitted mixture.

    Attributes:
        share: of the films that belong to the other class, 0-1.
        gain: twice the gain in log posterior over no such film, >= 0.
        wrong: (n,) probability of each film that it belongs to the other class.
    """

    share: float
    gain: float
    wrong: Floats


class _Fit:
    """The parameters of b weightings at once, in units where the reference puts the classes at 0 and 1."""

    def __init__(self, scores: Floats, anchors: Floats, reference: Reference, weights: Floats) -> None:
        scale = reference.own - reference.other
        self.x = (scores - reference.other) / scale
        self.y = (anchors - reference.other) / scale
        self.prior = (reference.other_spread / scale) ** 2, (reference.own_spread / scale) ** 2
        self.w, self.v = weights[:, : len(scores)], weights[:, len(scores) :]

    def start(self, share: Floats) -> None:
        counts = self.w.sum(axis=1)
        mean = np.divide(self.w @ self.x, counts, out=np.zeros_like(counts), where=counts > 0)
        self.share, self.own, self.other = share.copy(), mean + share, mean + share - 1
        self.other_variance = np.full(len(self.w), self.prior[0])
        self.own_variance = np.full(len(self.w), self.prior[1])

    def _densities(self) -> tuple[Floats, Floats]:
        va, vc = self.other_variance[:, None], self.own_variance[:, None]
        with np.errstate(divide="ignore"):
            other = np.log(self.share)[:, None] - (np.log(va) + (self.x - self.other[:, None]) ** 2 / va) / 2
            own = np.log1p(-self.share)[:, None] - (np.log(vc) + (self.x - self.own[:, None]) ** 2 / vc) / 2
        return other, own

    def wrong(self) -> Floats:
        other, own = self._densities()
        return np.exp(other - np.logaddexp(other, own))

    def step(self) -> None:
        wrong = self.wrong()
        a, c = self.w * wrong, self.w * (1 - wrong)
        na, nc = a.sum(axis=1) + self.v.sum(axis=1), c.sum(axis=1)
        pull = 2 * _TRUST / (self.other_variance + self.own_variance)
        wa, wc = na / self.other_variance, nc / self.own_variance
        sa, sc = (a @ self.x + self.v @ self.y) / self.other_variance, (c @ self.x) / self.own_variance
        determinant = (wa + pull) * (wc + pull) - pull**2
        self.other = ((sa - pull) * (wc + pull) + pull * (sc + pull)) / determinant
        self.own = ((sc + pull) * (wa + pull) + pull * (sa - pull)) / determinant
        spread = (a * (self.x - self.other[:, None]) ** 2).sum(axis=1)
        spread += (self.v * (self.y - self.other[:, None]) ** 2).sum(axis=1)
        self.other_variance = (spread + _TRUST * self.prior[0]) / (na + _TRUST)
        spread = (c * (self.x - self.own[:, None]) ** 2).sum(axis=1)
        self.own_variance = (spread + _TRUST * self.prior[1]) / (nc + _TRUST)
        counts = self.w.sum(axis=1)
        self.share = np.divide(a.sum(axis=1), counts, out=np.zeros_like(counts), where=counts > 0)

    def posterior(self) -> Floats:
        va, vc = self.other_variance, self.own_variance
        found = (self.w * np.logaddexp(*self._densities())).sum(axis=1)
        found -= (self.v * (np.log(va)[:, None] + (self.y - self.other[:, None]) ** 2 / va[:, None])).sum(axis=1) / 2
        found -= _TRUST * (self.own - self.other - 1) ** 2 / (va + vc)
        found -= _TRUST / 2 * (np.log(va) + self.prior[0] / va + np.log(vc) + self.prior[1] / vc)
        return np.asarray(found, np.float64)


def fit_mixture(scores: Floats, anchors: Floats, reference: Reference) -> Mixture:
    """Fit two components to the films of a cell.

    Args:
        scores: (n,) log odds of the class that the label names.
        anchors: (m,) scores of this source's films that are filed under the other class; may be empty.
        reference: of other sources, with ``own`` above ``other``.

    Returns:
        The best of several starts; share 0 where no start gains anything.
    """
    fit = _Fit(scores, anchors, reference, np.ones((1, len(scores) + len(anchors))))
    found: list[tuple[float, float, Floats]] = []
    for share in (0.0, *_STARTS):
        fit.start(np.array([share]))
        for _ in range(_STEPS):
            fit.step()
        found.append((float(fit.posterior()[0]), float(fit.share[0]), fit.wrong()[0]))
    single = found[0][0]
    best, share, wrong = max(found, key=lambda one: one[0])  # the first of equals: no mixture
    return Mixture(share, max(0.0, 2 * (best - single)), wrong)


def mixture_p_value(gain: float) -> float:
    """Chance of such a gain where there is one component, 0-1; 1 for no gain."""
    from scipy.stats import chi2

    return float(chi2.sf(gain, 1)) / 2 if gain > 0 else 1.0


def resampled_shares(scores: Floats, anchors: Floats, reference: Reference, share: float, weights: Floats) -> Floats:
    """Share of the other class in each resample, the head taken as given.

    Args:
        scores, anchors, reference: as :func:`fit_mixture`.
        share: that of the fit to all films, where the search starts.
        weights: (b, n + m) how often each film counts.

    Returns:
        (b,) shares.
    """
    found = []
    step = max(1, _BLOCK // max(1, weights.shape[1]))
    for start in range(0, len(weights), step):
        block = weights[start : start + step]
        fit = _Fit(scores, anchors, reference, block)
        fit.start(np.full(len(block), max(share, _STARTS[0])))
        for _ in range(_RESAMPLE_STEPS):
            fit.step()
        found.append(fit.share)
    return np.concatenate(found)
