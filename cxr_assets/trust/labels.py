"""The label audit: which labels are wrong, at random and by system (TRAPS 2)."""

import dagster as dg
import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_assets.outputs import artefact_output, figure, table, versioned
from cxr_assets.resources import SettingsResource, StoreResource, pixel_cache, preprocessing_of
from cxr_assets.verdicts import verdict_result
from cxr_core.settings import load_settings
from cxr_core.store import Artefact

__all__ = ["ASSETS", "CHECKS", "label_audit", "label_noise"]

_SECTIONS = ("label_audit", "labels", "split", "network", "training", "preprocessing")


@dg.asset(
    group_name="trust",
    deps=["pixel_cache"],
    kinds={"pytorch", "scikitlearn", "matplotlib"},
    **versioned(1, load_settings(), *_SECTIONS),
    description="Wrong labels by confident learning on out-of-fold probabilities of a head on pretrained features, and "
    "mixtures of classes in one source's folder; a ranked relabel queue; the recall that a perfect classifier would "
    "show on these labels, beside the model's; a run without the suspects.",
)
def label_audit(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    store: StoreResource,
    predictions: Artefact,
    image_index: Artefact,
    splits: Artefact,
) -> dg.Output[Artefact]:
    """Look at every accepted film with a network that has learnt none of their labels."""
    from cxr_core.digests import digest_json
    from cxr_core.evaluation.report import model_of
    from cxr_core.modelling.network import build_classifier
    from cxr_core.plotting import png_bytes
    from cxr_core.release.evidence import SAYS
    from cxr_core.trust.label_audit import REPORT_FILE, audit_labels, audited_films
    from cxr_core.trust.label_features import region_features
    from cxr_core.trust.label_figures import noise_figure, queue_figure, ranking_figure
    from cxr_core.trust.label_queue import QUEUE_FILE, queue_csv

    now = settings.load()
    shelf = store.open()
    rows, index = shelf.read_table(predictions), shelf.read_table(image_index)
    films = audited_films(shelf.read_table(splits), now.label_audit, now.split.seed)
    cache = pixel_cache(now)
    built = build_classifier(now.network, len(now.labels), now.training.seed)
    frames = cache.frames(films["sha256"].tolist())
    features = region_features(built.model, frames, preprocessing_of(now), now.split.seed, context.log.info)
    audit = audit_labels(films, features, index, now.labels, now.label_audit, now.split.seed, rows)
    made_by = digest_json([built.weights.digest, built.weights.origin, splits.digest, now.label_audit.model_dump()])
    report = {SAYS: model_of(rows), "backbone": now.network.backbone, "weights": built.weights.origin, **audit.report}

    def frame_of(sha256: str) -> npt.NDArray[np.uint8]:
        return cache.frames([sha256]).take(np.zeros(1, np.intp))[0]

    figures = {
        "contact_sheet": png_bytes(queue_figure(audit.queue, frame_of, now.label_audit.shown)),
        "noise": png_bytes(noise_figure(report)),
        "ranking": png_bytes(ranking_figure(audit.films)),
    }
    queue = queue_csv(audit.queue, made_by, now.labels)
    artefact = shelf.write_report(
        "label_audit",
        REPORT_FILE,
        report,
        figures,
        {"relabel_queue": audit.queue, "films": audit.films},
        {QUEUE_FILE: queue.encode()},
    )
    return artefact_output(
        artefact,
        now,
        _SECTIONS,
        verdict=report["verdict"]["sentence"],
        films=report["films"],
        suspects=report["queue"]["films"],
        classes=table(_classes(report)),
        cells=table(_cells(report)),
        queue=table(audit.queue),
        overall=dg.MetadataValue.json(report["overall"]),
        without_suspects=dg.MetadataValue.json(report["without_suspects"]),
        **{f"{name}_figure": figure(png, name.replace("_", " ")) for name, png in figures.items()},
    )


def _classes(report: dict) -> pd.DataFrame:
    """The model's recall of each class beside that of a perfect classifier on the same labels."""
    found = []
    for name, entry in report["classes"].items():
        noise, perfect, model = entry["noise"], entry["perfect_recall"], entry["model_recall"]
        found.append(
            {
                "class": name,
                "films": entry["films"],
                "wrong labels": noise["value"],
                "wrong labels, low": noise["low"],
                "wrong labels, high": noise["high"],
                "recall of a perfect classifier": perfect["value"],
                "recall of the model": model["value"],
                "not available": noise.get("reason", ""),
            }
        )
    return pd.DataFrame(found)


def _cells(report: dict) -> pd.DataFrame:
    """Each source's films of a class, tested for a mixture with each other class."""
    found = []
    for cell in report["cells"]:
        share = cell["share"]
        found.append(
            {
                "source": cell["source"],
                "filed under": cell["label"],
                "seem to be": cell["other"],
                "films": cell["films"],
                "share": share["value"],
                "low": share["low"],
                "high": share["high"],
                "p, adjusted": cell["p_adjusted"],
                "a mixture": cell["is_mixture"],
                "judged by": cell["judge"] or "",
                "not available": share.get("reason", ""),
            }
        )
    return pd.DataFrame(found)


@dg.asset_check(asset="label_audit", description="Not more labels of a class are wrong than may be (a warning).")
def label_noise(store: StoreResource) -> dg.AssetCheckResult:
    """The verdict of the label audit."""
    return verdict_result(store.open(), "label_audit")


ASSETS = [label_audit]
CHECKS = [label_noise]
