"""What a fused kernel is given: a block of int64 numbers and addresses, and the arrays behind these."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def address(array: NDArray[Any]) -> int:
    """Where an array's first element lies in memory."""
    return int(array.__array_interface__["data"][0])


class KernelArguments:
    """A block of int64 fields, and the arrays whose addresses it holds.

    Attributes
    ----------
    address : int
        What a kernel is given.
    """

    def __init__(self, count: int) -> None:
        self.values = np.zeros(count, np.int64)
        self.address = address(self.values)
        self._kept: dict[int, NDArray[Any]] = {}

    def point(self, field: int, array: NDArray[Any], dtype: Any) -> None:
        """Let a field be the address of an array, which is kept alive and must be C-contiguous; 0 for one without elements."""
        if array.dtype != np.dtype(dtype) or not array.flags.c_contiguous:
            msg = f"field {field} needs a C-contiguous {np.dtype(dtype)} array, got {array.dtype} {array.shape}"
            raise ValueError(msg)
        self._kept[field] = array
        self.values[field] = address(array) if array.size else 0
