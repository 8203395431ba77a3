"""Arrays that lie inside larger buffers, so that what is written beside them is seen, and that no wide register fits."""

from __future__ import annotations

import numpy as np

CANARY = 0xA5
MARGIN = 192


class Guarded:
    """Hands out arrays between canaries; leaving the ``with`` block checks them all."""

    def __init__(self):
        self._buffers = []

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.check()

    def empty(self, shape, dtype, shift=1):
        """An array full of canaries; it starts `shift` elements off the alignment of the buffer."""
        dtype = np.dtype(dtype)
        size = int(np.prod(shape)) * dtype.itemsize
        start = MARGIN + shift * dtype.itemsize
        buffer = np.full(start + size + MARGIN, CANARY, np.uint8)
        self._buffers.append((buffer, start, start + size))
        return buffer[start : start + size].view(dtype).reshape(shape)

    def zeros(self, shape, dtype, shift=1):
        array = self.empty(shape, dtype, shift)
        array[...] = 0
        return array

    def copy(self, array, shift=1):
        """The same values, read-only and between canaries."""
        array = np.asarray(array)
        copied = self.empty(array.shape, array.dtype, shift)
        copied[...] = array
        copied.setflags(write=False)
        return copied

    def check(self):
        for buffer, start, stop in self._buffers:
            assert (buffer[:start] == CANARY).all(), "written before an array"
            assert (buffer[stop:] == CANARY).all(), "written behind an array"
