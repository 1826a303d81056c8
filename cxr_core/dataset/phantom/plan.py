"""The plan of a phantom data set: every file it will hold, decided before any film is rendered."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cxr_core.dataset.phantom.sites import SITE_TABLE, SITES
from cxr_core.dataset.phantom.spec import DEFECTS, PhantomSpec
from cxr_core.errors import CxrError
from cxr_core.settings import LABELS

__all__ = ["PlannedFile", "file_rng", "patient_rng", "plan_files"]

# First elements of the spawn keys: one independent family of random streams for each purpose.
_PLAN, _PATIENT, _FILE = 0, 1, 2
_JPEG_NAMED_JPEG = 0.2  # share of JPEG files with the four-letter extension


@dataclass(frozen=True)
class PlannedFile:
    """One image file of the data set.

    Attributes:
        key: Identifies the file's random stream; duplicates carry a stream of their own.
        patient: Number of the patient, who is the same person in all files with this number.
        film: Number of the film among the patient's films.
        true_label: Class that the film shows.
        filed_label: Class folder that the file lies in.
        patient_id: Pseudonym of the patient.
        registered_id: Pseudonym in `metadata.csv`; a duplicate was registered again under another one.
        site: Acquisition site.
        defect: Name of the planted defect, or empty.
        variant: Number among the files with this defect; chooses between its forms in turn.
        container: Encoding of the content: `jpeg` or `png`.
        file: Path relative to the root, forward slashes.
        source: The file that this one duplicates.
    """

    key: int
    patient: int
    film: int
    true_label: str
    filed_label: str
    site: str
    container: str
    patient_id: str = ""
    registered_id: str = ""
    defect: str = ""
    variant: int = 0
    file: str = ""
    source: PlannedFile | None = None

    @property
    def stem(self) -> str:
        """File name without folder and extension."""
        return self.file.rpartition("/")[2].rpartition(".")[0]


def patient_rng(seed: int, patient: int) -> np.random.Generator:
    """The stream that a patient's anatomy is drawn from."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_PATIENT, patient)))


def file_rng(seed: int, key: int) -> np.random.Generator:
    """The stream that everything particular to one file is drawn from, whatever the order of rendering."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_FILE, key)))


def _site_of(label: str) -> str:
    """The site that goes with a class under a full shortcut: in the report's data one hospital gave the pneumonias."""
    return "south" if label == "Pneumonia" else "north"


def _deal_sites(rng: np.random.Generator, label: str, patients: int, shortcut: float) -> list[str]:
    """Sites of a class's patients: a share by label, the rest half and half, in random order."""
    bound = round(shortcut * patients)
    first = int(rng.integers(2))
    sites = [_site_of(label)] * bound + [SITES[(first + i) % 2] for i in range(patients - bound)]
    return [sites[i] for i in rng.permutation(patients)]


def _container(rng: np.random.Generator, site: str) -> str:
    return "png" if rng.random() < SITE_TABLE[site].png_share else "jpeg"


def _clean(spec: PhantomSpec, rng: np.random.Generator) -> list[PlannedFile]:
    files: list[PlannedFile] = []
    patient = 0
    for label in LABELS:
        for rank, site in enumerate(_deal_sites(rng, label, spec.patients_per_class, spec.site_shortcut)):
            for film in range(spec.films_of(rank)):
                files.append(PlannedFile(len(files), patient, film, label, label, site, _container(rng, site)))
            patient += 1
    return files


def _misfile(spec: PhantomSpec, rng: np.random.Generator, files: list[PlannedFile]) -> list[PlannedFile]:
    """Move `wrong_labels` of the clean films to the folder of another class."""
    if spec.wrong_label_pattern == "random":
        candidates = list(range(len(files)))
    else:
        candidates = [i for i, file in enumerate(files) if file.true_label == "Normal" and file.site == "south"]
    if spec.wrong_labels > len(candidates):
        raise CxrError(
            f"wrong_labels is {spec.wrong_labels}, but only {len(candidates)} films fit the pattern "
            f"{spec.wrong_label_pattern}: lower it or raise patients_per_class."
        )
    moved = list(files)
    for variant, index in enumerate(rng.permutation(candidates)[: spec.wrong_labels].tolist()):
        others = [label for label in LABELS if label != files[index].true_label]
        filed = others[int(rng.integers(2))] if spec.wrong_label_pattern == "random" else "Pneumonia"
        moved[index] = replace(files[index], filed_label=filed, defect="wrong_labels", variant=variant)
    return moved


