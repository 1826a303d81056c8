"""How alike two heat maps are: rank correlation and structural similarity, as Adebayo et al. 2018 measure it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["GRID", "MEASURES", "TITLES", "rank_correlations", "reduced", "structural_similarities"]

Maps = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

GRID = 56  # cells a side that maps are compared on: four times finer than the coarsest map, a sixteenth of the work
_SIGMA = 1.5  # of SSIM's Gaussian window, cells: Wang et al. 2004, section III.B
_K1, _K2, _RANGE = 0.01, 0.03, 1.0  # constants of SSIM and range of the maps: Wang et al. 2004, section III.B


def reduced(maps: Maps, grid: int = GRID) -> Maps:
    """Maps averaged to ``grid`` cells a side, (n, grid, grid); as they are where they are no larger."""
    if maps.shape[1] <= grid:
        return maps.astype(np.float32)
    cells = [cv2.resize(one.astype(np.float32), (grid, grid), interpolation=cv2.INTER_AREA) for one in maps]
    return np.stack(cells) if cells else np.zeros((0, grid, grid), np.float32)


def rank_correlations(a: Maps, b: Maps) -> Floats:
    """Spearman's rank correlation of each pair of maps, (n,) float64, -1 to 1; NaN where one of a pair is flat."""
    from scipy.stats import rankdata

    if not len(a):
        return np.zeros(0)
    x, y = (rankdata(maps.reshape(len(maps), -1), axis=1) for maps in (a, b))
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    spread = np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
    return np.divide((x * y).sum(axis=1), spread, out=np.full(len(x), np.nan), where=spread > 0)


def structural_similarities(a: Maps, b: Maps) -> Floats:
    """Mean structural similarity of each pair of maps of range 0-1, (n,) float64, at most 1; NaN where one is flat.

    Wang, Bovik, Sheikh and Simoncelli, IEEE Transactions on Image Processing 2004, equation 13, with the Gaussian
    window of section III.B; the edge is mirrored.
    """
    return np.array([_ssim(x.astype(np.float64), y.astype(np.float64)) for x, y in zip(a, b, strict=True)], np.float64)


def _ssim(x: Floats, y: Floats) -> float:
    if not np.ptp(x) or not np.ptp(y):
        return float("nan")

    def blurred(values: Floats) -> Floats:
        return np.asarray(cv2.GaussianBlur(values, (11, 11), _SIGMA, borderType=cv2.BORDER_REFLECT), np.float64)

    mx, my = blurred(x), blurred(y)
    vx, vy, cov = blurred(x * x) - mx * mx, blurred(y * y) - my * my, blurred(x * y) - mx * my
    c1, c2 = (_K1 * _RANGE) ** 2, (_K2 * _RANGE) ** 2
    return float(((2 * mx * my + c1) * (2 * cov + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))).mean())


MEASURES: Mapping[str, Callable[[Maps, Maps], Floats]] = {
    "rank_correlation": rank_correlations,
    "ssim": structural_similarities,
}
TITLES: Mapping[str, str] = {"rank_correlation": "rank correlation", "ssim": "structural similarity"}
