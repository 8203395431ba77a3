"""The arguments of a fused kernel: a block of int64 numbers and addresses, and the arrays at these addresses."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def address(array: NDArray[Any]) -> int:
    """Return the memory address of an array's first element."""
    return int(array.__array_interface__["data"][0])


class KernelArguments:
    """A block of int64 fields, and the arrays whose addresses it contains.

    Attributes
    ----------
    address : int
        Address of the block, the argument of a kernel.
    """

    def __init__(self, count: int) -> None:
        self.values = np.zeros(count, np.int64)
        self.address = address(self.values)
        self._kept: dict[int, NDArray[Any]] = {}

    def point(self, field: int, array: NDArray[Any], dtype: Any) -> None:
        """Set a field to the address of a C-contiguous array, which is kept alive; to 0 for an empty array."""
        if array.dtype != np.dtype(dtype) or not array.flags.c_contiguous:
            msg = f"field {field} must be a C-contiguous {np.dtype(dtype)} array, got {array.dtype} {array.shape}"
            raise ValueError(msg)
        self._kept[field] = array
        self.values[field] = address(array) if array.size else 0

    def forget(self, *fields: int) -> None:
        """Set fields to 0, and keep their arrays no longer."""
        for field in fields:
            self._kept.pop(field, None)
            self.values[field] = 0
