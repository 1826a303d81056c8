"""Settings of the prediction service: limits, inference, audit trail, review queue; every constant with its source."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from cxr_core.settings_sections import Section

__all__ = ["AuditSettings", "InferenceSettings", "ReviewSettings", "ServiceSettings", "TelemetrySettings"]


class InferenceSettings(Section):
    """How the network is run, and how much may wait for it."""

    engine: Literal["auto", "onnxruntime", "openvino", "cuda"] = Field(
        "auto", description="auto: the fastest that is here, measured at the first start and remembered"
    )
    precision: Literal["fp32", "int8"] = Field(
        "fp32", description="int8: the package's quantised part, whose measured loss the package carries"
    )
    max_batch: int = Field(
        16, ge=1, le=64, description="films in one forward pass; more gains nothing on a CPU (measured)"
    )
    queue: int = Field(
        64, ge=1, description="films that may wait; beyond it 503: at 30 films/s two seconds of waiting (DESIGN)"
    )
    patience_ms: int = Field(
        400, ge=0, description="a film that would wait longer is refused at once with 503, so that p95 stays below 500"
    )


class AuditSettings(Section):
    """The audit trail."""

    fsync: Literal["always", "off"] = Field(
        "always", description="always: an answer leaves only when its row is on the disk; off: when the OS has it"
    )
    retention_days: int = Field(2557, ge=1, description="seven years; report 7.5 names none, HIPAA 164.316 asks six")


class ReviewSettings(Section):
    """The queue of flagged cases. What it keeps is encrypted."""

    enabled: bool = Field(True, description="keep flagged films for a reader")
    max_cases: int = Field(10_000, ge=1, description="oldest decided cases go first; about 5 GB at 450 KB a film")
    retention_days: int = Field(90, ge=1, description="days that a case is kept; our choice: one reporting quarter")
    preview_side: int = Field(1024, ge=224, description="longest side of the film kept for the reader, pixels")


class TelemetrySettings(Section):
    """Latency, errors and the drift window, shared by all workers."""

    window: int = Field(1000, ge=10, description="latest predictions that the drift report looks at; TRAPS 17")
    minutes: int = Field(60, ge=1, description="minutes that the latency percentiles cover")


class ServiceSettings(Section):
    """The prediction API (report 7.2, 7.3)."""

    min_side: int = Field(128, description="pixels; report 7.2")
    max_side: int = Field(4096, description="pixels; report 7.2")
    max_bytes: int = Field(10_000_000, description="file size below it; report 7.3")
    body_seconds: float = Field(
        60.0, gt=0, le=80, description="within which a body must arrive: 10 MB at 1.4 Mbit/s; BentoML gives up at 90"
    )
    max_files: int = Field(10, ge=1, description="files of one batch; report 7.2")
    low_confidence: float = Field(0.7, description="below it a prediction is flagged; report 6.4")
    low_contrast_std: float = Field(
        20.0, ge=0, description="grey standard deviation below it is flagged; films have 40-70, a fog of one grey 5"
    )
    state_dir: Path | None = Field(None, description="audit trail, telemetry, review queue; default data/service")
    workers: int = Field(1, ge=1, description="service processes; they share trail, metrics, limits and queue")
    rate_limit: str = Field(
        "120/minute", description="requests of one key, in the notation of the limits package; our choice: 2 a second"
    )
    failure_limit: str = Field(
        "30/minute", description="wrong keys of one client address, before its keys are not looked at; our choice"
    )
    rate_storage: str = Field("", description="where limits are counted: a limits URI such as redis://; default local")
    operating_points: Path | None = Field(
        None, description="file of cxr fit-points: this site's thresholds in place of the model package's"
    )
    cors_origins: tuple[str, ...] = Field((), description="origins of other sites that may call; none by default")
    inference: InferenceSettings = InferenceSettings()
    audit: AuditSettings = AuditSettings()
    review: ReviewSettings = ReviewSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
