"""The processes of one training: alone, or several under torchrun that share each batch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cxr_core.errors import CxrError
from cxr_core.modelling.network import resolve_device

__all__ = ["Ranks", "joined_ranks"]

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Ranks:
    """This process among its peers.

    Attributes:
        rank: 0 <= rank < world; rank 0 speaks and writes for all.
        world: number of processes.
        device: where this one computes.
    """

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this process speaks for all."""
        return self.rank == 0

    @property
    def part(self) -> slice:
        """This process's share of the rows of a batch."""
        return slice(self.rank, None, self.world)

    def total(self, values: Tensor) -> Tensor:
        """Sum of a tensor over all processes; the same on each."""
        if self.world > 1:
            torch.distributed.all_reduce(values)
        return values

    def woven(self, mine: Floats, n: int) -> Floats:
        """All n rows of which each process holds its :attr:`part`, (n, k) float32; the same on each."""
        if self.world == 1:
            return mine
        parts: list[Any] = [None] * self.world
        torch.distributed.all_gather_object(parts, mine)
        rows = np.empty((n, mine.shape[1]), np.float32)
        for rank, values in enumerate(parts):
            rows[rank :: self.world] = values
        return rows

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Give every process the first one's values, in place."""
        if self.world > 1:
            for tensor in tensors:
                torch.distributed.broadcast(tensor, 0)

    def agreed(self, choice: Any) -> Any:
        """What the first process chose, on every process."""
        if self.world == 1:
            return choice
        box = [choice]
        torch.distributed.broadcast_object_list(box)
        return box[0]


@contextmanager
def joined_ranks(device: str = "auto") -> Iterator[Ranks]:
    """Join the processes that torchrun started, or be alone where it did not.

    CUDA devices talk by NCCL, CPUs by gloo. On CUDA the kernels are the deterministic ones (report 8.2).

    Args:
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        CxrError: fewer CUDA devices than processes of this machine.
    """
    world, rank, local = (int(os.environ.get(name, default)) for name, default in _TORCHRUN.items())
    place = resolve_device(device)
    if place.type == "cuda":
        if local >= torch.cuda.device_count():
            raise CxrError(
                f"{torch.cuda.device_count()} CUDA devices are fewer than the processes of this machine: "
                "lower training.processes."
            )
        place = torch.device("cuda", local)
        torch.cuda.set_device(place)
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
    if world == 1:
        yield Ranks(device=place)
        return
    torch.distributed.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        yield Ranks(rank, world, place)
    finally:
        torch.distributed.destroy_process_group()


_TORCHRUN = {"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}  # its environment, and what it means to be alone
