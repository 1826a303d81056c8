"""Data-quality gates of the index and the splits, with Great Expectations."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd

from cxr_assets.expectations import check_result, validate
from cxr_assets.gates import register_gates
from cxr_assets.resources import SettingsResource, StoreResource, pixel_cache

_INDEX_SPECS = register_gates(
    dg.AssetCheckSpec("schema_and_ranges", asset="image_index", blocking=True,
                      description="Columns are there, identifiers unique, values inside their ranges."),
    dg.AssetCheckSpec("quarantine_share", asset="image_index", blocking=True,
                      description="Not more files are quarantined than a data set can have."),
    dg.AssetCheckSpec("images_per_class", asset="image_index", blocking=True,
                      description="Every class has enough accepted films."),
    dg.AssetCheckSpec("exposure_share", asset="image_index",
                      description="Under- and over-exposed films are few (a warning)."),
)  # fmt: skip

_SPLIT_SPECS = register_gates(
    dg.AssetCheckSpec("no_group_in_two_splits", asset="splits", blocking=True,
                      description="All films of a patient, and all copies, lie in one split."),
    dg.AssetCheckSpec("no_duplicate_across_splits", asset="splits", blocking=True,
                      description="No film, compared anew pixel by pixel, has a copy in another split."),
    dg.AssetCheckSpec("class_balance", asset="splits", blocking=True,
                      description="Class shares are alike in the three splits."),
)  # fmt: skip


@dg.multi_asset_check(specs=_INDEX_SPECS, name="image_index_checks")
def image_index_checks(settings: SettingsResource, store: StoreResource) -> Iterator[dg.AssetCheckResult]:
    """Schema, ranges, quarantine share, class sizes, exposure."""
    now = settings.load()
    shelf = store.open()
    index = shelf.read_table(shelf.get_ref("image_index"))
    accepted = index[index["status"] == "accepted"]
    schema, share, minimum, exposure = _INDEX_SPECS

    def ranges(gxe: Any) -> Iterator[Any]:
        yield gxe.ExpectColumnValuesToBeUnique(column="image_id")
        yield gxe.ExpectColumnValuesToMatchRegex(column="sha256", regex="^[0-9a-f]{64}$")
        yield gxe.ExpectColumnValuesToBeInSet(column="label", value_set=list(now.labels))
        yield gxe.ExpectColumnValuesToBeBetween(column="label_index", min_value=0, max_value=len(now.labels) - 1)
        yield gxe.ExpectColumnValuesToBeInSet(column="format", value_set=["JPEG", "PNG"])
        for column in ("width", "height"):
            yield gxe.ExpectColumnValuesToBeBetween(
                column=column, min_value=now.quality.min_side, max_value=now.quality.max_side
            )
        for column in ("mean", "std", "tint", "p01", "p50", "p99"):
            yield gxe.ExpectColumnValuesToNotBeNull(column=column)
            yield gxe.ExpectColumnValuesToBeBetween(column=column, min_value=0, max_value=255)
        for column in ("dark_share", "bright_share", "edge_density"):
            yield gxe.ExpectColumnValuesToBeBetween(column=column, min_value=0, max_value=1)
        yield gxe.ExpectColumnValuesToMatchRegex(column="group_id", regex="^g[0-9a-f]{16}$")

    yield check_result(schema, validate(accepted, ranges), rows=len(accepted))

    quarantined = float((index["status"] == "quarantined").mean())
    verdicts = validate(
        pd.DataFrame({"quarantined_share": [quarantined]}),
        lambda gxe: [
            gxe.ExpectColumnMaxToBeBetween(column="quarantined_share", max_value=now.gates.max_quarantine_share)
        ],
    )
    yield check_result(share, verdicts, quarantined_share=quarantined)

    sizes = accepted["label"].value_counts().reindex(list(now.labels), fill_value=0)
    verdicts = validate(
        sizes.rename_axis("label").reset_index(name="films"),
        lambda gxe: [gxe.ExpectColumnMinToBeBetween(column="films", min_value=now.gates.min_images_per_class)],
    )
    yield check_result(minimum, verdicts, **{str(label): int(size) for label, size in sizes.items()})

    flags = accepted["flags"].str.split(",")
    shares = {
        code: float(flags.map(lambda codes, code=code: code in codes).mean())
        for code in ("under_exposed", "over_exposed")
    }
    verdicts = validate(
        pd.DataFrame([shares]),
        lambda gxe: [
            gxe.ExpectColumnMaxToBeBetween(column=code, max_value=now.gates.max_exposure_share) for code in shares
        ],
    )
    yield check_result(exposure, verdicts, **shares)._replace(severity=dg.AssetCheckSeverity.WARN)


@dg.multi_asset_check(specs=_SPLIT_SPECS, name="splits_checks")
def splits_checks(
    context: dg.AssetCheckExecutionContext, settings: SettingsResource, store: StoreResource
) -> Iterator[dg.AssetCheckResult]:
    """Leaks by group, leaks by copy, class balance."""
    from cxr_core.dataset.duplicates import find_near_duplicates

    now = settings.load()
    shelf = store.open()
    dealt = shelf.read_table(shelf.get_ref("splits"))
    group, copy, balance = _SPLIT_SPECS

    spread = dealt.groupby("group_id")["split"].nunique().rename("splits_of_group").reset_index()
    verdicts = validate(
        spread, lambda gxe: [gxe.ExpectColumnValuesToBeBetween(column="splits_of_group", min_value=1, max_value=1)]
    )
    yield check_result(group, verdicts, groups=len(spread))

    thumbnails = pixel_cache(now).thumbnails(dealt["sha256"].tolist())
    pairs = find_near_duplicates(thumbnails, now.duplicates, context.log.info)
    side = dealt["split"].to_numpy()
    crossing = int((side[pairs["a"].to_numpy(np.intp)] != side[pairs["b"].to_numpy(np.intp)]).sum())
    verdicts = validate(
        pd.DataFrame({"copies_across_splits": [crossing]}),
        lambda gxe: [gxe.ExpectColumnMaxToBeBetween(column="copies_across_splits", max_value=0)],
    )
    yield check_result(copy, verdicts, copies_across_splits=crossing, copies_inside_splits=len(pairs) - crossing)

    shares = pd.crosstab(dealt["split"], dealt["label"], normalize="index")
    shift = float((shares.max() - shares.min()).max())
    verdicts = validate(
        pd.DataFrame({"class_share_shift": [shift]}),
        lambda gxe: [
            gxe.ExpectColumnMaxToBeBetween(column="class_share_shift", max_value=now.gates.max_class_share_shift)
        ],
    )
    yield check_result(balance, verdicts, class_share_shift=shift)
