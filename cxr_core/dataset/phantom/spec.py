"""What a phantom data set holds: how many patients and films, from which sites, with which planted defects."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, model_validator

__all__ = ["DEFECTS", "PhantomSpec"]

# Switches that plant a defect, in the order in which they are planned; the `defect` column holds these names.
DEFECTS = (
    "exact_duplicates",
    "near_duplicates",
    "wrong_labels",
    "corrupt",
    "truncated",
    "too_small",
    "wrong_extension_ok",
    "wrong_content",
    "under_exposed",
    "over_exposed",
    "near_uniform",
    "extreme_aspect",
    "multi_frame",
    "tinted",
)


class PhantomSpec(BaseModel, frozen=True, extra="forbid"):
    """A phantom data set; equal specs give equal bytes. The defaults are the demo's: 270 clean films."""

    patients_per_class: int = Field(
        default=60, ge=1, le=1_000_000, description="patients of each class among the clean films"
    )
    films_per_patient: tuple[int, int] = Field(
        default=(1, 2), description="fewest and most films of a patient; the numbers between are dealt out evenly"
    )
    seed: int = Field(default=42, ge=0, description="seed of everything random")
    site_shortcut: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of patients whose site follows from their true label: pneumonia south, the others north",
    )
    lesion_density: float = Field(
        default=1.0, gt=0, le=5, description="optical depth of lesions, times the usual one: 3 gives clear cases"
    )
    exact_duplicates: int = Field(default=6, ge=0, description="extra files with the bytes of a clean film")
    near_duplicates: int = Field(
        default=8, ge=0, description="extra files with a clean film re-encoded, resized or brightened"
    )
    wrong_labels: int = Field(default=0, ge=0, description="clean films filed in the folder of another class")
    wrong_label_pattern: Literal["random", "south_normals_as_pneumonia"] = Field(
        default="random",
        description="random: any film, any other class; south_normals_as_pneumonia: the systematic error of one source "
        "whose normal films are filed as pneumonia",
    )
    corrupt: int = Field(
        default=3, ge=0, description="extra files of random bytes, of no bytes and of zero bytes, in turn"
    )
    truncated: int = Field(default=3, ge=0, description="extra JPEG and PNG files, in turn, that end early")
    too_small: int = Field(default=3, ge=0, description="extra films whose longer side is below 128 pixels")
    wrong_extension_ok: int = Field(
        default=3, ge=0, description="extra sound films: PNG content named .jpg and JPEG content named .png, in turn"
    )
    wrong_content: int = Field(
        default=2, ge=0, description="extra files: text named .jpg and a GIF named .png, in turn"
    )
    under_exposed: int = Field(default=5, ge=0, description="extra films with a mean grey below 50 of 255")
    over_exposed: int = Field(default=4, ge=0, description="extra films with a mean grey above 200 of 255")
    near_uniform: int = Field(default=2, ge=0, description="extra images of one grey level and a little noise")
    extreme_aspect: int = Field(
        default=2, ge=0, description="extra films cropped to a width/height below .5 and above 2, in turn"
    )
    multi_frame: int = Field(
        default=2, ge=0, description="extra animated PNG and multi-picture JPEG (MPO) files, in turn"
    )
    tinted: int = Field(default=4, ge=0, description="extra films with a colour cast")
    upper_case_share: float = Field(default=0.1, ge=0, le=1, description="share of files with .JPG, .JPEG or .PNG")

    @model_validator(mode="after")
    def _fits(self) -> PhantomSpec:
        fewest, most = self.films_per_patient
        if not 1 <= fewest <= most:
            raise ValueError("films_per_patient must be (fewest, most) with 1 <= fewest <= most")
        clean = self.clean_films
        if self.exact_duplicates + self.near_duplicates > clean:
            raise ValueError(f"exact_duplicates + near_duplicates must not exceed the {clean} clean films they copy")
        if self.wrong_labels > clean:
            raise ValueError(f"wrong_labels must not exceed the {clean} clean films")
        return self

    def films_of(self, patient: int) -> int:
        """Number of films of the patient with this rank within a class; ranks are dealt the numbers in turn."""
        fewest, most = self.films_per_patient
        return fewest + patient % (most - fewest + 1)

    @property
    def clean_films(self) -> int:
        """Films without a planted defect of their own, wrongly filed ones included."""
        return 3 * sum(self.films_of(patient) for patient in range(self.patients_per_class))

    @property
    def total_files(self) -> int:
        """All image files written, defective ones included."""
        return self.clean_films + sum(getattr(self, name) for name in DEFECTS if name != "wrong_labels")
