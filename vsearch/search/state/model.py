"""What a search has to know of an index besides its shards: transform, centroids, codec and settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.errors import CorruptIndexError, InputError
from vsearch.metrics import LARGEST_ELEMENT, Metric, normalise, unbounded
from vsearch.quantizers.protocol import Quantizer
from vsearch.quantizers.rerank_codes import Rerank, lie_far_apart, rotate_widely
from vsearch.search.state.packed_centroids import CoarseCentroids, encode_centroids
from vsearch.search.state.packed_rotation import WordRotation, encode_rotation
from vsearch.storage import SettingsEntry

APART = 30.0  # as `rerank_codes.FAR`: half of the partitions at least
DEFAULT_TAIL = 3.5
"""Standard deviations; of Gaussian values one of 4,300 lies beyond it. Of indexes that were tuned before there was a tail."""


@dataclass(frozen=True)
class SearchSettings:
    """How hard a search tries; `tune` finds and stores them.

    Attributes
    ----------
    reach : float
        A partition is skipped when a row that lies `reach` radii from its centroid towards the query would still score
        below the k-th best found. Larger visits more partitions.
    decay : float
        How much the reach falls with every e-fold of rows in partitions that are nearer: the more of these there are, the
        less likely a row of the partition is among the best.
    margin : float
        Error allowed to an estimate, in standard deviations. Larger reranks more rows.
    tail : float
        How far the scores of rows that have nothing to do with the query scatter above their partition's, in standard
        deviations: what is left of the reach is no less than that. It counts under filters, which may exclude all that is
        near, and for queries far from all rows.
    familiar : float or None
        Queries are far from all rows whose nearest centroid is less near than this (`kernels.query.route.nearness`, in units of
        `nearness_unit`); all are if it is None.
    recall : float or None
        What a `tune` measured with them, None where nobody has.
    foreign_recall : float or None
        The lowest that it measured for queries unlike the rows, and under filters.
    k : int or None
        How many neighbours it measured with.
    target : float or None
        The recall that it was to reach.
    """

    reach: float = 0.6
    margin: float = 2.5
    decay: float = 0.0
    recall: float | None = None
    tail: float = DEFAULT_TAIL
    familiar: float | None = None
    foreign_recall: float | None = None
    k: int | None = None
    target: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def to_entry(self) -> SettingsEntry:
        """What a manifest stores of them."""
        return SettingsEntry(**asdict(self))

    @classmethod
    def from_entry(cls, stored: SettingsEntry) -> SearchSettings:
        """Settings of a manifest; it may be of an earlier version, which stored fewer."""
        return cls(**msgspec.to_builtins(stored))

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> SearchSettings:
        """Settings as `to_dict` gave them, maybe in a later version: fields that are not known here are passed over.

        Raises
        ------
        CorruptIndexError
            One that is known is no number, or none that it can be.
        """
        try:
            return cls.from_entry(msgspec.convert(stored, SettingsEntry))
        except msgspec.ValidationError as error:
            raise CorruptIndexError("manifest", f"the search settings are not understood: {error}") from None


@dataclass(frozen=True, eq=False)
class Model:
    """The part of an index that all shards share.

    Attributes
    ----------
    metric : {"cosine", "ip", "l2"}
    mean : float32 (d,)
        Subtracted from vectors and queries under l2; zero otherwise.
    quantizer : Quantizer
        Its rotation applies to vectors, centroids and queries alike.
    centroids : float32 (partitions, d)
        Rotated.
    centroid_squares : float32 (partitions,)
    rerank : {"int8", "float16", "float32"} or None
    rerank_weights : float32 (d,)
        Weights of the int8 codes' dimensions.
    adapter : float32 (d, d) or None
        Learnt transform of normalised or centred queries (`vsearch.jpq`): ``adapter @ query``, before the rotation.
    half_centroids : float16 (partitions, d) or None
        The centroids where they are stored so: the same numbers in half the bytes.
    numbers : int32 (partitions,) or None
        What deltas call the partitions, for good, whatever place a split gave them since; None where that is their place.
    """

    metric: Metric
    mean: NDArray[np.float32]
    quantizer: Quantizer
    centroids: NDArray[np.float32]
    centroid_squares: NDArray[np.float32]
    rerank: Rerank | None
    rerank_weights: NDArray[np.float32]
    adapter: NDArray[np.float32] | None = None
    half_centroids: NDArray[np.float16] | None = None
    numbers: NDArray[np.int32] | None = None

    def numbers_of(self, partitions: NDArray[np.int32]) -> NDArray[np.int32]:
        """The numbers of partitions."""
        return partitions if self.numbers is None else self.numbers[partitions]

    def partitions_of(self, numbers: NDArray[np.int32]) -> NDArray[np.int32]:
        """The partitions of numbers; -1 for a number that none has."""
        if self.numbers is None:
            return np.where((numbers >= 0) & (numbers < len(self.centroids)), numbers, np.int32(-1))
        order = np.argsort(self.numbers).astype(np.int32)
        at = order[np.minimum(np.searchsorted(self.numbers, numbers, sorter=order), len(order) - 1)]
        return np.where(self.numbers[at] == numbers, at, np.int32(-1))

    def with_centroids(self, centroids: NDArray[np.float32], numbers: NDArray[np.int32]) -> Model:
        """The same model with other partitions."""
        return replace(
            self,
            centroids=centroids,
            centroid_squares=np.einsum("ij,ij->i", centroids, centroids),
            half_centroids=None if self.half_centroids is None else centroids.astype(np.float16),
            numbers=numbers,
        )

    @property
    def dimensions(self) -> int:
        return len(self.mean)

    @cached_property
    def variances(self) -> NDArray[np.float32]:
        """Each rotated dimension's share of the residuals' variance, float32 (d,)."""
        variances = self.rerank_weights.astype(np.float64) ** 4  # see `dimension_weights`
        return (variances / variances.sum()).astype(np.float32)

    @cached_property
    def least_deviation(self) -> float:
        """Under l2 the `deviations` of an offset that is like a residual; 0 otherwise, where the query itself counts."""
        return float(np.linalg.norm(self.variances)) if self.metric == "l2" else 0.0

    @cached_property
    def far_apart(self) -> bool:
        """Whether partitions under l2 lie so far from the mean that their rows' distances are small beside it.

        Then distances are made of differences, of queries that are rotated in full: products with what is far lose digits.
        """
        return self.metric == "l2" and lie_far_apart(self.centroid_squares, self.rerank_weights)

    @cached_property
    def exact_bases(self) -> bool:
        """Whether most partitions are so far apart that 8 bits cannot tell which of a cluster's is the nearest."""
        if not self.far_apart or self.half_centroids is not None:
            return False
        return lie_far_apart(np.sort(self.centroid_squares)[: len(self.centroids) // 2 + 1], self.rerank_weights, APART)

    def deviations(self, queries: NDArray[np.float32]) -> NDArray[np.float32]:
        """`kernels.query.route.relative_deviation` of prepared queries (m, d): float32 (m,)."""
        squares = np.einsum("ij,ij->i", queries, queries)
        own = np.sqrt((queries * queries) @ self.variances / np.maximum(squares, np.finfo(np.float32).tiny))
        return np.maximum(own, np.float32(self.least_deviation))

    @cached_property
    def coarse_centroids(self) -> CoarseCentroids:
        """The centroids as routing reads them."""
        return encode_centroids(self.centroids)

    @cached_property
    def word_rotation(self) -> WordRotation:
        """`query_transform` in 16-bit words."""
        return encode_rotation(self.query_transform)

    @cached_property
    def query_transform(self) -> NDArray[np.float32]:
        """Rotation of the queries, float32 (d, d), the adapter folded in: it costs a query nothing."""
        rotation = self.quantizer.rotation
        return rotation if self.adapter is None else np.ascontiguousarray(rotation @ self.adapter)


def check_queries(queries: Any, dimensions: int, metric: Metric | None = None) -> NDArray[np.float32]:
    """Queries as float32 (m, d), or an error that says what is wrong with them.

    Callers who do not know the metric give None: then all finite numbers are taken, and `check_magnitudes` is for later.
    """
    if (
        type(queries) is np.ndarray
        and queries.dtype == np.float32
        and queries.shape in ((dimensions,), (1, dimensions))
    ):
        one = queries.ravel()
        with np.errstate(over="ignore"):
            square = one.dot(one)
        if square <= LARGEST_ELEMENT**2:  # so no element is beyond it
            return one[None, :]
    try:
        array = np.asarray(queries)
    except ValueError:
        msg = f"queries of unlike lengths: give an array of the shape (queries, {dimensions})"
        raise InputError(msg) from None
    if array.dtype.kind not in "fiu":
        msg = f"queries must be numbers, got {array.dtype}"
        raise InputError(msg)
    if array.ndim == 1:
        array = array[None, :]
    if array.ndim != 2 or array.shape[1] != dimensions:
        msg = f"queries must have the shape (queries, {dimensions}) or ({dimensions},), got {np.shape(queries)}"
        raise InputError(msg)
    if array.dtype != np.float32:
        if metric == "cosine" and array.dtype == np.float64:
            array = _within_float32(array)
        with np.errstate(over="ignore"):
            array = array.astype(np.float32)
    array = np.ascontiguousarray(array)
    if not np.isfinite(array).all():
        bad = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
        msg = f"query {bad} holds NaN or infinity, or a number beyond float32; remove it or mend the encoder"
        raise InputError(msg)
    if metric is not None:
        check_magnitudes(array, metric)
    return array


def _within_float32(queries: NDArray[np.float64]) -> NDArray[np.float64]:
    """Queries (m, d) at lengths that float32 holds: only their directions count."""
    largest = np.abs(queries).max(axis=1, initial=0, keepdims=True)
    outside = np.isfinite(largest) & (largest > 0) & ((largest < 1e-30) | (largest > 1e30))
    return queries / np.where(outside, largest, 1) if outside.any() else queries


def check_magnitudes(queries: NDArray[np.float32], metric: Metric) -> None:
    """Refuse queries (m, d) with numbers whose squares a metric would have to add up in float32, and could not."""
    bad = unbounded(queries, metric)
    if bad is not None:
        msg = (
            f"query {bad[0]} holds {float(queries[bad]):g}, a number beyond {LARGEST_ELEMENT:g}: "
            f"{metric} adds up squares, which must fit float32; scale vectors and queries"
        )
        raise InputError(msg)


def plain_queries(model: Model, queries: NDArray[np.float32]) -> NDArray[np.float32]:
    """Normalise or centre checked queries float32 (m, d), as the metric asks."""
    if model.metric == "cosine":
        return normalise(queries)
    return queries - model.mean if model.metric == "l2" else queries


def prepare_queries(model: Model, queries: NDArray[np.float32]) -> NDArray[np.float32]:
    """Normalise, centre, adapt and rotate checked queries: float32 (m, d). O(m d^2)."""
    plain = plain_queries(model, queries)
    if model.far_apart:
        return rotate_widely(plain, model.query_transform)
    return np.ascontiguousarray(plain @ model.query_transform.T)


def nearness_unit(model: Model, radii: NDArray[np.float32]) -> float:
    """What `kernels.query.route.nearness` is measured in, so that settings do not depend on the unit of the vectors."""
    if model.metric == "cosine":
        return 1.0
    square = float(np.mean(np.square(radii, dtype=np.float64)))
    return (square if model.metric == "l2" else square**0.5) or 1.0
