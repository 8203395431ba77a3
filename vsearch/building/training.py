"""Train everything in an index that is learned from a sample of its vectors."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vsearch.building.partitioning import assign, split_loose, train_centroids
from vsearch.errors import InputError
from vsearch.metrics import HAMMING, METRICS, Metric, normalize
from vsearch.quantizers.protocol import Quantizer
from vsearch.quantizers.record import QuantizerRecord, Specification, TrainingRows
from vsearch.quantizers.registry import RECORDS, find_quantizer
from vsearch.quantizers.rerank_codes import KINDS, dimension_weights
from vsearch.quantizers.rotating import rotate_vectors

OUTLYING = (
    100.0  # mean over median of the squared distances to the mean, above which a few rows pull it away from the others
)
EXACT_KINDS = ("float16", "float32")
HALF_BITS = 1024
"""Bits up to which distances to residuals in float16 are less than half a bit off: 2 x sqrt(bits) x (sqrt(bits) / 2) x 2^-11."""

MEDIAN_ROWS = 4096
TRAINING_ROWS = 1 << 16  # the covariance of 1,536 dimensions converges with far fewer rows


@dataclass(frozen=True)
class BuildOptions:
    """Validated options of `vsearch.build`.

    Attributes
    ----------
    metric : {"cosine", "ip", "l2"}
        "hamming" becomes "l2", with `bitwise`.
    quantizer : str or Specification
        The name of one of `vsearch.quantizers.registry.RECORDS`, or a specification such as `vsearch.PQ`.
    bits : float
        Average bits per dimension of the codes that are scanned; ignored with a specification.
    rerank : {"int8", "float16", "float32"} or None
        "auto" is resolved here, to the default of the quantizer's record.
    partitions, shards : int or None
        None for the default.
    seed : int
    spill : bool or "auto"
        Whether rows have copies in second partitions; "auto" is resolved by `vsearch.api.built`.
    bitwise : bool
        Whether vectors are zeros and ones, whose distances are whole numbers. Rerank codes are then "float16" or "float32"; "auto" is
        resolved by `sized`.
    """

    metric: Metric = "cosine"
    quantizer: str | Specification = "osq"
    bits: float = 1.0
    rerank: str | None = "auto"
    partitions: int | None = None
    shards: int | None = None
    seed: int = 0
    spill: bool | str = False
    bitwise: bool = False

    def __post_init__(self) -> None:
        record = find_quantizer(self.quantizer)
        metric: str = self.metric
        if metric == HAMMING:
            object.__setattr__(self, "metric", "l2")
            object.__setattr__(self, "bitwise", True)
        elif self.rerank == "auto" and record is not None and not self.bitwise:
            object.__setattr__(self, "rerank", record.rerank)
        for option, value, allowed in (
            ("metric", metric, (*METRICS, HAMMING)),
            ("quantizer", self.quantizer if record is None else record.name, tuple(RECORDS)),
            ("rerank", self.rerank, ("auto", *EXACT_KINDS) if self.bitwise else (*KINDS, None)),
        ):
            if value not in allowed:
                listed = ", ".join(str(a) for a in allowed)
                msg = f"{option} must be one of {listed}, got {value!r}"
                if value == "jaccard":
                    msg += "; build with metric='hamming' and rerank hits by their numbers of ones, as docs/semantics.md shows"
                if option == "rerank" and self.bitwise:
                    msg += ", since distances of bits are exact"
                raise InputError(msg)
        if self.metric not in self.record.metrics:
            raise InputError(self.record.refusal)
        if isinstance(self.bits, bool) or not isinstance(self.bits, (int, float)) or not 0.25 <= self.bits <= 8:
            msg = f"bits must be an average of 0.25 to 8 bits per dimension, got {self.bits!r}"
            raise InputError(msg)
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**31 - 1:
            msg = f"seed must be an integer from 0 to {2**31 - 2}, got {self.seed!r}"
            raise InputError(msg)
        if not isinstance(self.spill, bool) and self.spill != "auto":
            raise InputError(f'spill must be True, False or "auto", got {self.spill!r:.100}')
        refusal = self._spill_refusal()
        if refusal is not None:
            if self.spill is True:
                raise InputError(refusal)
            object.__setattr__(self, "spill", False)

    def _spill_refusal(self) -> str | None:
        """Why rows cannot have copies in second partitions, or None."""
        if self.rerank is None:
            return "spill=True needs rerank codes, by which both copies of a row get the same score: pass rerank="
        if self.record.name == "osq-lloyd":
            return "spill=True is not supported by the quantizer osq-lloyd, whose codes do not depend on partitions"
        return None

    @property
    def stored_metric(self) -> str:
        """The metric that users see."""
        return HAMMING if self.bitwise else self.metric

    def sized(self, dimensions: int) -> BuildOptions:
        """Return the options for vectors with this many dimensions, with rerank codes that make distances of bits exact."""
        if self.rerank != "auto":
            return self
        return replace(self, rerank="float16" if dimensions <= HALF_BITS else "float32")

    @property
    def record(self) -> QuantizerRecord:
        """The registered properties of the quantizer."""
        record = find_quantizer(self.quantizer)
        if record is None:
            raise InputError(f"no quantizer is named {self.quantizer!r}")
        return record

    def specification(self, dimensions: int) -> Specification:
        """The specification to train for vectors with this many dimensions.

        Raises
        ------
        InputError
            The quantizer does not support this number of dimensions.
        """
        requested = self.quantizer
        specification = self.record.from_bits(self.bits, dimensions) if isinstance(requested, str) else requested
        specification.check(dimensions)
        return specification


@dataclass(frozen=True, eq=False)
class Trained:
    """Trained state: centroids float32 (partitions, d), minus the mean and not rotated; codec; mean and rerank weights (d,)."""

    centroids: NDArray[np.float32]
    quantizer: Quantizer
    mean: NDArray[np.float32]
    rerank_weights: NDArray[np.float32]


def prepare_vectors(vectors: NDArray[np.generic], metric: Metric, mean: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convert vectors of any stored dtype to float32: normalized for cosine, minus the mean for l2.

    Some distances are computed as differences of squares: subtracting the mean first keeps these small for data far from the origin.
    """
    floats = np.ascontiguousarray(vectors, np.float32)
    if metric == "cosine":
        return normalize(floats)
    return floats - mean if metric == "l2" else floats


