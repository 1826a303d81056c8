"""The report's section about training: network, weights' origin, recipe, hyperparameters, curves."""

from __future__ import annotations

from cxr_core.release.document import PERCENT, Block, Section
from cxr_core.release.report_sections_common import as_table, entries, fact, facts, names_of, paragraph, why_absent
from cxr_core.release.report_sources import Sources

__all__ = ["training"]

_MODEL, _SEARCH = "trained_model", "tuned_hyperparameters"


def training(sources: Sources) -> Section:
    """How the model was made, from what its own record says (TRAPS 5)."""
    history, trials = entries(sources, _MODEL, "/training/history"), entries(sources, _SEARCH, "/trials")
    last = max(len(history) - 1, 0)
    blocks: list[Block] = [
        facts(
            [
                fact(sources, "network", _MODEL, "/backbone"),
                fact(sources, "classes", _MODEL, "/labels"),
                fact(sources, "initial weights", _MODEL, "/training/initial_weights/origin"),
                fact(sources, "licence of the initial weights", _MODEL, "/training/initial_weights/licence"),
                fact(sources, "digest of the initial weights", _MODEL, "/training/initial_weights/digest"),
                fact(sources, "digest of the trained weights", _MODEL, "/weights_digest"),
                fact(sources, "digest of the preprocessing", _MODEL, "/preprocessing_digest"),
                fact(sources, "side of the frame", _MODEL, "/preprocessing/size", "px"),
                fact(sources, "training processes", _MODEL, "/training/processes"),
                fact(sources, "stopped early", _MODEL, "/training/stopped_early"),
            ]
        ),
        paragraph(
            "Training ran for {epochs} epochs; epoch {best} had the lowest validation loss. In the last epoch {train} "
            "of the training films and {val} of the validation films were right, with a validation log loss of {loss}.",
            epochs=sources.number(_MODEL, f"/training/history/{last}/epoch"),
            best=sources.number(_MODEL, "/training/best_epoch"),
            train=sources.number(_MODEL, f"/training/history/{last}/train_accuracy", PERCENT),
            val=sources.number(_MODEL, f"/training/history/{last}/val_accuracy", PERCENT),
            loss=sources.number(_MODEL, f"/training/history/{last}/val_log_loss"),
        ),
        as_table(
            ["hyperparameter", "value"],
            [
                [name.replace("_", " "), sources.number(_MODEL, f"/training/hyperparameters/{name}")]
                for name in names_of(sources, _MODEL, "/training/hyperparameters")
            ],
            "Hyperparameters of this model.",
            why_absent(sources, _MODEL, "/training/hyperparameters"),
        ),
        as_table(
            ["setting", "value"],
            [
                [f"{part}: {name.replace('_', ' ')}", fact(sources, name, _MODEL, f"/training/{part}/{name}").value]
                for part in ("loss", "training", "augmentation")
                for name in names_of(sources, _MODEL, f"/training/{part}")
            ],
            "Recipe: loss, procedure, augmentation.",
            why_absent(sources, _MODEL, "/training/training"),
        ),
        paragraph(
            "The search chose hyperparameters by {metric}, which holds nothing that is itself searched; its "
            "best trial reached {loss}.",
            metric=fact(sources, "metric", _SEARCH, "/metric").value,
            loss=sources.number(_SEARCH, "/log_loss"),
        ),
        as_table(
            ["trial", "state", "log loss", "macro AUC", "learning rate", "weight decay", "dropout"],
            [
                [
                    sources.number(_SEARCH, f"/trials/{row}/trial"),
                    fact(sources, "state", _SEARCH, f"/trials/{row}/state").value,
                    *(
                        sources.number(_SEARCH, f"/trials/{row}/{key}")
                        for key in ("log_loss", "macro_auc", "learning_rate", "weight_decay", "dropout")
                    ),
                ]
                for row in range(len(trials))
            ],
            "Trials of the search, scored on validation films.",
            why_absent(sources, _SEARCH, "/trials"),
        ),
        sources.picture(_MODEL, "training_curves", "Loss and accuracy over epochs", "Training curves."),
    ]
    return Section("training", "Training", tuple(blocks))
