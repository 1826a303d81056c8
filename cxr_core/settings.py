"""Typed settings: the ``standard`` profile holds the report's constants, ``demo`` shrinks them for two cores,
``small_data`` is the recipe for a few thousand films.

Order of precedence, highest first: overrides given in code (Dagster run config), environment variables
(``CXR_TRAINING__MAX_EPOCHS=3``), the profile (``CXR_PROFILE``), the defaults below.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from cxr_core.dataset.phantom.spec import PhantomSpec
from cxr_core.digests import digest_json
from cxr_core.errors import CxrError
from cxr_core.settings_profiles import PROFILES
from cxr_core.settings_sections import (
    AugmentationSettings,
    CrossValidationSettings,
    DuplicateSettings,
    GateSettings,
    LossSettings,
    ModelSettings,
    PreprocessingSettings,
    QualitySettings,
    ReleaseSettings,
    SplitSettings,
    TrainingSettings,
    TuningSettings,
)
from cxr_core.settings_service import ServiceSettings
from cxr_core.settings_stress import (
    ExplainSettings,
    FaithfulnessSettings,
    LungSettings,
    MitigationSettings,
    RobustnessSettings,
    ShiftSettings,
)
from cxr_core.settings_trust import (
    CalibrationSettings,
    EvaluationSettings,
    FilmDetectorSettings,
    LabelAuditSettings,
    ShortcutSettings,
    SubgroupSettings,
    UncertaintySettings,
)

__all__ = ["LABELS", "Settings", "describe", "load_settings", "project_root"]

LABELS: tuple[str, str, str] = ("Normal", "Pneumonia", "Tuberculosis")  # report 2.2; this order everywhere


def project_root() -> Path:
    """Folder under which ``data/`` lies: ``CXR_HOME``, else the checkout, else ``~/.local/share/cxr``."""
    if home := os.environ.get("CXR_HOME"):
        return Path(home).expanduser().resolve()
    checkout = Path(__file__).resolve().parent.parent
    return checkout if (checkout / "pyproject.toml").is_file() else Path.home() / ".local/share/cxr"


class Settings(BaseSettings):
    """All settings of one run. Build it with :func:`load_settings`."""

    model_config = SettingsConfigDict(env_prefix="CXR_", env_nested_delimiter="__", frozen=True, extra="forbid")

    profile: Literal["demo", "small_data", "standard"] = Field("demo", description="which set of defaults")
    raw_dir: Path | None = Field(None, description="class folders of images; default data/phantom (demo), data/raw")
    store: str = Field("", description="artefact store: a folder or an fsspec URL; default data/store")
    cache_dir: Path | None = Field(None, description="local pixel cache; default data/cache")
    mlflow_uri: str = Field("", description="MLflow tracking; default SQLite under data/mlflow")
    checkpoint_dir: Path | None = Field(None, description="unfinished trainings, studies; default data/checkpoints")
    bento_home: Path | None = Field(None, description="BentoML store; default data/bentoml")
    label_corrections: Path | None = Field(
        None, description="labels that readers gave: a folder of cxr review export, or one table of it; default none"
    )
    workers: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, description="decoding threads")
    labels: Annotated[tuple[str, ...], NoDecode] = Field(
        LABELS, description="class folders in output order; report 2.2"
    )
    preprocessing: PreprocessingSettings = PreprocessingSettings()
    quality: QualitySettings = QualitySettings()
    duplicates: DuplicateSettings = DuplicateSettings()
    split: SplitSettings = SplitSettings()
    augmentation: AugmentationSettings = AugmentationSettings()
    network: ModelSettings = ModelSettings()
    loss: LossSettings = LossSettings()
    training: TrainingSettings = TrainingSettings()
    tuning: TuningSettings = TuningSettings()
    crossval: CrossValidationSettings = CrossValidationSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    calibration: CalibrationSettings = CalibrationSettings()
    uncertainty: UncertaintySettings = UncertaintySettings()
    shortcuts: ShortcutSettings = ShortcutSettings()
    label_audit: LabelAuditSettings = LabelAuditSettings()
    subgroups: SubgroupSettings = SubgroupSettings()
    film_detector: FilmDetectorSettings = FilmDetectorSettings()
    robustness: RobustnessSettings = RobustnessSettings()
    shift: ShiftSettings = ShiftSettings()
    mitigation: MitigationSettings = MitigationSettings()
    explain: ExplainSettings = ExplainSettings()
    lungs: LungSettings = LungSettings()
    faithfulness: FaithfulnessSettings = FaithfulnessSettings()
    gates: GateSettings = GateSettings()
    release: ReleaseSettings = ReleaseSettings()
    service: ServiceSettings = ServiceSettings()
    phantom: PhantomSpec = PhantomSpec()

    @field_validator("label_corrections", mode="before")
    @classmethod
    def _none(cls, value: Any) -> Any:
        """``CXR_LABEL_CORRECTIONS=`` names none, and not the working folder."""
        return None if value == "" else value

    @field_validator("labels", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        """``CXR_LABELS=Normal,Pneumonia``."""
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("labels")
    @classmethod
    def _several(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(map(str.lower, value))) < max(2, len(value)):
            raise ValueError("name two or more different classes")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Overrides beat the environment, which beats the profile."""
        return init_settings, env_settings, _ProfileSource(settings_cls, init_settings, env_settings)

    def section_digest(self, *sections: str) -> str:
        """Digest (64 hexadecimal digits) of the named sections: what an asset that uses them depends on.

        A dotted name, ``faithfulness.second_seed``, is a single setting. What is not set, such as
        ``label_corrections``, counts as not there.
        """
        dumped = self.model_dump(mode="json")
        named = {name: reduce(getitem, name.split("."), dumped) for name in sorted(sections)}
        return digest_json({name: value for name, value in named.items() if value is not None})


