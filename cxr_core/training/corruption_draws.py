"""Corruptions drawn at random for training: what other scanners may give, learnt from (Hendrycks et al., ICLR 2020).

Every draw is seeded by seed, epoch and image, in streams of its own: an image that is spared is augmented to the very
bytes that it would have without any corruption, and a share of 0 changes nothing at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cxr_core.errors import CxrError
from cxr_core.robustness.corruptions import CORRUPTIONS, SEVERITIES, Preset, condition, corrupt

__all__ = ["CorruptionDraws"]

Pixels = npt.NDArray[np.uint8]


class CorruptionDraws:
    """A share of the images of each epoch gets one corruption of the registry at one severity, all equally often.

    Args:
        share: chance of an image to be corrupted, 0-1.
        kinds: names of the registry that are drawn; none: all of them.
        seed: of every draw.

    Raises:
        CxrError: a kind that the registry does not have.
    """

    def __init__(self, share: float, kinds: Sequence[str], seed: int) -> None:
        unknown = sorted(set(kinds) - set(CORRUPTIONS))
        if unknown:
            raise CxrError(
                f"No corruption is called {unknown[0]!r}: use names of the registry in augmentation.corruption_kinds."
            )
        self.share = share
        self.kinds = tuple(sorted(set(kinds) or CORRUPTIONS))
        self.seed = seed

    def draw(self, key: str, epoch: int) -> Preset | None:
        """What happens to an image in an epoch; None where it is spared."""
        rng = np.random.default_rng(self._stream(key, epoch))
        if rng.random() >= self.share:
            return None
        kind = self.kinds[int(rng.integers(len(self.kinds)))]
        return condition(kind, SEVERITIES[int(rng.integers(len(SEVERITIES)))])

    def apply(self, frames: Pixels, keys: Sequence[str], epoch: int) -> Pixels:
        """Copies of frames, some of them corrupted.

        Args:
            frames: (n, side, side) uint8, as they come from the cache.
            keys: n names of random streams.
            epoch: another epoch gives other draws.

        Returns:
            (n, side, side) uint8.
        """
        result = frames.copy()
        for row, key in enumerate(keys):
            if preset := self.draw(key, epoch):
                result[row] = corrupt(frames[row : row + 1], [f"{key}/{epoch}"], preset, self.seed)[0]
        return result

    def _stream(self, key: str, epoch: int) -> int:
        text = f"{self.seed}/corruption/{epoch}/{key}".encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
