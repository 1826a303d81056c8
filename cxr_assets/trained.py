"""The trained model and its predictions as the assets downstream of them load them."""

import json
from typing import TYPE_CHECKING

import pandas as pd

from cxr_assets.resources import preprocessing_of
from cxr_core.errors import CxrError
from cxr_core.settings import Settings
from cxr_core.store import Artefact, ArtefactStore

if TYPE_CHECKING:
    from cxr_core.evaluation.temperature import TemperatureScaling
    from cxr_core.training.saved_model import SavedModel

__all__ = ["calibrated", "embeddings_of", "open_model", "predictions_of", "temperature_of"]


def open_model(settings: Settings, store: ArtefactStore, trained_model: Artefact) -> "SavedModel":
    """The model, refused where its preprocessing is not that of the settings.

    Raises:
        cxr_core.errors.CxrError: other preprocessing, or altered weights.
    """
    from cxr_core.training.saved_model import load_model

    return load_model(store.local_tree(trained_model), preprocessing_of(settings))


def predictions_of(store: ArtefactStore, trained_model: Artefact, predictions: Artefact) -> pd.DataFrame:
    """The predictions table, refused where another model made it.

    Raises:
        cxr_core.errors.CxrError: the table is of another model.
    """
    from cxr_core.evaluation.report import model_of

    table = store.read_table(predictions)
    if model_of(table) != trained_model.digest:
        raise CxrError("The predictions are of another model than trained_model: materialise predictions again.")
    return table


def embeddings_of(store: ArtefactStore, trained_model: Artefact, embeddings: Artefact) -> pd.DataFrame:
    """The table of embeddings, refused where another model made it.

    Raises:
        cxr_core.errors.CxrError: the table is of another model.
    """
    from cxr_core.evaluation.report import model_of

    table = store.read_table(embeddings)
    if model_of(table) != trained_model.digest:
        raise CxrError("The embeddings are of another model than trained_model: materialise embeddings again.")
    return table


def temperature_of(store: ArtefactStore, calibrated_model: Artefact, model: str) -> "TemperatureScaling":
    """The temperature that was fitted on the calibration films, refused where it is another model's.

    Args:
        store: where it lies.
        calibrated_model: folder with the temperature and the report that names the model.
        model: digest of the trained model that it has to be of.

    Raises:
        cxr_core.errors.CxrError: the temperature is of another model.
    """
    from cxr_core.evaluation.calibration_study import REPORT_FILE
    from cxr_core.evaluation.temperature import TemperatureScaling
    from cxr_core.release.evidence import SAYS

    folder = store.local_tree(calibrated_model)
    if json.loads((folder / REPORT_FILE).read_bytes()).get(SAYS) != model:
        raise CxrError("The temperature is of another model than is asked for: materialise calibrated_model again.")
    return TemperatureScaling.model_validate_json((folder / "temperature.json").read_bytes())


def calibrated(predictions: pd.DataFrame, temperature: "TemperatureScaling", classes: int) -> pd.DataFrame:
    """The predictions table with calibrated probabilities in place of those of the bare softmax: what is answered.

    Raises:
        cxr_core.errors.CxrError: a column of logits is missing or holds no numbers.
    """
    from cxr_core.evaluation.metrics import logits_of

    found = temperature.probabilities(logits_of(predictions, classes))
    return predictions.assign(**{f"p_{k}": found[:, k] for k in range(classes)})
