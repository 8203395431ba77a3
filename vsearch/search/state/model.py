"""The parts of an index that all shards share: transform, centroids, codec and search settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from vsearch.bits import as_bits
from vsearch.errors import CorruptIndexError, InputError
from vsearch.forking import cached_property
from vsearch.metrics import HAMMING, LARGEST_ELEMENT, Metric, normalize, unbounded
from vsearch.quantizers.protocol import Projected, Quantizer
from vsearch.quantizers.rerank_codes import Rerank, lie_far_apart, rotate_widely
from vsearch.quantizers.rotating import projected, rotate_vectors
from vsearch.search.state.packed_centroids import CoarseCentroids, encode_centroids
from vsearch.search.state.packed_rotation import WordRotation, encode_rotation
from vsearch.search.state.regions import RegionTable
from vsearch.storage import SettingsEntry

APART = 30.0
"""Like `rerank_codes.FAR`, for at least half of the partitions."""

NEARLY_ORTHOGONAL = 1e-2
"""Largest entry by which a random vector may change when it is rotated and back."""

RERANK_BYTES = {None: 0, "int8": 1, "float16": 2, "float32": 4}
"""Bytes per dimension of the rerank codes."""

DEFAULT_TAIL = 3.5
"""Standard deviations, which one in 4,300 Gaussian values exceeds; for indexes tuned by versions without this setting."""


@dataclass(frozen=True)
class SearchSettings:
    """The settings of the early stop; `tune` finds and stores them.

    Attributes
    ----------
    radius_factor : float
        A partition is skipped if a row that lies this many radii from its centroid, in the direction of the query, would
        score below the k-th best score so far. Larger values visit more partitions.
    radius_decay : float
        Decrease of the radius factor with every e-fold of rows in closer partitions: the more of these there are, the
        less likely a row of the partition is among the best.
    error_sigmas : float
        The error allowed for an estimate, in standard deviations. Larger values rerank more rows.
    tail : float
        Lower limit of the decreased radius factor, in standard deviations of the scores of unrelated rows. It matters
        under filters that exclude nearby rows, and for queries far from all rows.
    familiar : float or None
        Nearness to a centroid (`kernels.query.route.nearness`, in units of `nearness_unit`) below which a query counts as
        far from all rows; if None, all queries do.
    recall : float or None
        The recall that `tune` measured; None if it was not measured.
    foreign_recall : float or None
        The lowest recall measured for queries unlike the rows and under filters.
    k : int or None
        Number of neighbors that the recall was measured with.
    target : float or None
        The target recall.
    near_regions : int or None
        Number of regions whose partitions are scored for a query that lies among the rows, without a filter; None: all.
    """

    radius_factor: float = 0.6
    error_sigmas: float = 2.5
    radius_decay: float = 0.0
    recall: float | None = None
    tail: float = DEFAULT_TAIL
    familiar: float | None = None
    foreign_recall: float | None = None
    k: int | None = None
    target: float | None = None
    near_regions: int | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def to_entry(self) -> SettingsEntry:
        """Return the settings as stored in a manifest."""
        return SettingsEntry(**asdict(self))

    @classmethod
    def from_entry(cls, stored: SettingsEntry) -> SearchSettings:
        """Return the settings stored in a manifest; earlier versions stored fewer of them."""
        return cls(**{name: value for name, value in msgspec.structs.asdict(stored).items() if value is not UNSET})

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> SearchSettings:
        """Return the settings of a dict from `to_dict`, possibly of a later version: unknown fields are ignored.

        Raises
        ------
        CorruptIndexError
            A value is not a number or out of range.
        """
        stored_names = {field.name: field.encode_name for field in msgspec.structs.fields(SettingsEntry)}
        stored = {stored_names.get(name, name): value for name, value in settings.items()}
        try:
            return cls.from_entry(msgspec.convert(stored, SettingsEntry))
        except msgspec.ValidationError as error:
            raise CorruptIndexError("manifest", f"invalid search settings: {error}") from None


@dataclass(frozen=True, eq=False)
class Model:
    """The transform, the centroids and the codec of an index.

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
        Learned transform of normalized or centered queries (`vsearch.jpq`): ``adapter @ query``, before the rotation.
    half_centroids : float16 (partitions, d) or None
        The centroids, if they are stored as float16: the same numbers in half the bytes.
    numbers : int32 (partitions,) or None
        The permanent numbers of the partitions, which deltas use; splits change positions, not numbers. None if the
        number of each partition is its position.
    bitwise : bool
        Whether vectors are zeros and ones (metric hamming), so that distances under l2 are whole numbers.
    regions : int32 (partitions,) or None
        The region of each partition, see `regions`; None if partitions are not divided into regions.
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
    bitwise: bool = False
    regions: NDArray[np.int32] | None = None

    def numbers_of(self, partitions: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the permanent numbers of partitions, int32."""
        return partitions if self.numbers is None else self.numbers[partitions]

    def partitions_of(self, numbers: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the partitions that have these numbers, int32; -1 for unknown numbers."""
        if self.numbers is None:
            return np.where((numbers >= 0) & (numbers < len(self.centroids)), numbers, np.int32(-1))
        order = np.argsort(self.numbers).astype(np.int32)
        at = order[np.minimum(np.searchsorted(self.numbers, numbers, sorter=order), len(order) - 1)]
        return np.where(self.numbers[at] == numbers, at, np.int32(-1))

    def with_centroids(
        self,
        centroids: NDArray[np.float32],
        numbers: NDArray[np.int32],
        regions: NDArray[np.int32] | None = None,
    ) -> Model:
        """Return this model with other partitions."""
        return replace(
            self,
            centroids=centroids,
            centroid_squares=np.einsum("ij,ij->i", centroids, centroids),
            half_centroids=None if self.half_centroids is None else centroids.astype(np.float16),
            numbers=numbers,
            regions=regions,
        )

    @property
    def dimensions(self) -> int:
        return len(self.mean)

    @cached_property
    def row_bytes(self) -> tuple[int, int, int]:
        """Bytes of a row that a search reads to scan, refine and rerank it."""
        first, *later = self.quantizer.stage_bytes
        return first + 2, sum(later), RERANK_BYTES[self.rerank] * self.dimensions + 2

    @cached_property
    def projected(self) -> Projected | None:
        """The quantizer if queries are planned by its coordinates; None if by the rotated query."""
        return projected(self.quantizer)

    @cached_property
    def variances(self) -> NDArray[np.float32]:
        """Each rotated dimension's share of the residuals' variance, float32 (d,); `Projected.variances` with a projection."""
        if self.projected is not None:
            return self.projected.variances
        variances = self.rerank_weights.astype(np.float64) ** 4  # see `dimension_weights`
        return (variances / variances.sum()).astype(np.float32)

    @cached_property
    def least_deviation(self) -> float:
        """For l2, the `deviations` of a typical residual; 0 otherwise, since then only the query counts."""
        if self.metric != "l2":
            return 0.0
        squares = np.square(self.variances, dtype=np.float64)
        if self.projected is not None:
            squares[-1] *= self.dimensions - len(squares) + 1
        return float(np.sqrt(squares.sum()))

    @cached_property
    def far_apart(self) -> bool:
        """Whether, for l2, partitions lie so far from the mean that distances between rows are small in comparison.

        Distances are then computed from differences, with queries rotated in full precision, since products of large
        numbers would cancel.
        """
        return self.metric == "l2" and lie_far_apart(self.centroid_squares, self.rerank_weights)

    @cached_property
    def exact_centroid_scores(self) -> bool:
        """Whether most partitions are so far apart that 8 bits cannot tell the centroids of a cluster apart."""
        if not self.far_apart or self.half_centroids is not None:
            return False
        return lie_far_apart(np.sort(self.centroid_squares)[: len(self.centroids) // 2 + 1], self.rerank_weights, APART)

    def deviations(self, queries: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return `kernels.query.route.relative_deviation` of prepared queries (m, d): float32 (m,)."""
        squares = np.einsum("ij,ij->i", queries, queries)
        if self.projected is not None:
            queries = self.projected.coordinates(queries)
        deviations = np.sqrt((queries * queries) @ self.variances / np.maximum(squares, np.finfo(np.float32).tiny))
        return np.maximum(deviations, np.float32(self.least_deviation))

    @cached_property
    def coarse_centroids(self) -> CoarseCentroids:
        """The centroids in 8 bits, as routing reads them; ordered by region if there are regions."""
        centroids, dimensions = self.route_coordinates(self.centroids), None
        if self.projected is not None:
            dimensions = -(-len(self.projected.routing) // 4) * 4
        if self.region_table is not None:
            return self.region_table.encode(centroids, dimensions)
        return encode_centroids(centroids, dimensions)

    def route_coordinates(self, centroids: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what routing scores centroids (p, d) by: themselves, or with a projection (p, r)."""
        if self.projected is None:
            return centroids
        return np.asarray(centroids @ self.projected.routing.astype(np.float32).T, np.float32)

    @cached_property
    def region_table(self) -> RegionTable | None:
        """The regions as routing reads them; None if there are none."""
        return None if self.regions is None else RegionTable.of(self.regions, self.centroids)

    @cached_property
    def inverse_rotation(self) -> NDArray[np.float32]:
        """The inverse of the rotation, float32 (d, d): ``rotated @ inverse_rotation``.

        It is the rotation itself, whose transpose is its inverse, unless training for ranking replaced it by a transform that is
        not orthogonal.
        """
        rotation = self.quantizer.rotation
        probe = np.random.default_rng(0).standard_normal(len(rotation)).astype(np.float32)
        if np.allclose((probe @ rotation.T) @ rotation, probe, atol=NEARLY_ORTHOGONAL):
            return rotation
        try:
            return np.linalg.inv(rotation.T.astype(np.float64)).astype(np.float32)
        except np.linalg.LinAlgError:
            raise CorruptIndexError("model", "the rotation must be invertible") from None

    def original(self, rotated: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """Undo the rotation of vectors (n, d), float32 or float64; the result has the same type."""
        if self.projected is not None:
            return self.projected.signs.invert(rotated)
        return rotated @ self.inverse_rotation.astype(rotated.dtype, copy=False)

    @cached_property
    def word_rotation(self) -> WordRotation:
        """`query_transform` in 16-bit words."""
        return encode_rotation(self.query_transform)

    @cached_property
    def query_transform(self) -> NDArray[np.float32]:
        """Rotation of the queries, float32 (d, d), with the adapter multiplied in."""
        rotation = self.quantizer.rotation
        return rotation if self.adapter is None else np.ascontiguousarray(rotation @ self.adapter)


def check_queries(queries: Any, dimensions: int, metric: str | None = None) -> NDArray[np.float32]:
    """Check queries and return them as float32 (m, d).

    Without a metric all finite numbers are accepted; call `check_magnitudes` later. Under hamming, bits are accepted in any form that
    `vsearch.bits.as_bits` does.

    Raises
    ------
    InputError
        The shape or the type is wrong, or a number is not finite or too large.
    """
    if (
        type(queries) is np.ndarray
        and queries.dtype == np.float32
        and metric != HAMMING
        and queries.shape in ((dimensions,), (1, dimensions))
    ):
        query = queries.ravel()
        square = np.vdot(query, query)  # which, unlike `dot`, warns neither of overflow nor of signaling NaN
        if square <= LARGEST_ELEMENT**2:  # so no element is larger
            return query[None, :]
    try:
        array = np.asarray(queries)
    except ValueError:
        msg = f"queries must have the shape (queries, {dimensions}) or ({dimensions},), got rows of different lengths"
        raise InputError(msg) from None
    if metric == HAMMING:
        return as_bits(array[None, :] if array.ndim == 1 else array, dimensions)
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
        with np.errstate(over="ignore", invalid="ignore"):
            array = array.astype(np.float32)
    array = np.ascontiguousarray(array)
    if not np.isfinite(array).all():
        bad = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
        msg = f"queries must be finite float32 numbers; query {bad} contains NaN, infinity, or a number beyond float32"
        raise InputError(msg)
    if metric is not None:
        check_magnitudes(array, metric)
    return array


def _within_float32(queries: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale queries (m, d) to lengths that float32 can represent; only their directions matter."""
    largest = np.abs(queries).max(axis=1, initial=0, keepdims=True)
    extreme = np.isfinite(largest) & (largest > 0) & ((largest < 1e-30) | (largest > 1e30))
    return queries / np.where(extreme, largest, 1) if extreme.any() else queries


def check_magnitudes(queries: NDArray[np.float32], metric: str) -> None:
    """Refuse queries (m, d) whose sums of squares, which a metric needs, may overflow float32."""
    bad = unbounded(queries, metric)
    if bad is not None:
        msg = (
            f"elements of queries must be at most {LARGEST_ELEMENT:g} in magnitude for {metric}, whose sums of squares "
            f"must fit float32; query {bad[0]} contains {float(queries[bad]):g}: scale vectors and queries"
        )
        raise InputError(msg)


def plain_queries(model: Model, queries: NDArray[np.float32]) -> NDArray[np.float32]:
    """Normalize (cosine) or center (l2) checked queries: float32 (m, d)."""
    if model.metric == "cosine":
        return normalize(queries)
    return queries - model.mean if model.metric == "l2" else queries


def prepare_queries(model: Model, queries: NDArray[np.float32]) -> NDArray[np.float32]:
    """Normalize or center, adapt and rotate checked queries: float32 (m, d). O(m d^2)."""
    plain = plain_queries(model, queries)
    if model.projected is not None and model.adapter is None:
        wide = plain.astype(np.float64) if model.far_apart else plain
        return rotate_vectors(model.quantizer, wide).astype(np.float32, copy=False)
    if model.far_apart:
        return rotate_widely(plain, model.query_transform)
    return np.ascontiguousarray(plain @ model.query_transform.T)


def nearness_unit(model: Model, radii: NDArray[np.float32]) -> float:
    """Return the unit of `kernels.query.route.nearness`, so that settings do not depend on the scale of the vectors."""
    if model.metric == "cosine":
        return 1.0
    square = float(np.mean(np.square(radii, dtype=np.float64)))
    return (square if model.metric == "l2" else square**0.5) or 1.0
