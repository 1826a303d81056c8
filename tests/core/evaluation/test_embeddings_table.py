"""Embeddings come back from their table as they went in."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cxr_core.errors import CxrError
from cxr_core.evaluation.embeddings import embedding_matrix, embedding_table
from cxr_core.store import ArtefactStore

FILMS = pd.DataFrame(
    {
        "image_id": ["a", "b", "c"],
        "split": ["train", "val", "test"],
        "label_index": [0, 1, 2],
        "source": ["x", "y", ""],
        "group_id": ["g1", "g2", "g3"],
        "sha256": ["1", "2", "3"],
    }
)


def test_the_store_gives_back_every_number_in_the_films_order(tmp_path):
    values = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    store = ArtefactStore(tmp_path)
    kept = store.read_table(store.write_table("embeddings", embedding_table(FILMS, ["c", "a", "b"], values)))
    np.testing.assert_array_equal(embedding_matrix(kept), values)
    assert kept["image_id"].tolist() == ["c", "a", "b"]
    assert kept["split"].tolist() == ["test", "train", "val"]


def test_rows_that_are_no_embeddings_are_refused():
    table = embedding_table(FILMS, ["a", "b"], np.ones((2, 4), np.float32))
    with pytest.raises(CxrError, match="lacks the column embedding"):
        embedding_matrix(table.drop(columns="embedding"))
    broken = table.assign(embedding=[np.ones(4), np.ones(3)])
    with pytest.raises(CxrError, match="differ in length"):
        embedding_matrix(broken)
    holed = table.assign(embedding=[np.ones(4), np.array([1, 2, np.nan, 4])])
    with pytest.raises(CxrError, match="no numbers"):
        embedding_matrix(holed)
