import pytest
import torch

from cxr_core.errors import CxrError
from cxr_core.modelling.network import Classifier, build_classifier, empty_classifier, resolve_device
from cxr_core.modelling.weights import digest_state_dict
from cxr_core.settings_sections import ModelSettings

TINY = ModelSettings(backbone="test_efficientnet", weights="none", dropout=0.5)


def _input(n: int = 4, side: int = 64) -> torch.Tensor:
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("backbone", ["test_efficientnet", "mobilenetv3_small_050", "test_resnet"])
def test_logits_are_the_head_of_the_embedding(backbone: str) -> None:
    model = empty_classifier(backbone, 3, 0.5).eval()
    with torch.inference_mode():
        embedding = model.embed(_input())
        assert embedding.shape == (4, model.embedding_size)
        torch.testing.assert_close(model(_input()), model.head(embedding))


def test_the_densenet_embedding_has_its_final_relu() -> None:
    model = empty_classifier("densenet121", 3, 0.5).eval()
    with torch.inference_mode():
        maps = model.backbone.forward_features(_input(2))
        assert maps.min() == 0
        torch.testing.assert_close(model.embed(_input(2)), maps.mean(dim=(2, 3)))


def test_the_same_seed_builds_the_same_model_and_leaves_the_global_stream_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    digests = [digest_state_dict(build_classifier(TINY, 3, seed).model.state_dict()) for seed in (1, 1, 2)]
    assert digests[0] == digests[1] != digests[2]
    assert torch.equal(torch.get_rng_state(), before)


def _statistics(model: Classifier) -> str:
    return digest_state_dict(dict(model.backbone.named_buffers()))


def test_a_frozen_backbone_keeps_parameters_and_statistics_even_after_train() -> None:
    model = build_classifier(TINY, 3, 1).model
    model.freeze_backbone(True)
    model.train()
    assert model.dropout.training
    assert not any(module.training for module in model.backbone.modules())
    before = _statistics(model)
    model(_input()).sum().backward()
    assert all(parameter.grad is None for parameter in model.backbone.parameters())
    assert model.head.weight.grad is not None
    assert _statistics(model) == before


@pytest.mark.parametrize("backbone", ["test_efficientnet", "test_convnext", "densenet121", "resnet50"])
def test_frozen_stages_keep_parameters_and_statistics_while_the_rest_learns(backbone: str) -> None:
    model = build_classifier(ModelSettings(backbone=backbone, weights="none"), 3, 1).model
    model.freeze_stages(2)
    model.freeze_backbone(True)
    model.freeze_backbone(False)  # the stages stay frozen when the rest is not
    model.train()
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(_input()).square().sum().backward()
    optimizer.step()
    still = {name for name, value in model.backbone.state_dict().items() if torch.equal(value, before[name])}
    learned = {name for name, parameter in model.backbone.named_parameters() if parameter.grad is not None}
    names = list(before)
    assert names[0] in still  # the stem's first weight
    assert len(learned - still) >= 3
    first_learned = min(names.index(name) for name in learned)
    assert all(name in still for name in names[:first_learned] if not name.endswith("num_batches_tracked"))
    model.freeze_stages(0)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_more_frozen_stages_than_there_are_say_so() -> None:
    with pytest.raises(CxrError, match=r"6 stages: set training\.frozen_stages"):
        build_classifier(TINY, 3, 1).model.freeze_stages(6)


def test_an_unfrozen_backbone_learns_again() -> None:
    model = build_classifier(TINY, 3, 1).model
    model.train()
    model.freeze_backbone(True)
    model.freeze_backbone(False)
    before = _statistics(model)
    model(_input()).sum().backward()
    assert all(parameter.grad is not None for parameter in model.backbone.parameters())
    assert _statistics(model) != before


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(CxrError, match="abacus"):
        resolve_device("abacus")
