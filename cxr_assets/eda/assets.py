"""One asset for each figure of the registry, named ``eda_<figure>``."""

from collections.abc import Sequence
from typing import Any

import dagster as dg
import numpy as np

from cxr_assets.outputs import artefact_output, figure, versioned
from cxr_assets.resources import SettingsResource, StoreResource, pixel_cache
from cxr_core.eda.figures import FIGURES, EdaData, FigureSpec
from cxr_core.settings import load_settings
from cxr_core.store import Artefact

_SETTINGS = load_settings()
_SECTIONS = ("labels", "quality", "split")


def _figure_asset(spec: FigureSpec) -> dg.AssetsDefinition:
    ins = {"image_index": dg.AssetIn("image_index")}
    if spec.needs_splits:
        ins["splits"] = dg.AssetIn("splits")
    if spec.needs_frames:
        ins["manifest"] = dg.AssetIn("pixel_cache")

    @dg.asset(
        name=f"eda_{spec.name}",
        ins=ins,
        group_name="eda",
        kinds={"matplotlib"},
        **versioned(1, _SETTINGS, *_SECTIONS),
        description=f"{spec.title}. {spec.description}",
    )
    def build(settings: SettingsResource, store: StoreResource, **inputs: Artefact) -> dg.Output[Artefact]:
        from cxr_core.plotting import png_bytes

        now = settings.load()
        shelf = store.open()
        frames_of = None
        if spec.needs_frames:
            manifest = shelf.read_table(inputs["manifest"], ["image_id", "sha256"]).set_index("image_id")["sha256"]
            index = shelf.read_table(inputs["image_index"], ["image_id", "sha256"]).set_index("image_id")["sha256"]
            known = index[~index.index.duplicated()].combine_first(manifest)  # copies have frames, too

            def frames_of(image_ids: Sequence[str]) -> Any:
                frames = pixel_cache(now).frames(known.loc[list(image_ids)].tolist())
                return frames.take(np.arange(len(frames)))

        data = EdaData(
            index=shelf.read_table(inputs["image_index"]),
            labels=now.labels,
            quality=now.quality,
            seed=now.split.seed,
            splits=shelf.read_table(inputs["splits"]) if spec.needs_splits else None,
            frames_of=frames_of,
        )
        drawing, numbers = spec.build(data)
        png = png_bytes(drawing)

        artefact = shelf.write_report(f"eda_{spec.name}", "numbers.json", numbers, {"figure": png})
        shown = {"figure": figure(png, spec.title), "numbers": dg.MetadataValue.json(numbers)}
        return artefact_output(artefact, now, _SECTIONS, **shown)

    return build


eda_assets = [_figure_asset(spec) for spec in FIGURES.values()]
