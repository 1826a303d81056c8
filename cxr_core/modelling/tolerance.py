"""How far the exported model may be from the trained one; apart from the exporter, so that no torch comes with it."""

from __future__ import annotations

__all__ = ["MAX_EXPORT_DIFFERENCE"]

MAX_EXPORT_DIFFERENCE = 1e-4  # of an output, ONNX Runtime against PyTorch; float32 sums in another order differ by 1e-6
