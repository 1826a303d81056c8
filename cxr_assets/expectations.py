"""Great Expectations as the engine of the data checks: ephemeral, silent, offline."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import dagster as dg
import pandas as pd

from cxr_assets.outputs import table

__all__ = ["Suite", "check_result", "validate"]

Suite = Callable[[Any], Iterable[Any]]  # given great_expectations.expectations, yields expectations


def validate(frame: pd.DataFrame, suite: Suite) -> pd.DataFrame:
    """Validate a data frame.

    Args:
        frame: the data.
        suite: builds the expectations from the module ``great_expectations.expectations``.

    Returns:
        One row an expectation: expectation, column, passed, unexpected (rows), observed (text).
    """
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read once, at import: no call home
    import great_expectations as gx
    from great_expectations import expectations as gxe
    from great_expectations.data_context.types.base import ProgressBarsConfig

    for noisy in ("great_expectations", "great_expectations.data_context.types.base"):  # the import set them to INFO
        logging.getLogger(noisy).setLevel(logging.WARNING)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("memory").add_dataframe_asset("frame")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    result = batch.validate(gx.ExpectationSuite(name="suite", expectations=list(suite(gxe))))
    return pd.DataFrame([_row(outcome.to_json_dict()) for outcome in result.results])


def _row(outcome: Mapping[str, Any]) -> dict[str, Any]:
    config, found = outcome["expectation_config"], outcome.get("result") or {}
    problem = (outcome.get("exception_info") or {}).get("exception_message") or ""
    return {
        "expectation": config["type"],
        "column": str(config["kwargs"].get("column", "")),
        "passed": bool(outcome["success"]),
        "unexpected": int(found.get("unexpected_count") or 0),
        "observed": str(found.get("observed_value", found.get("partial_unexpected_list", "")) or problem)[:200],
    }


def check_result(spec: dg.AssetCheckSpec, verdicts: pd.DataFrame, **numbers: Any) -> dg.AssetCheckResult:
    """A check result that passes when every expectation does; its description names those that do not."""
    broken = verdicts[~verdicts["passed"]]
    shown = [f"{row['expectation']}({row['column']}) observed {row['observed']}" for row in broken.to_dict("records")]
    return dg.AssetCheckResult(
        asset_key=spec.asset_key,
        check_name=spec.name,
        passed=broken.empty,
        description="; ".join(shown) or None,
        metadata={"expectations": table(verdicts), **numbers},
    )
