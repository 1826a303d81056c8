"""The registry of exploratory figures (report 2.2, 2.3, 5.4): one entry each, every number computed."""

from __future__ import annotations

from cxr_core.eda.data import EdaData, FigureSpec
from cxr_core.eda.figures_films import duplicates_found, samples
from cxr_core.eda.figures_pixels import edges, exposure, image_properties, pixel_intensities, texture
from cxr_core.eda.figures_tables import class_distribution, quality_table, source_by_class

__all__ = ["FIGURES", "EdaData", "FigureSpec"]

_SPECS = (
    FigureSpec(
        "class_distribution",
        "Films of each class in each split",
        "Number of films of each class in training, validation, calibration and test, and its share of each.",
        needs_splits=True,
        needs_frames=False,
        draw=class_distribution,
    ),
    FigureSpec(
        "image_properties",
        "Image sizes and shapes",
        "Width, height and aspect (width / height) of the accepted films by class, and by source where known.",
        needs_splits=False,
        needs_frames=False,
        draw=image_properties,
    ),
    FigureSpec(
        "pixel_intensities",
        "Grey levels by class",
        "Mean of the films' grey-level histograms in each class with one standard deviation between films either side, "
        "and the films' mean and standard deviation of grey.",
        needs_splits=False,
        needs_frames=False,
        draw=pixel_intensities,
    ),
    FigureSpec(
        "texture",
        "Texture: local binary patterns by class",
        "Share of each uniform local binary pattern (8 neighbours, radius 1) in the canonical frame, mean and standard "
        "deviation between films; area under the ROC curve of each pattern's share alone, one class against the rest, "
        "on the same films.",
        needs_splits=False,
        needs_frames=False,
        draw=texture,
    ),
    FigureSpec(
        "edges",
        "Edges and sharpness by class",
        "Share of edge pixels, mean edge strength and variance of the Laplacian in the canonical frame: median, "
        "quartiles, 5th and 95th percentile of each class.",
        needs_splits=False,
        needs_frames=False,
        draw=edges,
    ),
    FigureSpec(
        "exposure",
        "Exposure by class",
        "Mean grey of the accepted films of each class with the limits of under- and over-exposure, and the share of "
        "films beyond each limit.",
        needs_splits=False,
        needs_frames=False,
        draw=exposure,
    ),
    FigureSpec(
        "quality_table",
        "Quality of the files by class",
        "Files of each class by status, by reason of quarantine and by flag.",
        needs_splits=False,
        needs_frames=False,
        draw=quality_table,
    ),
    FigureSpec(
        "samples",
        "Films drawn at random from each class",
        "Canonical frames of films drawn with the seed from each class's accepted films; image identifiers beneath.",
        needs_splits=False,
        needs_frames=True,
        draw=samples,
    ),
    FigureSpec(
        "duplicates_found",
        "Duplicates left out of the data set",
        "The film kept of each cluster beside its copies, largest clusters first.",
        needs_splits=False,
        needs_frames=True,
        draw=duplicates_found,
    ),
    FigureSpec(
        "source_by_class",
        "Films of each class by source",
        "Accepted films of each source and class, with Cramér's V between source and class: 0 where the source says "
        "nothing of the class, 1 where it decides it.",
        needs_splits=False,
        needs_frames=False,
        draw=source_by_class,
    ),
)

FIGURES: dict[str, FigureSpec] = {spec.name: spec for spec in _SPECS}
