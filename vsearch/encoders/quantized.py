"""Products with 7-bit weights and 8-bit inputs, and token tables of few bits, in NumPy.

Each token's inputs are scaled by channel and rounded to unsigned 8 bits between their least and greatest; sums of products are
exact integers, the same in any order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vsearch.encoders.grids import Rounded, expand
from vsearch.encoders.packing import pack_blocks, pack_planes, unpack_blocks, unpack_planes, up_to
from vsearch.kernels.encoders.fields import BLOCK, GROUP

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEVELS = 255
EXACT_COLUMNS = 1024
"""Columns whose products, at most 255 * 63 each, float32 adds up exactly."""


class Activations(NamedTuple):
    """Rows as ``low + step * codes``.

    Attributes
    ----------
    codes : uint8 (t, columns)
    low, step : float32 (t,)
    """

    codes: NDArray[np.uint8]
    low: NDArray[np.float32]
    step: NDArray[np.float32]


def quantize_rows(rows: NDArray[np.float32], scales: NDArray[np.float32]) -> Activations:
    """Scale rows float32 (t, columns) by channel and round each between its least and greatest element."""
    scaled = rows * scales
    low, high = scaled.min(axis=1), scaled.max(axis=1)
    step = (high - low) * np.float32(1 / LEVELS)
    inverse = np.divide(np.float32(1), step, out=np.zeros_like(step), where=step > 0)
    codes = np.minimum(((scaled - low[:, None]) * inverse[:, None] + np.float32(0.5)).astype(np.int32), LEVELS)
    return Activations(codes.astype(np.uint8), low, step)


class Packed(NamedTuple):
    """Integers of fewer than 8 bits as they lie on disk.

    Attributes
    ----------
    bits : int
    planes : uint32 (rows, groups * bits)
        Codes, as `pack_planes` lays them out.
    scales, offsets : uint8 and int8 (rows, groups)
    """

    bits: int
    planes: NDArray[np.uint32]
    scales: NDArray[np.uint8]
    offsets: NDArray[np.int8]

    @classmethod
    def of(cls, rounded: Rounded, bits: int) -> Packed | None:
        """Rounded weights, packed; None for 8 bits."""
        if rounded.scales is None or rounded.offsets is None:
            return None
        return cls(bits, pack_planes(rounded.codes.view(np.uint8), bits), rounded.scales, rounded.offsets)

    def integers(self) -> NDArray[np.int8]:
        """What the codes stand for, int8 (rows, columns)."""
        return expand(unpack_planes(self.planes, self.bits), self.scales, self.offsets)

    def blocks(self, columns: int) -> tuple[NDArray[np.int8], NDArray[np.int32]]:
        """The first columns as `pack_blocks` lays them out, and the sum of each row, by the kernel."""
        from vsearch.kernels.encoders.api import unpack_weights

        rows, groups = self.scales.shape
        blocks = np.zeros((up_to(rows, BLOCK) // BLOCK, groups * GROUP * BLOCK), np.int8)
        sums = np.empty(rows, np.int32)
        unpack_weights(
            self.planes, self.scales, self.offsets, self.bits, columns, np.empty(GROUP, np.int32), blocks, sums
        )
        return blocks, sums

    def take(self, rows: Sequence[int], steps: NDArray[np.float32], width: int) -> NDArray[np.float32]:
        """Some rows times their steps, float32 (t, width), by the kernel."""
        from vsearch.kernels.encoders.api import take_rows

        taken, ids = np.empty((len(rows), width), np.float32), np.asarray(rows, np.int64)
        take_rows(self.planes, self.scales, self.offsets, self.bits, steps, ids, np.empty(GROUP, np.int32), taken)
        return taken


@dataclass(frozen=True, eq=False)
class QuantizedLinear:
    """A product with 7-bit weights.

    Attributes
    ----------
    blocks : int8 (rows / 64, columns * 64)
        Weights as `pack_blocks` lays them out.
    steps, bias : float32 (rows,)
        What one unit of a row stands for, and what is added to the product.
    sums : int32 (rows,)
        Sums of each row's integers.
    scales : float32 (columns,)
        What inputs are multiplied with before they are rounded; the weights were divided by it.
    packed : Packed or None
        The weights as they are on disk, where that is in fewer than 8 bits.
    """

    blocks: NDArray[np.int8]
    steps: NDArray[np.float32]
    bias: NDArray[np.float32]
    sums: NDArray[np.int32]
    scales: NDArray[np.float32]
    packed: Packed | None = None

    @classmethod
    def of(cls, rounded: Rounded, bits: int, bias: NDArray[np.float32], scales: NDArray[np.float32]) -> QuantizedLinear:
        """A product with rounded weights; these may have more columns, which count for nothing."""
        integers = rounded.integers()[:, : len(scales)]
        sums = integers.sum(axis=1, dtype=np.int32)
        return cls(pack_blocks(integers), rounded.steps, bias, sums, scales, Packed.of(rounded, bits))

    @cached_property
    def integers(self) -> NDArray[np.float32]:
        """The weights in steps, float32 (rows, columns)."""
        return unpack_blocks(self.blocks, len(self.steps), len(self.scales)).astype(np.float32)

    def apply(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Products float32 (t, rows) with inputs float32 (t, columns)."""
        codes, low, step = quantize_rows(rows, self.scales)
        inputs, total = codes.astype(np.float32), np.zeros((len(rows), len(self.steps)), np.int64)
        for start in range(0, inputs.shape[1], EXACT_COLUMNS):
            stop = start + EXACT_COLUMNS
            total += (inputs[:, start:stop] @ self.integers[:, start:stop].T).astype(np.int64)
        unscaled = total.astype(np.float32) * step[:, None] + low[:, None] * self.sums.astype(np.float32)
        return unscaled * self.steps + self.bias


@dataclass(frozen=True, eq=False)
class TokenTable:
    """Token embeddings in few bits.

    Attributes
    ----------
    steps : float32 (tokens,)
        What one unit of a row stands for.
    codes : int8 (tokens, width) or Packed
        The rows in steps.
    """

    steps: NDArray[np.float32]
    codes: NDArray[np.int8] | Packed

    @classmethod
    def of(cls, rounded: Rounded, bits: int) -> TokenTable:
        return cls(rounded.steps, Packed.of(rounded, bits) or rounded.codes.view(np.int8))

    @property
    def bits(self) -> int:
        return self.codes.bits if isinstance(self.codes, Packed) else 8

    def take(self, ids: Sequence[int], width: int) -> NDArray[np.float32]:
        """Embeddings float32 (t, width) of tokens."""
        if isinstance(self.codes, Packed):
            return self.codes.take(ids, self.steps, width)
        return self.codes[ids, :width].astype(np.float32) * self.steps[ids][:, None]
