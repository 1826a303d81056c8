"""Figures that show films: samples of each class, duplicates beside the film that was kept."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from cxr_core.eda.data import EdaData
from cxr_core.plotting import ACCENT, class_colours, gallery_tile, new_figure, sentence_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["duplicates_found", "samples"]

_MOST_CLUSTERS, _MOST_COPIES = 6, 4  # rows and copies a row that fit one page
_CAPTION_WIDTH = 22  # characters under a tile


def samples(data: EdaData, title: str) -> tuple[Figure, dict[str, Any]]:
    """A row of films for each class; numbers: their identifiers and the seed."""
    assert data.frames_of is not None
    chosen: dict[str, list[str]] = {}
    for place, (label, rows) in enumerate(data.by_class(data.accepted).items()):
        ids = sorted(rows["image_id"])
        random = np.random.default_rng([data.seed, place])
        picked = random.permutation(len(ids))[: data.samples_per_class]
        chosen[label] = [ids[row] for row in picked]
    columns = data.samples_per_class
    figure, axes = new_figure(
        title, size=(1.95 * columns + 0.4, 2.25 * len(chosen) + 0.7), rows=len(chosen), columns=columns,
        note=f"Seed {data.seed}.",
    )  # fmt: skip
    colours = class_colours(data.labels)
    for line, (label, ids) in enumerate(chosen.items()):
        frames = data.frames_of(ids) if ids else np.empty((0, 1, 1), np.uint8)
        for column in range(columns):
            inside = column < len(ids)
            gallery_tile(axes[line, column], frames[column] if inside else None, ids[column] if inside else "")
        axes[line, 0].set_ylabel(label, fontsize=11, fontweight="bold", color=colours[label])
    return figure, {"image_ids": chosen, "seed": data.seed}


def duplicates_found(data: EdaData, title: str) -> tuple[Figure, dict[str, Any]]:
    """Clusters of copies; numbers: copies, clusters, identical files, and how many copies lie in another source."""
    assert data.frames_of is not None
    index = data.index
    copies = index[index["status"] == "duplicate"].sort_values(["duplicate_of", "image_id", "file"])
    if copies.empty:
        numbers = {"copies": 0, "clusters": 0, "identical_files": 0, "other_source": 0, "shown": []}
        return sentence_figure(title, f"No duplicates found among {len(index):,} files."), numbers
    kept = index[index["status"] != "duplicate"].drop_duplicates("image_id").set_index("image_id")
    keeper = kept.reindex(copies["duplicate_of"])
    identical = copies["image_id"].to_numpy() == copies["duplicate_of"].to_numpy()
    clusters = copies.groupby("duplicate_of", sort=True)
    order = sorted(clusters.groups, key=lambda name: (-len(clusters.groups[name]), str(name)))
    shown = order[:_MOST_CLUSTERS]
    columns = 1 + min(_MOST_COPIES, max(len(clusters.groups[name]) for name in shown))
    figure, axes = new_figure(
        title, size=(max(5.0, 2.1 * columns + 0.4), 2.5 * len(shown) + 0.8), rows=len(shown), columns=columns,
        note=f"{len(copies):,} copies in {len(order):,} clusters; {len(shown):,} clusters shown.",
    )  # fmt: skip
    colours = class_colours(data.labels)
    for line, name in enumerate(shown):
        rows = clusters.get_group(name).head(columns - 1)
        ids = [str(name), *rows["image_id"]]
        frames = data.frames_of(ids)
        label = kept["label"].get(name)
        captions = [f"kept: {label}\n{name}"]
        for row, same in zip(rows.itertuples(), rows["image_id"] == name, strict=True):
            what = "identical file" if same else "near copy"
            captions.append("\n".join([*textwrap.wrap(f"{what}: {row.label}", _CAPTION_WIDTH), str(row.image_id)]))
        for column in range(columns):
            inside = column < len(ids)
            differs = inside and column > 0 and rows["label"].iloc[column - 1] != label
            colour = ACCENT if differs else "black"
            gallery_tile(
                axes[line, column], frames[column] if inside else None, captions[column] if inside else "", colour
            )
        hidden = len(clusters.groups[name]) - len(rows)
        axes[line, 0].set_ylabel(f"+ {hidden} more" if hidden else "", color=colours.get(str(label), "black"))
    numbers = {
        "copies": len(copies),
        "clusters": len(order),
        "identical_files": int(identical.sum()),
        "other_source": int((copies["source"].to_numpy() != keeper["source"].to_numpy()).sum()),
        "shown": [str(name) for name in shown],
    }
    return figure, numbers
