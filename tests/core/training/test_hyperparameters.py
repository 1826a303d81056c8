import pytest

from cxr_core.errors import CxrError
from cxr_core.settings import load_settings
from cxr_core.training.hyperparameters import Hyperparameters

GOOD = {
    "learning_rate": 1e-4,
    "weight_decay": 1e-4,
    "dropout": 0.5,
    "batch_size": 32,
    "freeze_epochs": 5,
    "focal_gamma": 2.0,
}


def test_the_standard_profile_gives_the_reports_values() -> None:
    assert Hyperparameters.from_settings(load_settings({"profile": "standard"})).to_dict() == GOOD


def test_a_dict_and_back_is_the_same() -> None:
    assert Hyperparameters.from_dict(GOOD).to_dict() == GOOD


@pytest.mark.parametrize(("name", "value"), [("dropout", 1.0), ("learning_rate", 0.0), ("batch_size", 1)])
def test_values_out_of_range_are_named(name: str, value: float) -> None:
    with pytest.raises(CxrError, match=name):
        Hyperparameters.from_dict({**GOOD, name: value})


def test_missing_and_unknown_names_are_named() -> None:
    with pytest.raises(CxrError, match="dropout, momentum"):
        Hyperparameters.from_dict({**{k: v for k, v in GOOD.items() if k != "dropout"}, "momentum": 0.9})
