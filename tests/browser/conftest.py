"""Brings the pipeline's fixtures here."""

from __future__ import annotations

from pipeline_fixtures import pipeline, raw

__all__ = ["pipeline", "raw"]
