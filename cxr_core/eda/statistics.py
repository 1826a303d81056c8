"""Statistics of one film, taken while its pixels are at hand: grey levels, texture, edges, sharpness.

Grey levels are those of the native film. Texture, edges and sharpness are measured where the film lies in the
canonical frame, so that they do not measure the size of the file, which gives the source away (TRAPS 1, 12).
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from cxr_core.imaging.preprocess import Box

__all__ = ["EDGES", "HISTOGRAM", "LBP", "STATISTICS", "film_statistics", "lbp_codes", "lbp_histogram"]

Grey = npt.NDArray[np.uint8]

_HIST_BINS = 32  # of eight grey levels each
_DARK = 10  # grey levels below it count as dark: film borders, collimation
_BRIGHT = 245  # grey levels above it count as bright: burnt-in marks, redaction boxes (TRAPS 4)
_CANNY_LOW = 50  # on the Sobel scale, where a step of 12.5 grey levels gives 50: above noise of sigma .02 (report 5.1)
_CANNY_HIGH = 150  # three times the low one: the upper end of the ratio in Canny, PAMI 1986, section V
_SOBEL_GAIN = 8.0  # a 3 x 3 Sobel kernel answers 8 to a ramp of one grey level a pixel
_NEIGHBOURS = 8  # P of the patterns; R is 1

LBP: tuple[str, ...] = tuple(f"lbp_{code}" for code in range(_NEIGHBOURS + 2))
HISTOGRAM: tuple[str, ...] = tuple(f"hist_{bin_:02d}" for bin_ in range(_HIST_BINS))
EDGES: tuple[str, ...] = ("edge_density", "edge_strength", "sharpness")
STATISTICS: tuple[str, ...] = (
    "mean",
    "std",
    "p01",
    "p50",
    "p99",
    "sharpness",
    "dark_share",
    "bright_share",
    "edge_density",
    "edge_strength",
    *LBP,
    *HISTOGRAM,
)


def film_statistics(grey: Grey, frame: Grey, box: Box) -> dict[str, float]:
    """Every statistic of one film.

    Args:
        grey: (height, width) uint8 native film, 0-255, at least one pixel.
        frame: (side, side) uint8 canonical frame of the same film.
        box: where the film lies in the frame.

    Returns:
        One value for each name in :data:`STATISTICS`, in that order: ``mean``, ``std``, ``p01``, ``p50``, ``p99`` in
        grey levels 0-255; ``dark_share`` (below 10) and ``bright_share`` (above 245) of the native pixels, 0-1;
        ``sharpness`` the variance of the Laplacian; ``edge_density`` the share of Canny edge pixels, 0-1;
        ``edge_strength`` the mean Sobel magnitude, grey levels a pixel; ``lbp_*`` and ``hist_*`` shares, each adding
        up to 1.
    """
    film = np.ascontiguousarray(frame[box.top : box.bottom, box.left : box.right])
    values = {**_grey_levels(grey), **_edges(film)}
    values.update(zip(LBP, lbp_histogram(film).tolist(), strict=True))
    return {name: values[name] for name in STATISTICS}


def _grey_levels(grey: Grey) -> dict[str, float]:
    counts = cv2.calcHist([grey], [0], None, [256], [0, 256]).ravel().astype(np.float64)
    shares = counts / counts.sum()
    levels = np.arange(256.0)
    mean = float(shares @ levels)
    cumulative = np.cumsum(shares)
    # Smallest level that holds the share, less the rounding of 256 sums (numpy's "inverted_cdf").
    p01, p50, p99 = np.searchsorted(cumulative, np.array([0.01, 0.5, 0.99]) - 1e-12).tolist()
    return {
        "mean": mean,
        "std": float(np.sqrt(shares @ (levels - mean) ** 2)),
        "p01": float(p01),
        "p50": float(p50),
        "p99": float(p99),
        "dark_share": float(shares[:_DARK].sum()),
        "bright_share": float(shares[_BRIGHT + 1 :].sum()),
        **dict(zip(HISTOGRAM, shares.reshape(_HIST_BINS, -1).sum(axis=1).tolist(), strict=True)),
    }


def _edges(film: Grey) -> dict[str, float]:
    across = cv2.Sobel(film, cv2.CV_16S, 1, 0)
    down = cv2.Sobel(film, cv2.CV_16S, 0, 1)
    # NumPy's sum: OpenCV's depends on where in memory the array lies, by the last digit.
    strength = np.sqrt(across.astype(np.float64) ** 2 + down.astype(np.float64) ** 2)
    edges = cv2.Canny(across, down, _CANNY_LOW, _CANNY_HIGH)
    _, deviation = cv2.meanStdDev(cv2.Laplacian(film, cv2.CV_16S))
    return {
        "sharpness": float(deviation[0, 0]) ** 2,
        "edge_density": cv2.countNonZero(edges) / edges.size,
        "edge_strength": float(strength.mean()) / _SOBEL_GAIN,
    }


def _uniform_codes() -> npt.NDArray[np.uint8]:
    """Rotation-invariant uniform code of each of the 256 patterns (Ojala et al., PAMI 2002, equation 10)."""
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
    changes = (bits != np.roll(bits, 1, axis=1)).sum(axis=1)
    return np.where(changes <= 2, bits.sum(axis=1), _NEIGHBOURS + 1).astype(np.uint8)


_CODES = _uniform_codes()
_RING = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))  # (down, right), anticlockwise


def lbp_codes(film: Grey) -> npt.NDArray[np.uint8]:
    """Rotation-invariant uniform local binary patterns, eight neighbours at radius 1 (Ojala et al., PAMI 2002).

    Diagonal neighbours are interpolated to the circle with weights in 1/256 (128 for the corner, 53 for each side, 22
    for the centre; exact .5, .2071, .0858), so that a flat area compares equal without rounding. The border is
    replicated.

    Args:
        film: (height, width) uint8.

    Returns:
        (height, width) uint8: 0-8 the number of neighbours not darker than the centre where the pattern has at most
        two changes around the ring, 9 elsewhere.
    """
    height, width = film.shape
    padded = cv2.copyMakeBorder(film, 1, 1, 1, 1, cv2.BORDER_REPLICATE).astype(np.uint16)

    def shifted(down: int, right: int) -> npt.NDArray[np.uint16]:
        return padded[1 + down : 1 + down + height, 1 + right : 1 + right + width]

    centre = shifted(0, 0)
    diagonal_centre = 234 * centre  # 256 less the centre's own 22; at most 59,670: fits 16 bits
    pattern = np.zeros((height, width), np.uint8)
    for bit, (down, right) in enumerate(_RING):
        if down and right:
            circle = 128 * shifted(down, right) + 53 * (shifted(down, 0) + shifted(0, right))
            brighter = circle >= diagonal_centre
        else:
            brighter = shifted(down, right) >= centre
        pattern |= brighter.view(np.uint8) << bit
    return cv2.LUT(pattern, _CODES)


def lbp_histogram(film: Grey) -> npt.NDArray[np.float64]:
    """Share of each code of :func:`lbp_codes` in a film: (10,) float64 that adds up to 1."""
    counts = cv2.calcHist([lbp_codes(film)], [0], None, [len(LBP)], [0, len(LBP)]).ravel().astype(np.float64)
    return counts / counts.sum()
