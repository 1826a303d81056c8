"""Items 1 to 27 of CLAIM, the checklist for AI in medical imaging: title, introduction, methods, model, training.

Source: Tejani et al., Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update, Radiology:
Artificial Intelligence 2024;6(4):e240300. The numbers and sections are the checklist's; the words are ours.
"""

from __future__ import annotations

from cxr_core.release.claim_answers import (
    Item,
    count,
    digest,
    distinct,
    names,
    no,
    number,
    package,
    python,
    rule,
    shared,
    text,
)
from cxr_core.release.document import PERCENT

__all__ = ["ITEMS_OF_METHODS"]

_ACCEPTED = {"status": "accepted"}
_MODEL, _SEARCH, _INDEX, _GATE = "trained_model", "tuned_hyperparameters", "image_index", "release_candidate"
_HYPER = "/training/hyperparameters"

ITEMS_OF_METHODS: tuple[Item, ...] = (
    Item(1, "Title and abstract", "which kind of AI the study is about", (
        text("network", _MODEL, "/backbone"),
        text("told apart", _MODEL, "/labels"),
    )),
    Item(2, "Title and abstract", "a summary of design, methods, results, conclusion", (
        number("test films", "evaluation", "/overall/n"),
        number("macro F1", "evaluation", "/intervals/macro_f1"),
        number("macro AUC", "evaluation", "/intervals/macro_auc"),
        text("promotion gate passed", _GATE, "/gate/passed"),
    )),
    Item(3, "Introduction", "background, intended use and role", (
        text("use", "evaluation", "/notice"),
        no("clinical role", "no stored report gives the model a role in care"),
    )),
    Item(4, "Introduction", "aims and hypotheses", (
        rule("least macro F1 of a model that is served", "macro_f1"),
        number("specificity asked of the tuberculosis point", "operating_point_report", "/verdict/limit", PERCENT),
        number("share of the score that may be had without lungs", "shortcut_audit", "/verdict/limit", PERCENT),
    )),
    Item(5, "Methods: study design", "prospective or retrospective", (
        no("design", "no stored report says when and for what the films were taken"),
    )),
    Item(6, "Methods: study design", "the goal of the study", (
        text("classes to be told", _MODEL, "/labels"),
        text("part that is scored", "evaluation", "/split"),
    )),
    Item(7, "Methods: data", "where the data come from", (
        distinct("sources", _INDEX, "source", _ACCEPTED),
        names("sources with test films", "evaluation", "/per_source"),
        no("places and dates", "no stored report names them"),
    )),
    Item(8, "Methods: data", "what was taken in and what was not", (
        count("films accepted", _INDEX, _ACCEPTED),
        count("copies of other films", _INDEX, {"status": "duplicate"}),
        count("files put aside", _INDEX, {"status": "quarantined"}),
        names("reasons to put a file aside", "eda_quality_table", "/quarantine"),
    )),
    Item(9, "Methods: data", "preprocessing", (
        number("side of the frame", _MODEL, "/preprocessing/size", "px"),
        text("contrast equalisation", _MODEL, "/preprocessing/clahe"),
        text("digest of the preprocessing", _MODEL, "/preprocessing_digest"),
    )),
    Item(10, "Methods: data", "choice of parts of the images or of the data", (
        count("films dealt into parts", "splits"),
        number("films of the label audit", "label_audit", "/films"),
        number("films of the shortcut audit", "shortcut_audit", "/films"),
    )),
    Item(11, "Methods: data", "de-identification", (
        no("method", "no stored report says how the films were de-identified"),
        count("films whose patient is known by an identifier", _INDEX, _ACCEPTED | {"patient_known": "True"}),
    )),
    Item(12, "Methods: data", "missing data", (
        count("accepted films of an unknown patient", _INDEX, _ACCEPTED | {"patient_known": "False"}),
        number("films of an unnamed source", "shortcut_audit", "/source/unknown_films"),
    )),
    Item(13, "Methods: data", "how the images were taken", (
        number("median width", "eda_image_properties", "/all/width/p50", "px"),
        number("median height", "eda_image_properties", "/all/height/p50", "px"),
        no("devices and views", "no stored report names them"),
    )),
    Item(14, "Methods: reference standard", "how the reference was found", (
        no("method", "no stored report says how the films were labelled; labels are taken as they are filed"),
        number("labels estimated wrong", "label_audit", "/overall", PERCENT),
    )),
    Item(15, "Methods: reference standard", "why this reference", (
        no("reason", "no stored report gives one; no other reference is in the data"),
    )),
    Item(16, "Methods: reference standard", "who labelled", (
        number("labels settled by readers here", "label_audit", "/settled_by_readers"),
        no("readers of the sources", "no stored report names them"),
    )),
    Item(17, "Methods: reference standard", "how test films were labelled", (
        count("test films", "splits", {"split": "test"}),
        no("labelling apart", "test films carry the labels of their source, as all films do"),
    )),
    Item(18, "Methods: reference standard", "agreement of readers", (
        no("agreement", "no film has labels of two readers"),
        number("equal films with different labels", "label_audit", "/contradictions/contents"),
    )),
    Item(19, "Methods: partitions", "how films were dealt", (
        count("train", "splits", {"split": "train"}),
        count("val", "splits", {"split": "val"}),
        count("calibration", "splits", {"split": "calibration"}),
        count("test", "splits", {"split": "test"}),
        digest("digest of the parts", "splits"),
    )),
    Item(20, "Methods: partitions", "at which level parts are apart", (
        distinct("patient groups", "splits", "group_id"),
        shared("patient groups in several parts", "splits", "group_id", "split"),
        shared("identical files in several parts", "splits", "sha256", "split"),
    )),
    Item(21, "Methods: test data", "the size that was planned", (
        no("planned size", "the size was not planned: all films there are were dealt"),
        number("test films", "evaluation", "/overall/n"),
        number("accuracy with the interval of so many", "evaluation", "/intervals/accuracy", PERCENT),
    )),
    Item(22, "Methods: model", "the model from input to output", (
        text("network", _MODEL, "/backbone"),
        number("side of the input", _MODEL, "/preprocessing/size", "px"),
        number("length of what the linear head sees", "film_detector", "/embedding_size"),
        number("dropout", _MODEL, "/dropout"),
        text("outputs", _MODEL, "/labels"),
    )),
    Item(23, "Methods: model", "software", (
        python("Python"),
        package("PyTorch", "torch"),
        package("timm", "timm"),
        number("ONNX operator set", _GATE, "/export/opset"),
    )),
    Item(24, "Methods: model", "first values of the parameters", (
        text("weights", _MODEL, "/training/initial_weights/origin"),
        text("licence", _MODEL, "/training/initial_weights/licence"),
        text("digest", _MODEL, "/training/initial_weights/digest"),
    )),
    Item(25, "Methods: training", "how the model was trained", (
        text("loss", _MODEL, "/training/loss/name"),
        text("optimiser", _MODEL, "/training/training/optimizer"),
        number("learning rate", _MODEL, f"{_HYPER}/learning_rate"),
        number("batch", _MODEL, f"{_HYPER}/batch_size", "films"),
        number("epochs at most", _MODEL, "/training/training/max_epochs"),
        names("augmentation", _MODEL, "/training/augmentation"),
    )),
    Item(26, "Methods: training", "how the final model was chosen", (
        text("hyperparameters by", _SEARCH, "/metric"),
        text("weights kept: best or last epoch", _MODEL, "/training/training/keep"),
        number("epoch of the lowest validation loss", _MODEL, "/training/best_epoch"),
    )),
    Item(27, "Methods: training", "ensembles", (
        text("weights of the one network that is packaged", _GATE, "/files/weights.pt"),
    )),
)  # fmt: skip