def choose_mean(sample: NDArray[np.generic], metric: Metric) -> NDArray[np.float32]:
    """The vector subtracted from all vectors, float32 (d,): about the mean of a sample (n, d) under l2, 0 otherwise.

    If a few rows lie so far out that they pull the mean away from the others, the median is used. The result is rounded to
    the spacing of the largest numbers, so that subtracting it loses no precision.
    """
    if metric != "l2":
        return np.zeros(sample.shape[1], np.float32)
    floats = np.ascontiguousarray(sample, np.float32)
    mean = floats.mean(axis=0, dtype=np.float64)
    sampled_rows = floats[:: max(1, -(-len(floats) // MEDIAN_ROWS))]
    squares = np.square(sampled_rows - mean).sum(axis=1)
    if squares.mean() > OUTLYING * np.sort(squares)[len(squares) // 2]:
        mean = np.sort(sampled_rows, axis=0)[len(sampled_rows) // 2].astype(np.float64)
    steps = np.spacing(np.abs(floats).max(axis=0)).astype(np.float64)
    return np.asarray(np.rint(mean / steps) * steps, np.float32)


def train_quantizer(
    sample: NDArray[np.float32], centroids: NDArray[np.float32], mean: NDArray[np.float32], options: BuildOptions
) -> Trained:
    """Train the codec on the residuals of prepared vectors (n, d) to their centroids."""
    step = max(1, len(sample) // TRAINING_ROWS)
    sample = sample[::step]
    residuals = sample - centroids[assign(sample, centroids)]
    specification = options.specification(sample.shape[1])
    quantizer = specification.train(TrainingRows(sample, residuals), options.seed)
    rotated = np.asarray(rotate_vectors(quantizer, residuals), np.float32)
    return Trained(centroids, quantizer, mean, dimension_weights(rotated))


def train(sample: NDArray[np.float32], partitions: int, options: BuildOptions) -> NDArray[np.float32]:
    """Train centroids float32 (partitions', d) on prepared vectors."""
    centroids = train_centroids(sample, partitions, options.seed)
    return split_loose(sample, centroids, options.seed)
