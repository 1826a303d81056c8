"""The classifier: a timm backbone with global average pooling, dropout and a linear head (report 3.1)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import timm
import torch
from timm.models import group_modules, group_parameters
from torch import Tensor, nn

from cxr_core.errors import CxrError
from cxr_core.modelling.backbones import get_backbone
from cxr_core.modelling.weights import WeightsRecord, load_backbone_weights
from cxr_core.settings_sections import ModelSettings

__all__ = ["BuiltClassifier", "Classifier", "build_classifier", "empty_classifier", "resolve_device"]


def resolve_device(name: str = "auto") -> torch.device:
    """``auto`` is the first CUDA device where there is one, else the CPU; other names as torch reads them.

    Raises:
        CxrError: torch knows no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise CxrError(f"Unknown device {name!r}: use auto, cpu or cuda.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise CxrError(f"Device {name!r} is not on this machine: use auto or cpu.")
    return device


class Classifier(nn.Module):
    """Backbone -> pooled embedding -> dropout -> linear head -> logits.

    Attributes:
        backbone_name: timm name.
        backbone: the timm network without its classifier; its output is the pooled embedding, final activation
            included (TRAPS 14).
        dropout: before the head; report 3.1.
        head: (embedding size -> classes).
        frozen: whether :meth:`freeze_backbone` is in force.
        frozen_stages: first stages that :meth:`freeze_stages` keeps as they are.
    """

    def __init__(self, backbone_name: str, backbone: nn.Module, n_classes: int, dropout: float) -> None:
        super().__init__()
        self.backbone_name = backbone_name
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(int(backbone.head_hidden_size), n_classes)  # type: ignore[arg-type]
        self.frozen = False
        self.frozen_stages = 0
        self._still: tuple[frozenset[str], frozenset[str]] = frozenset(), frozenset()  # their modules and parameters

    @property
    def embedding_size(self) -> int:
        """Length of one embedding."""
        return self.head.in_features

    def embed(self, x: Tensor) -> Tensor:
        """Pooled embeddings, (n, embedding_size), of normalised input (n, 3, side, side) float32."""
        embedding: Tensor = self.backbone(x)
        return embedding

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (n, classes) float32, of normalised input (n, 3, side, side) float32."""
        logits: Tensor = self.head(self.dropout(self.embed(x)))
        return logits

    def freeze_backbone(self, frozen: bool) -> None:
        """Stop or resume learning in the backbone: its parameters and its BatchNorm statistics (TRAPS 6)."""
        self.frozen = frozen
        self._apply_freezing()

    def freeze_stages(self, count: int) -> None:
        """Keep the first stages of the backbone as they are, statistics too; 0: none.

        Args:
            count: stages as timm groups them: 1 is the stem alone, each more a stage of blocks.

        Raises:
            CxrError: the backbone has no more stages than that, or timm does not say which they are.
        """
        if count and not hasattr(self.backbone, "group_matcher"):
            raise CxrError(f"timm does not group {self.backbone_name} into stages: set training.frozen_stages to 0.")
        self.frozen_stages = count
        self._still = _first(self.backbone, count, group_modules), _first(self.backbone, count, group_parameters)
        self._apply_freezing()

    def _apply_freezing(self) -> None:
        for name, parameter in self.backbone.named_parameters():
            parameter.requires_grad_(not self.frozen and name not in self._still[1])
        self.train(self.training)

    def train(self, mode: bool = True) -> Classifier:
        """As ``nn.Module.train``, but what is frozen stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        for name, module in self.backbone.named_modules():
            if name in self._still[0]:
                module.eval()
        return self


def _first(backbone: nn.Module, count: int, group: Callable[..., dict[int, list[str]]]) -> frozenset[str]:
    """Names in the first stages of a timm network, of whatever ``group`` groups."""
    if not count:
        return frozenset()
    groups = group(backbone, backbone.group_matcher(coarse=True))  # type: ignore[operator]
    if count >= len(groups):
        raise CxrError(f"The backbone has {len(groups)} stages: set training.frozen_stages below that, not {count}.")
    return frozenset(name for place in range(count) for name in groups[place])


@dataclass(frozen=True)
class BuiltClassifier:
    """A new classifier and where its initial weights came from."""

    model: Classifier
    weights: WeightsRecord


def build_classifier(settings: ModelSettings, n_classes: int, seed: int) -> BuiltClassifier:
    """Build a classifier with pretrained backbone and a freshly drawn head.

    The same arguments give the same tensors; the global random state of torch is left as it was.

    Args:
        settings: backbone, weights, dropout.
        n_classes: number of logits.
        seed: of the head (and of the backbone where ``weights`` is ``none``).

    Raises:
        CxrError: unknown backbone, or weights that cannot be had.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # timm draws from the global stream, which the fork protects
        model = empty_classifier(settings.backbone, n_classes, settings.dropout)
    record = load_backbone_weights(model.backbone, settings.backbone, settings.weights, settings.weights_licence)
    _draw_head(model.head, torch.Generator().manual_seed(seed))
    return BuiltClassifier(model, record)


def empty_classifier(backbone: str, n_classes: int, dropout: float) -> Classifier:
    """A classifier whose weights are still to be loaded, for example from a model package.

    Raises:
        CxrError: unknown backbone.
    """
    get_backbone(backbone)
    network = timm.create_model(backbone, pretrained=False, num_classes=0, global_pool="avg", drop_rate=0.0)
    return Classifier(backbone, network, n_classes, dropout)


@torch.no_grad()
def _draw_head(head: nn.Linear, generator: torch.Generator) -> None:
    """Uniform in +- 1/sqrt(inputs), the bound of ``nn.Linear``; no class is favoured: the bias is zero."""
    bound = 1 / math.sqrt(head.in_features)
    head.weight.uniform_(-bound, bound, generator=generator)
    head.bias.zero_()
