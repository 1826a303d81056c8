"""The preprocessing and the pixel cache that the settings name."""

from __future__ import annotations

from cxr_core.dataset.pixel_cache import PixelCache
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.settings import Settings

__all__ = ["pixel_cache", "preprocessing_of"]


def preprocessing_of(settings: Settings) -> Preprocessing:
    """The preprocessing that the settings and their backbone ask for."""
    from cxr_core.modelling.backbones import backbone_normalisation

    return Preprocessing.from_settings(settings.preprocessing, *backbone_normalisation(settings.network.backbone))


def pixel_cache(settings: Settings) -> PixelCache:
    """The local pixel cache of the settings' preprocessing."""
    assert settings.cache_dir is not None  # load_settings makes every path absolute
    return PixelCache(settings.cache_dir, preprocessing_of(settings), settings.quality)
