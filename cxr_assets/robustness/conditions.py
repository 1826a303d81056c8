"""robustness_conditions: what the trained model says of corrupted test films, a partition for each corruption."""

from collections.abc import Mapping, Sequence

import dagster as dg
import pandas as pd

from cxr_assets.outputs import artefact_output, versioned
from cxr_assets.resources import SettingsResource, StoreResource, pixel_cache
from cxr_assets.trained import open_model
from cxr_core.errors import CxrError
from cxr_core.robustness.sweep import PARTITIONS
from cxr_core.settings import load_settings
from cxr_core.store import Artefact, ArtefactStore

__all__ = ["ASSETS", "CHECKS", "CONDITIONS", "conditions_of", "robustness_conditions"]

_SECTIONS = ("robustness", "preprocessing")

CONDITIONS = dg.StaticPartitionsDefinition(list(PARTITIONS))


@dg.asset(
    group_name="robustness",
    deps=["pixel_cache"],
    kinds={"pytorch", "parquet"},
    partitions_def=CONDITIONS,
    backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=1),
    **versioned(1, load_settings(), *_SECTIONS),
    description="Logits and embeddings of the test films under each corruption at five severities, and under the "
    "report's clinical and severe presets: a partition each. Corrupted in the canonical frame, seeded by image; one "
    "pass of the model a condition.",
)
def robustness_conditions(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    store: StoreResource,
    trained_model: Artefact,
    splits: Artefact,
) -> dg.Output[Artefact]:
    """Pass the test films of one partition's conditions through the model."""
    from cxr_core.dataset.manifest import labelled_frames
    from cxr_core.release.evidence import SAYS
    from cxr_core.robustness.sweep import conditions_in, sweep

    now = settings.load()
    shelf = store.open()
    saved = open_model(now, shelf, trained_model)
    dealt = shelf.read_table(splits)
    test = labelled_frames(pixel_cache(now), dealt, ["test"])
    groups = dealt.set_index("image_id")["group_id"].loc[list(test.keys)].tolist()
    conditions = conditions_in(context.partition_key, now.robustness)
    swept = sweep(conditions, test, groups, saved.model, saved.preprocessing, now.robustness.seed, log=context.log.info)
    return artefact_output(
        shelf.write_table("robustness_conditions", swept.assign(**{SAYS: trained_model.digest})),
        now,
        _SECTIONS,
        films=len(test),
        conditions=", ".join(one.preset.name for one in conditions),
        steps=dg.MetadataValue.json({one.preset.name: one.preset.describe() for one in conditions}),
    )


def conditions_of(
    store: ArtefactStore,
    trained_model: Artefact,
    artefacts: Mapping[str, Artefact],
    columns: Sequence[str] | None = None,
) -> pd.DataFrame:
    """The tables of several partitions as one, refused where another model made one of them.

    Args:
        store: where they lie.
        trained_model: the model that they have to be of.
        artefacts: partition to its table.
        columns: to load; None loads all, embeddings too.

    Returns:
        Rows of the partitions in the order of their names, each in the order of its table.

    Raises:
        cxr_core.errors.CxrError: no partition, or a table of another model.
    """
    from cxr_core.evaluation.report import model_of
    from cxr_core.release.evidence import SAYS

    wanted = [*columns, SAYS] if columns is not None and SAYS not in columns else columns
    tables = []
    for partition in sorted(artefacts):
        table = store.read_table(artefacts[partition], wanted)
        if model_of(table) != trained_model.digest:
            raise CxrError(
                f"Partition {partition} of robustness_conditions is of another model than trained_model: materialise "
                "it again."
            )
        tables.append(table)
    if not tables:
        raise CxrError("robustness_conditions has no partition: materialise it first.")
    return pd.concat(tables, ignore_index=True)


ASSETS = [robustness_conditions]
CHECKS: list[dg.AssetChecksDefinition] = []
