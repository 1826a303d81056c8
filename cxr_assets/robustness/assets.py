"""What the report's corruptions cost (report 5.1, 5.2)."""

from typing import Any

import dagster as dg
import pandas as pd

from cxr_assets.outputs import artefact_output, figure, table, versioned
from cxr_assets.resources import SettingsResource, StoreResource, pixel_cache
from cxr_assets.trained import open_model
from cxr_core.settings import load_settings
from cxr_core.store import Artefact

_SETTINGS = load_settings()
_SECTIONS = ("robustness", "preprocessing", "labels")


@dg.asset(
    group_name="robustness",
    deps=["pixel_cache"],
    kinds={"pytorch", "matplotlib"},
    **versioned(3, _SETTINGS, *_SECTIONS),
    description="Test scores under the clinical and the severe preset, corrupted in the canonical frame with noise "
    "seeded by image; differences from clean are paired and have intervals.",
)
def robustness(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    store: StoreResource,
    trained_model: Artefact,
    splits: Artefact,
) -> dg.Output[Artefact]:
    """Score the test films once per condition."""
    from cxr_core.dataset.frames import Frames
    from cxr_core.dataset.manifest import labelled_frames
    from cxr_core.evaluation.predict import predict_logits, softmax
    from cxr_core.plotting import png_bytes
    from cxr_core.release.evidence import SAYS
    from cxr_core.robustness.assess import assess
    from cxr_core.robustness.corruptions import presets
    from cxr_core.robustness.figures import conditions_figure, confidence_figure, corruption_gallery

    now = settings.load()
    shelf = store.open()
    saved = open_model(now, shelf, trained_model)
    dealt = shelf.read_table(splits)
    test = labelled_frames(pixel_cache(now), dealt, ["test"])
    groups = dealt.set_index("image_id")["group_id"].loc[list(test.keys)].tolist()
    conditions = presets(now.robustness)

    def predict(frames: Frames) -> Any:
        return softmax(predict_logits(saved.model, frames, saved.preprocessing, log=context.log.info))

    report = assess(predict, test, groups, conditions, now.robustness.seed, now.labels)
    report[SAYS] = trained_model.digest
    figures = {
        "scores": png_bytes(conditions_figure(report)),
        "confidence": png_bytes(confidence_figure(report)),
        "corrupted_films": png_bytes(corruption_gallery(test, conditions, now.robustness.seed)),
    }

    scores = ("accuracy", "macro_f1", "macro_auc", "mean_confidence")
    rows = [{"condition": name, **{s: entry[s] for s in scores}} for name, entry in report["conditions"].items()]
    drops = {
        f"{name}_accuracy_change": entry["difference"]["accuracy"]["value"]
        for name, entry in report["conditions"].items()
        if "difference" in entry
    }
    return artefact_output(
        shelf.write_report("robustness", "robustness.json", report, figures),
        now,
        _SECTIONS,
        scores=table(pd.DataFrame(rows)),
        **drops,
        **{f"{name}_figure": figure(png, name.replace("_", " ")) for name, png in figures.items()},
    )
