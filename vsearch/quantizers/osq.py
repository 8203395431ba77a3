"""OSQ: optimized scalar quantization of rotated residuals in bit planes.

Like SQUASH it allocates bits by variance after a KLT and packs them without padding between dimensions. Unlike SQUASH,
blocks of dimensions share a grid, a random rotation within a block evens out its dimensions, and one factor per vector
corrects the length of the whole code, as in RaBitQ. See ``docs/concepts/partitions-and-planes.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import InputError
from vsearch.forking import cached_property
from vsearch.quantizers.allocation import allocate_bits, allocate_to_few
from vsearch.quantizers.gaussian import STEP
from vsearch.quantizers.klt import block_bounds, fit_klt, rotate_blocks
from vsearch.quantizers.protocol import Calibration, Encoded, Scan

MIN_BITS, MAX_BITS = 0.25, 8.0
STAGED_FROM = 2.0  # from this budget on, plane 0 is scanned first and the other planes only for survivors
CALIBRATION_PAIRS = 1 << 16


@dataclass(frozen=True, eq=False)
class OSQ:
    """A trained OSQ codec.

    Attributes
    ----------
    bits : float
        Requested average number of bits per dimension.
    rotation : float32 (d, d)
        KLT followed by the rotations within blocks.
    deltas : float32 (D,)
        Grid step of each coded dimension for a residual of norm 1; the other d - D dimensions have no bits.
    dimension_bits : int32 (D,)
        Bits of each coded dimension, non-increasing.
    calibration : Calibration
    """

    bits: float
    rotation: NDArray[np.float32]
    deltas: NDArray[np.float32]
    dimension_bits: NDArray[np.int32]
    calibration: Calibration

    name = "osq"
    scan: ClassVar[Scan] = "nibbles"

    @property
    def dimensions(self) -> int:
        return len(self.rotation)

    @cached_property
    def plane_dimensions(self) -> NDArray[np.int32]:
        """Number of leading dimensions in each plane, int32 (planes,), non-increasing."""
        planes = int(self.dimension_bits.max(initial=0))
        return np.array([np.count_nonzero(self.dimension_bits > p) for p in range(planes)], np.int32)

    @cached_property
    def plane_bytes(self) -> NDArray[np.int32]:
        """Bytes of each plane in a code, int32 (planes,): even, so that the widest register holds whole block rows."""
        return (2 * ((self.plane_dimensions + 15) // 16)).astype(np.int32)

    @cached_property
    def plane_offsets(self) -> NDArray[np.int32]:
        """First nibble of each plane, int32 (planes,)."""
        return (2 * (np.cumsum(self.plane_bytes) - self.plane_bytes)).astype(np.int32)

    @cached_property
    def code_bytes(self) -> int:
        """Bytes of one vector's code; two zero bytes if no dimension has bits."""
        return max(2, int(self.plane_bytes.sum()))

    @cached_property
    def stage_bytes(self) -> tuple[int, ...]:
        total = self.code_bytes
        if self.bits < STAGED_FROM or len(self.plane_bytes) < 2:
            return (total,)
        first = int(self.plane_bytes[0])
        return (first, total - first)

    @cached_property
    def table_scale(self) -> NDArray[np.float32]:
        """Weights of a rotated query's coded dimensions in the signed sums, float32 (D,): delta * 2^(bits - 2)."""
        return (self.deltas * np.exp2(self.dimension_bits - 2.0)).astype(np.float32)

    def encode(self, residuals: NDArray[np.float32]) -> Encoded:
        from vsearch.kernels.scan.encode import encode_planes

        residuals = np.ascontiguousarray(residuals, np.float32)
        n = len(residuals)
        codes = np.zeros((n, self.code_bytes), np.uint8)
        factors, first_factors = np.empty(n, np.float32), np.empty(n, np.float32)
        encode_planes(residuals, self.deltas, self.dimension_bits, self.plane_offsets, codes, factors, first_factors)
        if len(self.deltas) == 0:  # the estimate is 0, but its error bound is proportional to the length
            factors = np.linalg.norm(residuals, axis=1)
        return Encoded(codes, factors, first_factors if len(self.stage_bytes) == 2 else None)

    def decode(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        from vsearch.kernels.scan.encode import decode_planes

        values = np.empty((len(codes), self.dimensions), np.float32)
        decode_planes(codes, self.deltas, self.dimension_bits, self.plane_offsets, values)
        return values

    def tables(self, query: NDArray[np.float32]) -> NDArray[np.float32]:
        from vsearch.kernels.scan.tables import sign_tables

        tables = np.empty((2 * self.code_bytes, 16), np.float32)
        scaled = query[: len(self.deltas)] * self.table_scale
        sign_tables(scaled, self.plane_dimensions, self.plane_offsets, tables)
        return tables

    def configuration(self) -> dict[str, Any]:
        return {"bits": self.bits}

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        return {
            "rotation": self.rotation,
            "deltas": self.deltas,
            "dimension_bits": self.dimension_bits,
            "calibration_scale": self.calibration.scale,
            "calibration_deviation": self.calibration.deviation,
        }


def train_osq(residuals: NDArray[np.float32], bits: float, seed: int = 0, excess: float = 0.0) -> OSQ:
    """Train on residuals to the partition centroids.

    Parameters
    ----------
    residuals : float32 (n, d)
        A sample, n >= 1.
    bits : float
        Average bits per dimension, 0.25 to 8; bits that do not suffice for a whole block are left unspent.
    seed : int
        Seed of the rotations and of the calibration sample.
    excess : float
        Relative increase of the squared error that is accepted for fewer dimensions with bits.

    Raises
    ------
    InputError
        `bits` is out of range.
    """
    if not MIN_BITS <= bits <= MAX_BITS:
        msg = f"bits must be from {MIN_BITS} to {MAX_BITS:g} per dimension on average, got {bits}"
        raise InputError(msg)
    rng = np.random.default_rng(seed)
    dimensions = residuals.shape[1]
    bounds = block_bounds(dimensions)
    rotation = rotate_blocks(fit_klt(residuals).matrix, rng)
    rotated = residuals @ rotation.T
    norms = np.linalg.norm(rotated, axis=1)
    unit = rotated[norms > 0] / norms[norms > 0, None]
    squares: NDArray[np.float64] = np.full(dimensions, 1.0 / dimensions)
    if len(unit):
        squares = np.einsum("ij,ij->j", unit, unit, dtype=np.float64) / len(unit)
    variances = np.array([squares[a:b].mean() for a, b in bounds])
    widths = [b - a for a, b in bounds]
    floor = variances.max() * 1e-9  # below it, blocks contain only rounding noise
    spread, budget = np.where(variances > floor, variances, 0.0), int(bits * dimensions)
    allocated = allocate_to_few(spread, widths, budget, excess) if excess else allocate_bits(spread, widths, budget)
    dimension_bits = np.repeat(allocated, widths)
    deviations = np.repeat(np.sqrt(np.maximum(variances, floor)), widths)
    coded = dimension_bits > 0
    deltas = (STEP[dimension_bits[coded]] * deviations[coded]).astype(np.float32)
    unscaled = Calibration(np.ones(2, np.float32), np.zeros(2, np.float32))
    codec = OSQ(bits, rotation, deltas, dimension_bits[coded].astype(np.int32), unscaled)
    return replace(codec, calibration=calibrate(codec, rotated, rng))


def calibrate(codec: OSQ, rotated: NDArray[np.float32], rng: np.random.Generator) -> Calibration:
    """Measure the scale and error deviation of each stage, from estimates between rows of the sample."""
    stages = len(codec.stage_bytes)
    queries = rotated[rng.choice(len(rotated), min(64, len(rotated)), replace=False)]
    rows = rotated[rng.choice(len(rotated), min(CALIBRATION_PAIRS // 64, len(rotated)), replace=False)]
    peak = np.float32(max(np.abs(rows).max(), np.abs(queries).max(), 1e-30))
    queries, rows = queries / peak, rows / peak  # estimates are homogeneous; squares must not overflow or underflow
    encoded = codec.encode(rows)
    true = queries @ rows.T
    norms = np.linalg.norm(queries, axis=1)[:, None]
    scale, deviation = np.ones(stages, np.float32), np.zeros(stages, np.float32)
    values = codec.decode(encoded.codes)
    for stage in range(stages):
        last = stage == stages - 1
        factors = encoded.factors if last or encoded.first_factors is None else encoded.first_factors
        grid = (
            values if last else np.sign(values) * np.pad(codec.table_scale, (0, codec.dimensions - len(codec.deltas)))
        )
        estimate = (queries @ grid.T) * factors
        aligned = float(np.sum(true * true))
        if aligned > 0:
            slope = float(np.sum(estimate * true)) / aligned
            scale[stage] = 1.0 / slope if slope > 0.1 else 1.0
        usable = (factors[None, :] > 0) & (norms > 0)
        if usable.any():
            error = (true - scale[stage] * estimate)[usable] / (factors[None, :] * norms)[usable]
            deviation[stage] = np.sqrt(np.mean(error**2, dtype=np.float64))
    return Calibration(scale, deviation)


def load_osq(configuration: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> OSQ:
    """Restore a trained OSQ from the results of `configuration` and `arrays`.

    Raises
    ------
    ValueError
        They are inconsistent: a kernel would read or write outside its arrays.
    """
    codec = OSQ(
        float(configuration["bits"]),
        np.asarray(arrays["rotation"], np.float32),
        np.asarray(arrays["deltas"], np.float32),
        np.asarray(arrays["dimension_bits"]),
        Calibration(
            np.asarray(arrays["calibration_scale"], np.float32),
            np.asarray(arrays["calibration_deviation"], np.float32),
        ),
    )
    shape = codec.rotation.shape
    if len(shape) != 2 or shape[0] != shape[1]:
        msg = f"the rotation must be square, got the shape {shape}"
        raise ValueError(msg)
    return check_planes(codec, shape[0])


def check_planes(codec: OSQ, dimensions: int) -> OSQ:
    """Check all of a codec but its rotation; return it with bits of the type that kernels read.

    Raises
    ------
    ValueError
        Something is inconsistent: a kernel would read or write outside its arrays.
    """
    bits = codec.dimension_bits
    if not MIN_BITS <= codec.bits <= MAX_BITS:
        msg = f"bits must be from {MIN_BITS} to {MAX_BITS:g}, got {codec.bits}"
        raise ValueError(msg)
    if codec.deltas.ndim != 1 or len(codec.deltas) > dimensions or not (codec.deltas > 0).all():
        msg = "deltas must be positive, at most one per dimension"
        raise ValueError(msg)
    wrong = bits.shape != codec.deltas.shape or bits.dtype.kind not in "iu"
    if wrong or bits.min(initial=1) < 1 or bits.max(initial=1) > MAX_BITS or (np.diff(bits.astype(np.int64)) > 0).any():
        msg = "dimension_bits must be non-increasing integers from 8 to 1, one per delta"
        raise ValueError(msg)
    codec = replace(codec, dimension_bits=bits.astype(np.int32))
    scale, deviation = codec.calibration.scale, codec.calibration.deviation
    stages = (len(codec.stage_bytes),)
    if scale.shape != stages or deviation.shape != stages or not (scale > 0).all() or not (deviation >= 0).all():
        msg = f"the calibration must have a positive scale and a non-negative deviation for each of {stages[0]} stages"
        raise ValueError(msg)
    return codec
