"""Monte Carlo dropout over the head: it agrees with torch, touches no state, and a film's answer is its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cxr_core.errors import CxrError
from cxr_core.evaluation.dropout import Head, entropy, head_of, monte_carlo
from cxr_core.modelling.network import Classifier, build_classifier
from cxr_core.settings_sections import ModelSettings


@pytest.fixture(scope="module")
def model() -> Classifier:
    settings = ModelSettings(backbone="test_efficientnet", weights="none", dropout=0.4)
    built = build_classifier(settings, 3, seed=0).model.eval()
    with torch.no_grad():
        built.head.weight.mul_(4)
    return built


@pytest.fixture(scope="module")
def embeddings(model: Classifier) -> np.ndarray:
    return np.random.default_rng(0).gamma(1.0, 0.5, (6, model.embedding_size)).astype(np.float32)


def test_no_tensor_of_the_model_and_no_mode_changes(model: Classifier, embeddings: np.ndarray) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    stream = torch.random.get_rng_state()
    head = head_of(model)
    monte_carlo(embeddings, head, 50, seed=1)
    head.weight[:] = 0  # what came out is a copy
    head.bias[:] = 0
    after = model.state_dict()
    assert len(before) > 50
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.random.get_rng_state(), stream)


def test_means_and_entropies_agree_with_torch_dropout_and_linear(model: Classifier, embeddings: np.ndarray) -> None:
    passes = 20_000
    found = monte_carlo(embeddings, head_of(model), passes, seed=2)
    torch.manual_seed(0)
    theirs = torch.nn.Dropout(0.4).train()
    with torch.no_grad():
        many = torch.from_numpy(embeddings).repeat(passes, 1)
        answers = model.head(theirs(many)).softmax(dim=1).double().numpy().reshape(passes, 6, 3)
    error = answers.std(axis=0) * np.sqrt(2 / passes)  # standard error of the difference of two such means
    assert answers.std() > 0.05
    assert (np.abs(found.probabilities - answers.mean(axis=0)) < 4.5 * error).all()
    each = -(answers * np.log(answers)).sum(axis=2)
    spread = each.std(axis=0) * np.sqrt(2 / passes)
    assert (np.abs(found.expected_entropy - each.mean(axis=0)) < 4.5 * spread).all()
    plain = -(answers.mean(axis=0) * np.log(answers.mean(axis=0))).sum(axis=1)
    assert found.predictive_entropy == pytest.approx(plain, abs=0.01)
    assert found.mutual_information == pytest.approx(plain - each.mean(axis=0), abs=0.01)
    assert (found.mutual_information > 0.02).all()


def test_a_films_answer_depends_on_no_other_film_and_equals_itself_again(
    model: Classifier, embeddings: np.ndarray
) -> None:
    head = head_of(model)
    together = monte_carlo(embeddings, head, 30, seed=3)
    alone = monte_carlo(embeddings[4:5], head, 30, seed=3)
    assert alone.probabilities[0] == pytest.approx(together.probabilities[4], abs=1e-12)
    assert (monte_carlo(embeddings, head, 30, seed=3).mutual_information == together.mutual_information).all()
    assert (monte_carlo(embeddings, head, 30, seed=4).mutual_information != together.mutual_information).all()


def test_many_films_in_blocks_give_what_one_block_gives(
    model: Classifier, embeddings: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = monte_carlo(embeddings, head_of(model), 30, seed=3)
    monkeypatch.setattr("cxr_core.evaluation.dropout._BLOCK", 180)
    assert monte_carlo(embeddings, head_of(model), 30, seed=3).probabilities == pytest.approx(whole.probabilities)


def test_without_dropout_every_pass_is_the_plain_answer(model: Classifier, embeddings: np.ndarray) -> None:
    head = head_of(model)
    found = monte_carlo(embeddings, Head(head.weight, head.bias, 0.0), 10, seed=0)
    with torch.no_grad():
        plain = model.head(torch.from_numpy(embeddings)).softmax(dim=1).numpy()
    assert found.probabilities == pytest.approx(plain, abs=1e-6)
    assert found.mutual_information == pytest.approx(0, abs=1e-12)


def test_passes_that_contradict_each_other_are_all_mutual_information() -> None:
    one = np.array([[1.0]])
    found = monte_carlo(one, Head(np.array([[200.0], [-200.0]]), np.array([-50.0, 50.0]), 0.5), 4000, seed=0)
    assert found.expected_entropy[0] == pytest.approx(0, abs=1e-9)
    assert found.mutual_information[0] == pytest.approx(np.log(2), abs=0.01)
    assert entropy(np.array([[1.0, 0.0], [0.5, 0.5]])) == pytest.approx([0, np.log(2)])


def test_no_film_gives_no_answer(model: Classifier) -> None:
    found = monte_carlo(np.zeros((0, 0), np.float32), head_of(model), 5, seed=0)
    assert found.probabilities.shape == (0, 3)


def test_what_cannot_be_classified_is_refused(model: Classifier, embeddings: np.ndarray) -> None:
    head = head_of(model)
    broken = embeddings.copy()
    broken[2, 3] = np.nan
    with pytest.raises(CxrError, match="no numbers"):
        monte_carlo(broken, head, 5, seed=0)
    with pytest.raises(CxrError, match="do not fit a head"):
        monte_carlo(embeddings[:, :-1], head, 5, seed=0)
    with pytest.raises(CxrError, match="Dropout 1 in 5 passes"):
        monte_carlo(embeddings, Head(head.weight, head.bias, 1.0), 5, seed=0)
    with pytest.raises(CxrError, match="in 0 passes"):
        monte_carlo(embeddings, head, 0, seed=0)
