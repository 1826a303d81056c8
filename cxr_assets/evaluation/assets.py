"""embeddings -> predictions -> (calibrated_model) -> evaluation."""

import dagster as dg
import numpy as np
import pandas as pd

from cxr_assets.outputs import artefact_output, figure, table, versioned
from cxr_assets.resources import SettingsResource, StoreResource
from cxr_assets.trained import calibrated, embeddings_of, open_model, temperature_of
from cxr_core.settings import load_settings
from cxr_core.store import Artefact

_SETTINGS = load_settings()
_GROUP = "evaluation"
_EVALUATION = ("labels", "split", "evaluation")


@dg.asset(
    group_name=_GROUP,
    kinds={"pytorch", "parquet"},
    **versioned(3, _SETTINGS, "preprocessing"),
    description="Logits and probabilities of every film that the model did not learn from: validation, calibration, "
    "test. The head's answer to each embedding.",
)
def predictions(
    settings: SettingsResource,
    store: StoreResource,
    trained_model: Artefact,
    embeddings: Artefact,
) -> dg.Output[Artefact]:
    """Predict the films that the model was not trained on."""
    from cxr_core.evaluation.embeddings import embedding_matrix
    from cxr_core.evaluation.predict import classify_embeddings, softmax

    now = settings.load()
    shelf = store.open()
    saved = open_model(now, shelf, trained_model)
    seen = embeddings_of(shelf, trained_model, embeddings)
    held_out = seen[seen["split"] != "train"].reset_index(drop=True)
    logits = classify_embeddings(saved.model, embedding_matrix(held_out))
    probabilities = softmax(logits)
    places = range(probabilities.shape[1])
    result = held_out[["image_id", "split", "label_index", "source", "group_id"]].assign(
        **{f"l_{k}": logits[:, k] for k in places},
        **{f"p_{k}": probabilities[:, k] for k in places},
        predicted_index=probabilities.argmax(axis=1).astype(np.int64),
        trained_model=trained_model.digest,
    )
    right = result["predicted_index"] == result["label_index"]
    accuracy = right.groupby(result["split"]).mean()
    return artefact_output(
        shelf.write_table("predictions", result),
        now,
        ("preprocessing",),
        films=len(result),
        **{f"{split}_accuracy": float(value) for split, value in accuracy.items()},
    )


@dg.asset(
    group_name=_GROUP,
    kinds={"scikitlearn", "matplotlib"},
    **versioned(4, _SETTINGS, *_EVALUATION),
    description="Test scores of the calibrated probabilities with intervals, pooled, inside each source and over "
    "sources; calibration with its null; confusion matrix, ROC curves (report 4).",
)
def evaluation(
    settings: SettingsResource, store: StoreResource, predictions: Artefact, calibrated_model: Artefact
) -> dg.Output[Artefact]:
    """Score the test films as the service would answer them."""
    from cxr_core.evaluation.figures import confusion_figure, roc_figure
    from cxr_core.evaluation.metrics import probabilities_of
    from cxr_core.evaluation.report import evaluation_report, model_of
    from cxr_core.plotting import png_bytes
    from cxr_core.release.evidence import SAYS

    now = settings.load()
    shelf = store.open()
    answers = shelf.read_table(predictions)
    temperature = temperature_of(shelf, calibrated_model, model_of(answers))
    table_ = calibrated(answers, temperature, len(now.labels))
    report = {
        SAYS: model_of(table_),
        "temperature": temperature.temperature,
        **evaluation_report(table_, now.labels, now.split.seed, resamples=now.evaluation.resamples),
    }
    test = table_[table_["split"] == "test"]
    figures = {
        "confusion_matrix": png_bytes(confusion_figure(report["overall"], "Confusion matrix, test films")),
        "roc_curves": png_bytes(
            roc_figure(test["label_index"].to_numpy(), probabilities_of(test, len(now.labels)), now.labels)
        ),
    }

    overall = report["overall"]
    per_class = pd.DataFrame(overall["per_class"]).T.rename_axis("label").reset_index()
    names = ("accuracy", "macro_f1", "macro_auc", "mcc", "kappa", "brier", "log_loss")
    numbers = {name: overall[name] for name in names if overall.get(name) is not None}
    return artefact_output(
        shelf.write_report("evaluation", "evaluation.json", report, figures),
        now,
        _EVALUATION,
        films=overall["n"],
        **numbers,
        intervals=dg.MetadataValue.json(report["intervals"]),
        calibration=dg.MetadataValue.json(report["calibration"]),
        per_class=table(per_class),
        per_source=dg.MetadataValue.json(report["per_source"]),
        **{name: figure(png, name.replace("_", " ")) for name, png in figures.items()},
    )
