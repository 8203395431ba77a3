"""PQ: product quantization, with or without the learned rotation of OPQ.

A residual is split into equal parts and each part is replaced by the nearest of 16 or 256 centroids. Two things are
added to the textbook form: one factor per vector corrects the length of the whole code, as in OSQ, and codes of 16
centroids are padded for the nibble scan. Centroids may be trained further for ranking (`vsearch.jpq`) without changing
the codes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import InputError
from vsearch.forking import cached_property, with_threads_of_its_own
from vsearch.quantizers.kmeans import import_faiss
from vsearch.quantizers.protocol import Calibration, Encoded, Scan
from vsearch.quantizers.record import Forecast, QuantizerRecord, TrainingRows

NIBBLE, BYTE = 16, 256  # centroids of a sub-quantizer with codes of 4 and 8 bits
LARGEST_FACTOR = 4.0  # stretching a code that is nearly orthogonal to its vector further would only add noise
OPQ_ROWS = 1 << 14
OPQ_ITERATIONS = 6
CALIBRATION_QUERIES, CALIBRATION_ROWS = 64, 1024
TRAINING_ROWS = 1 << 16  # k-means with many centroids needs more rows than a KLT does


@dataclass(frozen=True)
class PQ:
    """Options of product quantization; pass it as `quantizer` to `vsearch.build`.

    Attributes
    ----------
    subquantizers : int
        Number of parts of a vector; must divide its dimensions.
    centroids : {256, 16}
        Centroids of each part, which is encoded in a byte or half a byte.
    rotation : bool
        Whether to rotate the vectors first to minimize the quantization error (OPQ).
    """

    subquantizers: int = 48
    centroids: int = BYTE
    rotation: bool = True

    def __post_init__(self) -> None:
        parts = self.subquantizers
        if isinstance(parts, bool) or not isinstance(parts, (int, np.integer)) or not 1 <= parts <= 65536:
            raise InputError(f"subquantizers must be an integer from 1 to 65536, got {parts!r}")
        if self.centroids not in (NIBBLE, BYTE) or isinstance(self.centroids, bool):
            raise InputError(f"centroids must be 256 (one byte per part) or 16 (half a byte), got {self.centroids!r}")
        if not isinstance(self.rotation, (bool, np.bool_)):
            raise InputError(f"rotation must be True (OPQ) or False, got {self.rotation!r}")

    def check(self, dimensions: int) -> None:
        """Reject dimensions that the number of sub-quantizers does not divide.

        Raises
        ------
        InputError
            The sub-quantizers do not divide the dimensions.
        """
        if dimensions % self.subquantizers:
            divisors = ", ".join(str(m) for m in _divisors(dimensions))
            raise InputError(
                f"subquantizers must divide the {dimensions} dimensions, got {self.subquantizers}; "
                f"use one of {divisors}"
            )

    @property
    def code_bytes(self) -> int:
        """Bytes of one vector's code as stored."""
        return self.subquantizers if self.centroids == BYTE else 2 * (-(-self.subquantizers // 4))

    def forecast(self, dimensions: int) -> Forecast:
        """Forecast the size of the codes."""
        scan: Scan = "bytes" if self.centroids == BYTE else "nibbles"
        return Forecast(scan, self.code_bytes, 2, self.centroids * dimensions)

    def train(self, rows: TrainingRows, seed: int) -> ProductQuantizer:
        """Train on the residuals of a sample."""
        return train_pq(rows.residuals, self, seed)


def spec_from_bits(bits: float, dimensions: int) -> PQ:
    """Return the PQ of 256 centroids with the most parts that divide the dimensions, at most `bits` per dimension."""
    return PQ(max(m for m in _divisors(dimensions) if m <= max(1.0, bits * dimensions / 8)))


def _divisors(number: int) -> list[int]:
    return [m for m in range(1, number + 1) if number % m == 0]


@dataclass(frozen=True, eq=False)
class ProductQuantizer:
    """A trained PQ codec.

    Attributes
    ----------
    rotation : float32 (d, d)
        Orthogonal; the identity without OPQ.
    centroids : float32 (subquantizers, 16 or 256, d / subquantizers)
    calibration : Calibration
        One stage, with scale 1.
    """

    rotation: NDArray[np.float32]
    centroids: NDArray[np.float32]
    calibration: Calibration

    name = "pq"

    @property
    def scan(self) -> Scan:
        return "bytes" if self.centroids.shape[1] == BYTE else "nibbles"

    @property
    def dimensions(self) -> int:
        return len(self.rotation)

    @property
    def spec(self) -> PQ:
        """The options that it was trained with; `rotation` is whether the rotation is not the identity."""
        rotated = not np.array_equal(self.rotation, np.eye(self.dimensions, dtype=np.float32))
        return PQ(self.centroids.shape[0], self.centroids.shape[1], rotated)

    @cached_property
    def stage_bytes(self) -> tuple[int, ...]:
        return (PQ(*self.centroids.shape[:2]).code_bytes,)

    def encode(self, residuals: NDArray[np.float32], /) -> Encoded:
        residuals = np.ascontiguousarray(residuals, np.float32)
        numbers = self.nearest(residuals)
        values = self.look_up(numbers)
        squares = np.einsum("ij,ij->i", residuals, residuals)
        along = np.einsum("ij,ij->i", residuals, values)
        usable = along > 0
        factors = np.divide(squares, along, out=np.zeros_like(squares), where=usable)
        return Encoded(self.pack(numbers), np.minimum(factors, np.float32(LARGEST_FACTOR)), None)

    def nearest(self, residuals: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return the number of the nearest centroid of every part, uint8 (n, subquantizers). O(n * centroids * d)."""
        parts, _, width = self.centroids.shape
        halves = np.einsum("mcj,mcj->mc", self.centroids, self.centroids) / 2
        numbers = np.empty((len(residuals), parts), np.uint8)
        for part in range(parts):
            inner = residuals[:, part * width : (part + 1) * width] @ self.centroids[part].T
            numbers[:, part] = np.argmax(inner - halves[part], axis=1)
        return numbers

    def decode(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self.look_up(self.unpack(codes))

    def look_up(self, numbers: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the concatenated centroids, float32 (n, d), of centroid numbers, uint8 (n, subquantizers)."""
        parts = len(self.centroids)
        return self.centroids[np.arange(parts), numbers].reshape(len(numbers), self.dimensions)

    def pack(self, numbers: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Pack centroid numbers, uint8 (n, subquantizers), into codes, uint8 (n, code_bytes)."""
        if self.scan == "bytes":
            return numbers
        padded = np.zeros((len(numbers), 2 * self.stage_bytes[0]), np.uint8)
        padded[:, : numbers.shape[1]] = numbers
        return np.bitwise_or(padded[:, ::2], padded[:, 1::2] << np.uint8(4), dtype=np.uint8)

    def unpack(self, codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Unpack codes into centroid numbers, uint8 (n, subquantizers)."""
        if self.scan == "bytes":
            return codes
        nibbles = np.stack([codes & 15, codes >> 4], axis=2).reshape(len(codes), 2 * codes.shape[1])
        return np.ascontiguousarray(nibbles[:, : len(self.centroids)])

    def tables(self, query: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute inner products of a rotated query and the centroids: (code_bytes, 256) or (2 * code_bytes, 16)."""
        parts, count, width = self.centroids.shape
        inner = np.matmul(self.centroids, query.reshape(parts, width, 1))[:, :, 0]
        if self.scan == "bytes":
            return inner
        tables = np.zeros((2 * self.stage_bytes[0], count), np.float32)
        tables[:parts] = inner
        return tables

    def configuration(self) -> dict[str, Any]:
        spec = self.spec
        bits = spec.subquantizers * (8 if spec.centroids == BYTE else 4) / self.dimensions
        return {
            "subquantizers": spec.subquantizers,
            "centroids": spec.centroids,
            "rotation": spec.rotation,
            "bits": round(bits, 4),
        }

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        return {
            "rotation": self.rotation,
            "centroids": self.centroids,
            "calibration_scale": self.calibration.scale,
            "calibration_deviation": self.calibration.deviation,
        }


@with_threads_of_its_own
def train_pq(residuals: NDArray[np.float32], spec: PQ, seed: int = 0) -> ProductQuantizer:
    """Train on residuals to the partition centroids, with FAISS.

    Parameters
    ----------
    residuals : float32 (n, d)
        A sample, n >= 1.
    spec : PQ
    seed : int

    Raises
    ------
    InputError
        The sub-quantizers do not divide the dimensions.
    """
    faiss = import_faiss()
    dimensions, parts = residuals.shape[1], spec.subquantizers
    spec.check(dimensions)
    if len(residuals) < spec.centroids:  # faiss needs at least as many rows as centroids
        residuals = np.resize(residuals, (spec.centroids, dimensions))
    residuals = np.ascontiguousarray(residuals, np.float32)

    def quantizer() -> Any:
        untrained = faiss.ProductQuantizer(dimensions, parts, 8 if spec.centroids == BYTE else 4)
        untrained.cp.seed, untrained.cp.min_points_per_centroid = seed + 1, 1
        return untrained

    rotation = np.eye(dimensions, dtype=np.float32)
    if spec.rotation and parts < dimensions:
        step = -(-len(residuals) // OPQ_ROWS)
        transform = faiss.OPQMatrix(dimensions, parts)
        transform.niter, transform.pq = OPQ_ITERATIONS, (inner := quantizer())
        transform.train(np.ascontiguousarray(residuals[::step]))
        rotation = faiss.vector_to_array(transform.A).reshape(dimensions, dimensions).astype(np.float32)
        transform.pq = None
        del inner
    rotated = np.ascontiguousarray(residuals @ rotation.T)
    trained = quantizer()
    trained.train(rotated)
    centroids = faiss.vector_to_array(trained.centroids).reshape(parts, spec.centroids, dimensions // parts)
    uncalibrated = Calibration(np.ones(1, np.float32), np.zeros(1, np.float32))
    codec = ProductQuantizer(rotation, np.ascontiguousarray(centroids, np.float32), uncalibrated)
    return ProductQuantizer(rotation, codec.centroids, calibrate(codec, rotated, np.random.default_rng(seed)))


def calibrate(codec: ProductQuantizer, rotated: NDArray[np.float32], rng: np.random.Generator) -> Calibration:
    """Measure the deviation of the error on the sample; the scale stays 1, as training may change the centroids."""
    queries = rotated[rng.choice(len(rotated), min(CALIBRATION_QUERIES, len(rotated)), replace=False)]
    rows = rotated[rng.choice(len(rotated), min(CALIBRATION_ROWS, len(rotated)), replace=False)]
    encoded = codec.encode(rows)
    error = queries @ (rows - encoded.factors[:, None] * codec.decode(encoded.codes)).T
    unit = np.linalg.norm(queries, axis=1)[:, None] * encoded.factors[None, :]
    usable = unit > 0
    deviation = np.sqrt(np.mean((error[usable] / unit[usable]) ** 2, dtype=np.float64)) if usable.any() else 0.0
    return Calibration(np.ones(1, np.float32), np.array([deviation], np.float32))


def load_pq(configuration: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> ProductQuantizer:
    """Restore a trained codec from the results of `configuration` and `arrays`.

    Raises
    ------
    ValueError
        They are inconsistent.
    """
    rotation = np.asarray(arrays["rotation"], np.float32)
    centroids = np.ascontiguousarray(arrays["centroids"], np.float32)
    scale, deviation = (np.asarray(arrays[f"calibration_{k}"], np.float32) for k in ("scale", "deviation"))
    shape = (int(configuration["subquantizers"]), int(configuration["centroids"]))
    if centroids.ndim != 3 or centroids.shape[:2] != shape or shape[1] not in (NIBBLE, BYTE):
        raise ValueError(
            f"the centroids must have the shape (subquantizers, {NIBBLE} or {BYTE}, n), got {centroids.shape}"
        )
    if rotation.shape != (centroids.shape[0] * centroids.shape[2],) * 2:
        raise ValueError("the centroids do not match the rotation")
    if scale.shape != (1,) or deviation.shape != (1,):
        raise ValueError("the calibration must have one stage")
    if not (scale > 0).all() or not (deviation >= 0).all():
        raise ValueError("the calibration must have a positive scale and a non-negative deviation")
    return ProductQuantizer(rotation, centroids, Calibration(scale, deviation))


RECORD = QuantizerRecord(
    "pq",
    spec_from_bits,
    load_pq,
    options_type=PQ,
    rerank=None,  # reranking by exact scores would undo what training for ranking learns
    least_rows=TRAINING_ROWS,
)
