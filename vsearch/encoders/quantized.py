"""Linear layers with 7-bit weights and 8-bit inputs, and token tables with few bits, in NumPy.

The inputs of each token are scaled by channel and rounded to unsigned 8 bits between their minimum and maximum. Sums of products
are exact integers, so they do not depend on the order of summation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from vsearch.encoders.grids import TERNARY, Bits, Rounded, expand
from vsearch.encoders.packing import (
    TRIT_BYTES,
    pack_blocks,
    pack_planes,
    trits_to_planes,
    unpack_blocks,
    unpack_planes,
    up_to,
)
from vsearch.forking import cached_property
from vsearch.kernels.encoders.fields import BLOCK, GROUP

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEVELS = 255
EXACT_COLUMNS = 1024
"""Number of columns for which float32 sums of products, each at most 255 * 63, are exact."""


class Activations(NamedTuple):
    """Rows represented as ``low + step * codes``.

    Attributes
    ----------
    codes : uint8 (t, columns)
    low, step : float32 (t,)
    """

    codes: NDArray[np.uint8]
    low: NDArray[np.float32]
    step: NDArray[np.float32]


def quantize_rows(rows: NDArray[np.float32], scales: NDArray[np.float32]) -> Activations:
    """Scale rows float32 (t, columns) by channel, and round each row between its minimum and maximum."""
    scaled = rows * scales
    low, high = scaled.min(axis=1), scaled.max(axis=1)
    step = (high - low) * np.float32(1 / LEVELS)
    inverse = np.divide(np.float32(1), step, out=np.zeros_like(step), where=step > 0)
    codes = np.minimum(((scaled - low[:, None]) * inverse[:, None] + np.float32(0.5)).astype(np.int32), LEVELS)
    return Activations(codes.astype(np.uint8), low, step)


class Packed(NamedTuple):
    """Integers of fewer than 8 bits in their layout on disk.

    Attributes
    ----------
    width : int
        Bits per code: 2 for ternary weights, which files pack more closely (see `pack_trits`).
    planes : uint32 (rows, groups * width)
        Codes from `pack_planes`.
    scales, offsets : uint8 and int8 (rows, groups)
    ternary : bool
        Whether there are only three codes, and the offsets are minus the scales.
    """

    width: int
    planes: NDArray[np.uint32]
    scales: NDArray[np.uint8]
    offsets: NDArray[np.int8]
    ternary: bool = False

    @classmethod
    def of(cls, rounded: Rounded, bits: Bits) -> Packed | None:
        """Pack rounded weights; None for 8 bits."""
        if rounded.scales is None or rounded.offsets is None:
            return None
        width = 2 if bits == TERNARY else bits
        planes = pack_planes(rounded.codes.view(np.uint8), width)
        return cls(width, planes, rounded.scales, rounded.offsets, bits == TERNARY)

    @classmethod
    def of_trits(cls, trits: NDArray[np.uint8], scales: NDArray[np.uint8]) -> Packed:
        """Return ternary weights from their codes in the layout of `pack_trits`."""
        return cls(2, trits_to_planes(trits), scales, np.negative(scales.view(np.int8)), ternary=True)

    @property
    def bits(self) -> Bits:
        """Bits per number, as passed to `compress`."""
        return TERNARY if self.ternary else cast("Bits", self.width)

    @property
    def nbytes(self) -> int:
        """Size on disk."""
        if self.ternary:
            return self.scales.size * (TRIT_BYTES + 1)
        return self.planes.nbytes + self.scales.nbytes + self.offsets.nbytes

    def integers(self) -> NDArray[np.int8]:
        """Return the integers that the codes represent, int8 (rows, columns)."""
        return expand(unpack_planes(self.planes, self.width), self.scales, self.offsets)

    @property
    def blocks_shape(self) -> tuple[int, int]:
        """The shape of `blocks`."""
        rows, groups = self.scales.shape
        return up_to(rows, BLOCK) // BLOCK, groups * GROUP * BLOCK

    def blocks(self, columns: int, zeros: NDArray[np.int8] | None = None) -> NDArray[np.int8]:
        """Return the first columns in the layout of `pack_blocks`, using a kernel; in `zeros` if an array is passed."""
        from vsearch.kernels.encoders.api import unpack_weights

        blocks = np.zeros(self.blocks_shape, np.int8) if zeros is None else zeros
        unpack_weights(self.planes, self.scales, self.offsets, self.width, columns, np.empty(GROUP, np.int32), blocks)
        return blocks

    def fits(self, largest: int) -> bool:
        """Whether no code can represent an integer beyond a magnitude."""
        low = self.offsets.astype(np.int16)
        high = low + self.scales * np.int16(2 if self.ternary else 2**self.width - 1)
        return bool(low.min(initial=0) >= -largest and high.max(initial=0) <= largest)

    def take(self, rows: Sequence[int], steps: NDArray[np.float32], width: int) -> NDArray[np.float32]:
        """Return selected rows times their steps, float32 (t, width), using a kernel."""
        from vsearch.kernels.encoders.api import take_rows

        values, ids = np.empty((len(rows), width), np.float32), np.asarray(rows, np.int64)
        take_rows(self.planes, self.scales, self.offsets, self.width, steps, ids, np.empty(GROUP, np.int32), values)
        return values


class Apart(NamedTuple):
    """Outlier columns: their inputs are far larger than all others, and they are multiplied in float32.

    Attributes
    ----------
    columns : int32 (n,)
        Ascending; the scales of these columns are 0.
    weights : float32 (n, rows)
    """

    columns: NDArray[np.int32]
    weights: NDArray[np.float32]


@dataclass(frozen=True, eq=False, repr=False)
class QuantizedLinear:
    """A linear layer with 7-bit weights.

    Attributes
    ----------
    blocks : int8 (rows / 64, columns * 64)
        Weights in the layout of `pack_blocks`.
    steps, bias : float32 (rows,)
        Step size and bias of each row.
    sums : int32 (rows,)
        Sums of the integers of each row.
    scales : float32 (columns,)
        Factors of the inputs before rounding, by which the weights were divided.
    packed : Packed or None
        The weights in their layout on disk, for fewer than 8 bits.
    apart : Apart or None
        Outlier columns, which are not quantized.
    """

    blocks: NDArray[np.int8]
    steps: NDArray[np.float32]
    bias: NDArray[np.float32]
    sums: NDArray[np.int32]
    scales: NDArray[np.float32]
    packed: Packed | None = None
    apart: Apart | None = None

    @classmethod
    def of(
        cls,
        rounded: Rounded,
        bits: Bits,
        bias: NDArray[np.float32],
        scales: NDArray[np.float32],
        apart: Apart | None = None,
    ) -> QuantizedLinear:
        """Return a linear layer with rounded weights; columns beyond `scales` are ignored."""
        integers = rounded.integers()[:, : len(scales)]
        sums = integers.sum(axis=1, dtype=np.int32)
        return cls(pack_blocks(integers), rounded.steps, bias, sums, scales, Packed.of(rounded, bits), apart)

    @property
    def bits(self) -> Bits:
        """Bits per weight on disk."""
        return 8 if self.packed is None else self.packed.bits

    @cached_property
    def integers(self) -> NDArray[np.float32]:
        """The weights in steps, float32 (rows, columns)."""
        return unpack_blocks(self.blocks, len(self.steps), len(self.scales)).astype(np.float32)

    def apply(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return outputs float32 (t, rows) for inputs float32 (t, columns)."""
        codes, low, step = quantize_rows(rows, self.scales)
        inputs, total = codes.astype(np.float32), np.zeros((len(rows), len(self.steps)), np.int64)
        for start in range(0, inputs.shape[1], EXACT_COLUMNS):
            stop = start + EXACT_COLUMNS
            total += (inputs[:, start:stop] @ self.integers[:, start:stop].T).astype(np.int64)
        unscaled = total.astype(np.float32) * step[:, None] + low[:, None] * self.sums.astype(np.float32)
        outputs = unscaled * self.steps + self.bias
        return outputs if self.apart is None else outputs + rows[:, self.apart.columns] @ self.apart.weights


@dataclass(frozen=True, eq=False, repr=False)
class TokenTable:
    """Token embeddings with few bits.

    Attributes
    ----------
    steps : float32 (tokens,)
        Step size of each row.
    codes : int8 (tokens, width) or Packed
        The rows in steps.
    """

    steps: NDArray[np.float32]
    codes: NDArray[np.int8] | Packed

    @classmethod
    def of(cls, rounded: Rounded, bits: Bits) -> TokenTable:
        return cls(rounded.steps, Packed.of(rounded, bits) or rounded.codes.view(np.int8))

    @property
    def packed(self) -> Packed | None:
        """The rows in their layout on disk, for fewer than 8 bits."""
        return self.codes if isinstance(self.codes, Packed) else None

    @property
    def bits(self) -> Bits:
        """Bits per number on disk."""
        return self.codes.bits if isinstance(self.codes, Packed) else 8

    def take(self, ids: Sequence[int], width: int) -> NDArray[np.float32]:
        """Return the embeddings float32 (t, width) of tokens."""
        if isinstance(self.codes, Packed):
            return self.codes.take(ids, self.steps, width)
        return self.codes[ids, :width].astype(np.float32) * self.steps[ids][:, None]
