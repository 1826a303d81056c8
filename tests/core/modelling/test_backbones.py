from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from cxr_core.errors import CxrError
from cxr_core.explain.gradcam import gradcam
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.modelling.backbones import BACKBONES, backbone_normalisation, get_backbone, last_block
from cxr_core.modelling.export import export_onnx
from cxr_core.modelling.network import Classifier, build_classifier, empty_classifier
from cxr_core.modelling.weights import digest_state_dict, read_state_dict
from cxr_core.settings_sections import ModelSettings

NAMES = sorted(BACKBONES)
EMBEDDING = {"convnext_tiny": 768, "densenet121": 1024, "efficientnet_b0": 1280, "resnet50": 2048,
             "tf_efficientnet_lite0": 1280}  # fmt: skip
SIDE = 64


def built(name: str, weights: str = "none") -> Classifier:
    return build_classifier(ModelSettings(backbone=name, weights=weights, weights_licence="CC0-1.0"), 3, 1).model


def normalised(n: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, 3, SIDE, SIDE)).astype(np.float32)


@pytest.mark.parametrize("name", NAMES)
def test_registered_facts_are_those_of_the_pinned_weights_of_timm(name: str) -> None:
    entry = BACKBONES[name]
    config = timm.get_pretrained_cfg(entry.pretrained, allow_unregistered=False)
    assert entry.pretrained == f"{name}.{config.tag}"
    assert backbone_normalisation(name) == (config.mean, config.std)
    assert entry.licence == config.license


@pytest.mark.parametrize("name", NAMES)
def test_a_registered_backbone_builds_embeds_and_freezes(name: str) -> None:
    model = built(name)
    assert model.embedding_size == EMBEDDING[name]
    model.freeze_backbone(True)
    model.train()
    before = digest_state_dict(model.backbone.state_dict())
    x = torch.from_numpy(normalised(2))
    assert model.embed(x).shape == (2, EMBEDDING[name])
    logits = model(x)
    assert logits.shape == (2, 3)
    logits.sum().backward()
    assert model.head.weight.grad is not None
    assert all(parameter.grad is None for parameter in model.backbone.parameters())
    assert digest_state_dict(model.backbone.state_dict()) == before


@pytest.mark.parametrize("name", NAMES)
def test_a_registered_backbone_goes_through_a_file_and_back(name: str, tmp_path: Path) -> None:
    model = built(name)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    again = empty_classifier(name, 3, 0.5)
    again.load_state_dict(read_state_dict(tmp_path / "model.pt"))
    assert digest_state_dict(again.state_dict()) == digest_state_dict(model.state_dict())
    pretrained = built(name, str(tmp_path / "model.pt"))
    assert digest_state_dict(pretrained.backbone.state_dict()) == digest_state_dict(model.backbone.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_registered_backbone_is_exported_within_tolerance(name: str) -> None:
    assert export_onnx(built(name), normalised(3)).max_abs_difference <= 1e-4  # a larger one is refused, too


@pytest.mark.parametrize("name", NAMES)
def test_the_last_block_gives_the_map_that_is_pooled_and_gradcam_runs_on_it(name: str) -> None:
    model = built(name).eval()
    seen: list[torch.Tensor] = []
    block = model.backbone.get_submodule(last_block(name, model.backbone))
    handle = block.register_forward_hook(lambda _module, _inputs, output: seen.append(output.clone()))
    x = torch.from_numpy(normalised(2))
    with torch.inference_mode():
        embedding = model.embed(x)
        handle.remove()
        after = {
            "convnext_tiny": lambda maps: model.backbone.head.norm(maps.mean((2, 3), keepdim=True)).flatten(1),
            "densenet121": lambda maps: model.backbone.features.norm5(maps).mean((2, 3)),
        }.get(name, lambda maps: maps.mean((2, 3)))
        torch.testing.assert_close(after(seen[0]), embedding)
    frames = np.random.default_rng(1).integers(0, 256, (2, SIDE, SIDE), dtype=np.uint8)
    maps = gradcam(model, frames, Preprocessing(SIDE, False, 2.0, 8, *backbone_normalisation(name)))
    assert maps.shape == frames.shape
    assert np.isfinite(maps).all()
    assert maps.max() <= 1
    assert maps.std() > 0


@pytest.mark.parametrize("name", [*NAMES, "resnet18", "resnet50.tv_in1k", "mobilenetv3_small_050"])
def test_last_block_is_a_module_of_the_network(name: str) -> None:
    network = timm.create_model(name, pretrained=False, num_classes=0)
    assert network.get_submodule(last_block(name, network)) is not network


def test_other_timm_names_and_tags_need_no_entry() -> None:
    assert get_backbone("resnet18").mean == timm.get_pretrained_cfg("resnet18").mean
    other = get_backbone("resnet50.tv_in1k")
    assert (other.pretrained, other.licence, other.last_block) == ("resnet50.tv_in1k", "bsd-3-clause", "layer4")
    assert get_backbone("tf_efficientnet_lite0.in1k").packaged == BACKBONES["tf_efficientnet_lite0"].packaged


@pytest.mark.parametrize("name", ["resnet_of_nobody", "resnet50.by_nobody"])
def test_an_unknown_name_or_tag_is_refused_with_a_way_out(name: str) -> None:
    with pytest.raises(CxrError, match="CXR_NETWORK__BACKBONE"):
        get_backbone(name)
