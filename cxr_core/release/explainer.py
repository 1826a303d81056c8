"""Heat maps from the part ``explain``: the exact network with its second output, on the CPU."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cxr_core.errors import CxrError
from cxr_core.release.engines import INPUT, OUTPUT, cpu_session
from cxr_core.release.parts.explain import MAPS, ExplainPart, heat_map

__all__ = ["Explainer"]


class Explainer:
    """The network that explains. ``explain`` may be called from several threads at once.

    Args:
        part: the package's part.
        tensor: (1, 3, size, size) network input to try it on.
        threads: inside one call; None leaves it to the library.

    Raises:
        CxrError: the part does not fit the network.
    """

    def __init__(self, part: ExplainPart, tensor: npt.NDArray[np.float32], threads: int | None) -> None:
        try:
            self._session = cpu_session(part.network(), threads, (OUTPUT, MAPS))
            logits, maps = self._session.run([OUTPUT, MAPS], {INPUT: tensor})
        except Exception as error:  # ONNX Runtime's exception classes share no base of their own
            raise CxrError(f"{part.file}: its network cannot be loaded: package the model again.") from error
        if maps.ndim != 4 or maps.shape[:2] != logits.shape or not np.isfinite(maps).all():
            raise CxrError(f"{part.file}: its network gives maps of shape {maps.shape}: package the model again.")

    def explain(self, tensor: npt.NDArray[np.float32], label_index: int) -> npt.NDArray[np.float32]:
        """Heat map (size, size) float32, 0-1, of one class in network input (1, 3, size, size)."""
        (maps,) = self._session.run([MAPS], {INPUT: tensor})
        return heat_map(maps[0, label_index], tensor.shape[-1])