def _extras(spec: PhantomSpec, rng: np.random.Generator, key: int, patient: int) -> list[PlannedFile]:
    """Defective files of patients of their own, classes and sites dealt evenly over each defect."""
    files: list[PlannedFile] = []
    for defect in DEFECTS[3:]:
        order = rng.permutation(len(LABELS))
        for variant in range(getattr(spec, defect)):
            label = LABELS[order[variant % len(LABELS)]]
            bound = rng.random() < spec.site_shortcut
            drawn = SITES[int(rng.integers(2))]
            site = _site_of(label) if bound else drawn
            container = _container(rng, site)
            if defect in ("corrupt", "truncated", "wrong_content"):
                container = ("jpeg", "png")[variant % 2]
            elif defect in ("wrong_extension_ok", "multi_frame"):
                container = ("png", "jpeg")[variant % 2]
            serial = len(files)
            planned = PlannedFile(key + serial, patient + serial, 0, label, label, site, container)
            files.append(replace(planned, defect=defect, variant=variant))
    return files


def _extension(rng: np.random.Generator, file: PlannedFile, upper: bool) -> str:
    named = file.container
    if file.defect == "wrong_extension_ok":
        named = "jpeg" if named == "png" else "png"
    short = rng.random() >= _JPEG_NAMED_JPEG
    extension = "png" if named == "png" else "jpg" if short else "jpeg"
    return extension.upper() if upper else extension


def plan_files(spec: PhantomSpec) -> list[PlannedFile]:
    """Decide every file of a data set.

    File numbers run over all classes and defects in a random order, so that a name tells nothing about its content;
    patient pseudonyms likewise.

    Returns:
        `spec.total_files` files, sorted by path.

    Raises:
        CxrError: Fewer films fit the wrong-label pattern than `wrong_labels` asks for.
    """
    rng = np.random.default_rng(np.random.SeedSequence(spec.seed, spawn_key=(_PLAN,)))
    clean = _misfile(spec, rng, _clean(spec, rng))
    patients = 1 + max(file.patient for file in clean)
    extras = _extras(spec, rng, len(clean), patients)
    patients += len(extras)
    copies = spec.exact_duplicates + spec.near_duplicates
    originals = rng.permutation(len(clean))[:copies].tolist()

    files = clean + extras
    total = len(files) + copies
    numbers = (rng.permutation(total) + 1).tolist()
    pseudonyms = [f"P{number + 1:04d}" for number in rng.permutation(patients + copies).tolist()]
    upper = set(rng.permutation(total)[: round(spec.upper_case_share * total)].tolist())
    for index, file in enumerate(files):
        path = f"{file.filed_label}/film-{numbers[index]:06d}.{_extension(rng, file, index in upper)}"
        person = pseudonyms[file.patient]
        files[index] = replace(file, file=path, patient_id=person, registered_id=person)
    for variant, original in enumerate(originals):
        source, index = files[original], len(files)
        exact = variant < spec.exact_duplicates
        if not exact:
            variant -= spec.exact_duplicates
        container = source.container if exact else ("jpeg", "jpeg", "png")[variant % 3]
        copy = replace(
            source,
            key=index,
            container=container,
            registered_id=pseudonyms[patients + index - len(clean) - len(extras)],
            defect="exact_duplicates" if exact else "near_duplicates",
            variant=variant,
            source=source,
        )
        path = f"{copy.filed_label}/film-{numbers[index]:06d}.{_extension(rng, copy, index in upper)}"
        files.append(replace(copy, file=path))
    return sorted(files, key=lambda file: file.file)
