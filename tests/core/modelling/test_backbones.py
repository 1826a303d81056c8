import pytest
import timm

from cxr_core.errors import CxrError
from cxr_core.modelling.backbones import BACKBONES, backbone_normalisation, get_backbone, last_block


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_registered_normalisation_and_licence_are_timms(name: str) -> None:
    config = timm.get_pretrained_cfg(name)
    assert backbone_normalisation(name) == (config.mean, config.std)
    assert BACKBONES[name].licence == config.license


@pytest.mark.parametrize("name", [*sorted(BACKBONES), "resnet18", "mobilenetv3_small_050"])
def test_last_block_is_a_module_of_the_network(name: str) -> None:
    network = timm.create_model(name, pretrained=False, num_classes=0)
    assert network.get_submodule(last_block(name, network)) is not network


def test_other_timm_names_need_no_entry() -> None:
    assert get_backbone("resnet18").mean == timm.get_pretrained_cfg("resnet18").mean


def test_an_unknown_name_is_refused_with_a_way_out() -> None:
    with pytest.raises(CxrError, match="CXR_NETWORK__BACKBONE"):
        get_backbone("resnet_of_nobody")
