"""Clinically plausible augmentation of cached frames (report 2.4).

Every image has its own random stream, seeded by (seed, epoch, image key): what an image becomes does not depend on
the batch it is in, nor on how many threads work.
"""

from __future__ import annotations

import hashlib
import os
import random
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_core.errors import CxrError
from cxr_core.settings_sections import AugmentationSettings
from cxr_core.training.corruption_draws import CorruptionDraws

__all__ = ["Augmenter"]

Pixels = npt.NDArray[np.uint8]


class Augmenter:
    """The report's six transforms: flip, rotation and translation, brightness/contrast, noise, blur.

    Rotation and translation are one affine step, applied to every image. What leaves the frame is lost, what enters
    is black. Where the settings ask for corruptions, they come first, as films are corrupted before they are augmented.
    Use one augmenter per thread.

    Args:
        settings: strengths and probabilities.
        seed: of every random stream.

    Raises:
        CxrError: albumentations would ignore or alter an argument (TRAPS 21).
    """

    def __init__(self, settings: AugmentationSettings, seed: int) -> None:
        self.settings = settings
        self.seed = seed
        share, kinds = settings.corruption_share, settings.corruption_kinds
        self._draws = CorruptionDraws(share, kinds, seed) if share else None
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            try:
                self._compose = _compose(settings)
            except (UserWarning, ValueError) as error:
                raise CxrError(
                    f"albumentations does not take a setting of augmentation ({error}): check its range."
                ) from error

    def augment(self, frames: Pixels, keys: Sequence[str], epoch: int) -> Pixels:
        """Augmented copies of frames.

        Args:
            frames: (n, side, side) uint8; any side: translation is a share of it.
            keys: n image keys.
            epoch: another epoch gives other draws.

        Returns:
            (n, side, side) uint8.
        """
        if self._draws:
            frames = self._draws.apply(frames, keys, epoch)
        result = np.empty_like(frames)
        for row, key in enumerate(keys):
            stream = self._stream(key, epoch)
            self._compose.set_random_state(np.random.default_rng(stream), random.Random(stream))
            result[row] = self._compose(image=frames[row])["image"]
        return result

    def _stream(self, key: str, epoch: int) -> int:
        text = f"{self.seed}/{epoch}/{key}".encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def _compose(settings: AugmentationSettings) -> Any:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # its import would ask PyPI for a newer version
    import albumentations
    import cv2

    class RoundedGaussNoise(albumentations.GaussNoise):
        """GaussNoise cuts the noise's fraction off when it adds it to uint8: sigma 2.19 in place of 2.55. Round it."""

        def apply(self, img: Pixels, noise_map: npt.NDArray[np.float32], **params: Any) -> Pixels:
            noisy: Pixels = super().apply(img, np.rint(noise_map), **params)
            return noisy

    shift, degrees, sigma = settings.translation, settings.rotation_degrees, settings.noise_sigma
    kernel = settings.blur_kernel
    blur_sigma = 0.3 * ((kernel - 1) * 0.5 - 1) + 0.8  # of a Gaussian that fits the kernel: OpenCV, getGaussianKernel
    optional = settings.optional_probability
    return albumentations.Compose(
        [
            albumentations.HorizontalFlip(p=settings.flip_probability),
            albumentations.Affine(
                rotate=(-degrees, degrees),
                translate_percent=(-shift, shift),
                interpolation=cv2.INTER_LINEAR,
                border_mode=cv2.BORDER_CONSTANT,
                fill=0,
                p=1.0,
            ),
            albumentations.RandomBrightnessContrast(
                brightness_limit=(-settings.brightness, settings.brightness),
                contrast_limit=(-settings.contrast, settings.contrast),
                brightness_by_max=True,
                p=optional,
            ),
            RoundedGaussNoise(std_range=(sigma, sigma), mean_range=(0.0, 0.0), per_channel=True, p=optional),
            albumentations.GaussianBlur(blur_limit=(kernel, kernel), sigma_limit=(blur_sigma, blur_sigma), p=optional),
        ]
    )