class _ProfileSource(PydanticBaseSettingsSource):
    """Lowest source: the profile that the higher ones name."""

    def __init__(self, settings_cls: type[BaseSettings], *higher: PydanticBaseSettingsSource) -> None:
        super().__init__(settings_cls)
        self._higher = higher

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        name = next((values["profile"] for source in self._higher if "profile" in (values := source())), "demo")
        if name not in PROFILES:
            raise CxrError(f"Unknown profile {name!r}: set CXR_PROFILE to one of {', '.join(PROFILES)}.")
        return dict(PROFILES[name])


def load_settings(overrides: Mapping[str, Any] | None = None) -> Settings:
    """Settings from overrides, environment and profile, with every path made absolute.

    Args:
        overrides: dotted names to values, ``{"training.max_epochs": 3, "profile": "standard"}``.

    Raises:
        CxrError: a name or value that does not fit; the text names the field.
    """
    nested: dict[str, Any] = {}
    for name, value in (overrides or {}).items():
        *parents, leaf = name.split(".")
        into = nested
        for parent in parents:
            into = into.setdefault(parent, {})
        into[leaf] = value
    try:
        settings = Settings(**nested)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise CxrError(f"Setting {field}: {first['msg']} (got {first['input']!r}).") from error
    root, points = project_root(), settings.service.operating_points
    raw = settings.raw_dir or root / "data" / ("phantom" if settings.profile == "demo" else "raw")
    mlflow = settings.mlflow_uri or f"sqlite:///{root / 'data/mlflow/mlflow.db'}"
    return settings.model_copy(
        update={
            "raw_dir": raw.expanduser().resolve(),
            "store": settings.store if "://" in settings.store else str(_absolute(settings.store, root / "data/store")),
            "cache_dir": _absolute(settings.cache_dir, root / "data/cache"),
            "checkpoint_dir": _absolute(settings.checkpoint_dir, root / "data/checkpoints"),
            "bento_home": _absolute(settings.bento_home, root / "data/bentoml"),
            "label_corrections": settings.label_corrections and settings.label_corrections.expanduser().resolve(),
            "service": settings.service.model_copy(
                update={
                    "state_dir": _absolute(settings.service.state_dir, root / "data/service"),
                    "operating_points": points and points.expanduser().resolve(),
                }
            ),
            "mlflow_uri": mlflow,
        }
    )


def _absolute(path: Path | str | None, default: Path) -> Path:
    return Path(path).expanduser().resolve() if path else default


def describe(settings: Settings) -> Iterator[tuple[str, Any, str]]:
    """Each setting as (dotted name, value, where it comes from), in the order of declaration."""
    yield from _walk("", settings)


def _walk(prefix: str, section: BaseModel) -> Iterator[tuple[str, Any, str]]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _walk(f"{prefix}{name}.", value)
        else:
            yield f"{prefix}{name}", value, field.description or ""
