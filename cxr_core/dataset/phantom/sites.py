"""The two acquisition sites: what their equipment does to a film, independent of what the film shows."""

from dataclasses import dataclass

SITES = ("north", "south")


@dataclass(frozen=True)
class Site:
    """Acquisition and archiving of one site; ranges are (low, high) of a uniform draw per film.

    Attributes:
        name: Name in `metadata.csv`.
        long_side: Longest side of a film, pixels.
        aspect: Width over height.
        latitude: Optical-depth width of the film response; smaller means harder contrast.
        gamma: Exponent of the display curve.
        noise: Standard deviation of quantum noise in optical depth at unit transmission.
        blur: Detector unsharpness, pixels of the film.
        edge_gain: Unsharp masking of the reader's processing.
        scatter: Share of scattered in transmitted radiation.
        border: Width of the collimation border as a share of the film's side, on each side.
        jpeg_quality: Quality setting of its JPEG files.
        png_share: Share of films archived as PNG.
        marker: Side marker in lead letters.
        marker_share: Share of films that carry it.
    """

    name: str
    long_side: tuple[int, int]
    aspect: tuple[float, float]
    latitude: tuple[float, float]
    gamma: tuple[float, float]
    noise: tuple[float, float]
    blur: tuple[float, float]
    edge_gain: tuple[float, float]
    scatter: tuple[float, float]
    border: tuple[float, float]
    jpeg_quality: tuple[int, int]
    png_share: float
    marker: str
    marker_share: float


SITE_TABLE: dict[str, Site] = {
    # Computed radiography read at high resolution, edge-enhanced, lightly compressed.
    "north": Site(
        name="north",
        long_side=(640, 900),
        aspect=(0.85, 1.10),
        latitude=(0.36, 0.48),
        gamma=(0.92, 1.08),
        noise=(0.005, 0.010),
        blur=(0.5, 0.9),
        edge_gain=(0.25, 0.6),
        scatter=(0.22, 0.34),
        border=(0.0, 0.018),
        jpeg_quality=(90, 96),
        png_share=0.35,
        marker="R",
        marker_share=0.8,
    ),
    # An older room: films scanned small, more scatter and noise, visible collimation, stronger compression.
    "south": Site(
        name="south",
        long_side=(480, 640),
        aspect=(0.92, 1.20),
        latitude=(0.42, 0.56),
        gamma=(1.08, 1.35),
        noise=(0.010, 0.019),
        blur=(0.8, 1.3),
        edge_gain=(0.0, 0.2),
        scatter=(0.34, 0.48),
        border=(0.004, 0.055),
        jpeg_quality=(76, 88),
        png_share=0.15,
        marker="L",
        marker_share=0.7,
    ),
}
