"""Tables of embeddings: what a network's last layer sees of every film, one row a film."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core.errors import CxrError

__all__ = ["EMBEDDING", "embedding_matrix", "embedding_table"]

EMBEDDING = "embedding"  # column: list of float32, the pooled embedding with its final activation (TRAPS 14)
_FILM = ["image_id", "split", "label_index", "source", "group_id"]


def embedding_table(splits: pd.DataFrame, image_ids: list[str], embeddings: npt.NDArray[np.float32]) -> pd.DataFrame:
    """A table of embeddings.

    Args:
        splits: columns image_id, split, label_index, source, group_id of at least these films.
        image_ids: n films.
        embeddings: (n, d) float32, in their order.

    Returns:
        Columns image_id, split, label_index, source, group_id, embedding.
    """
    rows = splits.set_index("image_id").loc[image_ids].reset_index()
    return rows[_FILM].assign(**{EMBEDDING: list(np.ascontiguousarray(embeddings, np.float32))})


def embedding_matrix(table: pd.DataFrame) -> npt.NDArray[np.float32]:
    """Embeddings of a table's films, (n, d) float32, in the order of its rows.

    Raises:
        CxrError: the column is missing, its rows differ in length, or a value is not finite.
    """
    if EMBEDDING not in table:
        raise CxrError(f"The table of embeddings lacks the column {EMBEDDING}: materialise embeddings again.")
    if table.empty:
        return np.zeros((0, 0), np.float32)
    rows = [np.asarray(row, np.float32) for row in table[EMBEDDING]]
    if len({row.shape for row in rows}) > 1 or rows[0].ndim != 1:
        raise CxrError("The rows of the table of embeddings differ in length: materialise embeddings again.")
    found = np.stack(rows)
    if not np.isfinite(found).all():
        raise CxrError("The table of embeddings holds values that are no numbers: materialise embeddings again.")
    return found
