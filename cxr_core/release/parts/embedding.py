"""Part ``embedding``: the pooled embedding as a second output of the network that answers, in the same pass.

The embedding is what the head is applied to (report 3.1), so the network has computed it anyway. The part is a fragment
of an ONNX model, a hundred bytes that name this tensor as an output: protocol buffers merge when they are joined
(protobuf.dev, Encoding, "Last One Wins"). Other parts judge a film by it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from cxr_core.errors import CxrError
from cxr_core.release.manifest import PackageManifest
from cxr_core.release.parts.base import OpenFile, Part, read_record

__all__ = ["EMBEDDING_FILE", "EMBEDDING_FRAGMENT", "EmbeddingPart", "EmbeddingRecord"]

EMBEDDING_FILE = "embedding.json"
EMBEDDING_FRAGMENT = "embedding.onnx"


class EmbeddingRecord(BaseModel):
    """Content of ``embedding.json``.

    Attributes:
        size: length of one embedding.
        network: file with the fragment.
        precisions: networks of the package that the fragment can be joined to, ``fp32`` and ``int8``.
        films: on how many films the embeddings were compared with those of PyTorch.
        max_relative_difference: largest distance of an embedding of the exact network from PyTorch's on them, as a
            share of its length.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(ge=1)
    network: str
    precisions: tuple[str, ...]
    films: int = Field(ge=1)
    max_relative_difference: float = Field(ge=0, allow_inf_nan=False)


class EmbeddingPart(Part):
    """The fragment, and which networks it fits.

    Attributes:
        record: what the part says of itself.
    """

    name = "embedding"
    file = EMBEDDING_FILE
    title = "The pooled embedding as a second output of the network, for the parts that judge a film by it."

    def __init__(self, record: EmbeddingRecord, fragment: Callable[[], bytes]) -> None:
        self.record = record
        self._fragment = fragment

    @classmethod
    def read(cls, data: bytes, open_file: OpenFile, manifest: PackageManifest) -> EmbeddingPart:
        """Load the record and see that the fragment is there."""
        record = read_record(EmbeddingRecord, data, EMBEDDING_FILE)
        if record.network not in manifest.files:
            raise CxrError(f"{EMBEDDING_FILE} names {record.network}, which is not in the package: package it again.")
        return cls(record, lambda: open_file(record.network))

    def extended(self, network: bytes, precision: str) -> bytes:
        """The network with its second output, where the fragment fits it; else as it is.

        Args:
            network: content of a network's file of the package.
            precision: of that network.
        """
        return network + self._fragment() if precision in self.record.precisions else network

    def summary(self) -> dict[str, Any]:
        """Length, and how near the embeddings were to PyTorch's."""
        return self.record.model_dump(mode="json", exclude={"network"})
