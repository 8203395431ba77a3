"""The protocol of legs: plan queries, scan rows, and describe the stored data.

A leg finds rows of an index by means other than their vectors. Searches in one process, functions, fusion with vectors, builds and
changes all use it through `Leg`; `vsearch.legs.registry` has one record of each, and `vsearch.testing.legs` their tests.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import InputError
from vsearch.legs.masks import Allowed, words_of_rows
from vsearch.storage.files.segment_file import ensure_together
from vsearch.storage.snapshots.kinds import PARTITIONS, leg_prefix
from vsearch.storage.snapshots.leg_entries import leg_entries

if TYPE_CHECKING:
    import pyarrow as pa

    from vsearch.building.plan import Forecast
    from vsearch.building.shards import PartWriter
    from vsearch.search.engine.stats import SearchStats
    from vsearch.search.state.snapshot import Snapshot
    from vsearch.storage import Manifest

Planned = TypeVar("Planned")
"""A planned query: what `scan` needs, in a form that a leg chooses."""


@dataclass(frozen=True, eq=False)
class LegRanking:
    """The best rows for a query, best first.

    Attributes
    ----------
    rows, scores : int64 (n,), float32 (n,)
        Scores are positive.
    keys : float64 (n,)
        Scores that are not rounded: by them, rankings of the same planned query are merged.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    keys: NDArray[np.float64]


class SingleQuery(Protocol):
    """One query, planned for a search with little Python around it; see `Leg.single`."""

    def rank(self, k: int, words: Sequence[NDArray[np.uint64]] | None) -> LegRows:
        """Return the k best rows, as `Leg.scan`, in any order.

        Parameters
        ----------
        words : sequence of uint64 (words,) or None
            The rows of each run that may be returned; None for all live rows.
        """

    def score(self, rows: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
        """Return the scores of some rows, ascending, as `Leg.score`; they may be rounded to float32, and are valid until the next search."""


class LegRows(NamedTuple):
    """The best rows for a query, int64 (n,), their scores, and the number of rows scanned; the arrays are valid until the next search.

    Scores are those of `LegRanking`; they may be rounded to float32.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.floating[Any]]
    scanned: int


@dataclass(frozen=True)
class LegForecast:
    """Predicted bytes of the files of a leg, bytes of memory and seconds of a core to build it."""

    name: str
    bytes_total: float
    memory_bytes: float
    seconds: float


@dataclass(frozen=True)
class PackedQueries:
    """Planned queries in a message: one item for each, and their shared data."""

    queries: tuple[bytes, ...]
    shared: bytes = b""


class Leg(ABC, Generic[Planned]):
    """A leg of search. One object serves all indexes and threads.

    Scores are positive, larger ones are better, and a row that does not match has none (0). Rows are numbered over all runs of a
    snapshot, as those of vectors. Planning uses the whole snapshot, scanning only the runs that are allowed: so a row has the
    same score however an index is divided.

    Attributes
    ----------
    name : str
        Name of the leg in manifests, messages and arguments.
    query : str
        The word for a query in errors: "there must be one <query> for each of the 3 queries".
    probe : bytes
        A valid, cheap query, with which functions check options when there are no queries.
    absent : str
        The error of a search in an index without this leg.
    in_use : str
        The reason, for errors, why an attribute that the leg reads cannot be dropped.
    """

    name: ClassVar[str]
    probe: ClassVar[bytes] = b""
    query: ClassVar[str] = "query"
    absent: ClassVar[str]
    in_use: ClassVar[str]

    # Searching

    @abstractmethod
    def read(self, queries: Any, argument: str) -> list[bytes]:
        """Check queries as users pass them, also from JSON, and return the bytes of each for messages, at most 4 MB.

        Parameters
        ----------
        queries : object
            One query or several, as this leg takes them.
        argument : str
            The name of the argument, for errors.

        Raises
        ------
        InputError
            The queries are invalid; the message begins with `argument`.
        """

    @abstractmethod
    def plan(
        self, snapshot: Snapshot, queries: Sequence[bytes], stats: SearchStats, deadline: float | None = None
    ) -> Iterator[Planned]:
        """Plan queries one after the other, with data of the whole snapshot.

        Raises
        ------
        InputError
            The index does not have this leg, or a query is invalid; messages are not trusted.
        SearchTimeoutError
            The search did not finish in time.
        """

    @abstractmethod
    def scan(
        self,
        snapshot: Snapshot,
        planned: Planned,
        k: int,
        allowed: Allowed,
        stats: SearchStats,
        deadline: float | None = None,
    ) -> LegRanking:
        """Return the k best rows of the allowed runs for a query; of equal scores the lower row comes first."""

    def score(
        self,
        snapshot: Snapshot,
        planned: Planned,
        rows: NDArray[np.int64],
        stats: SearchStats,
        deadline: float | None = None,
    ) -> NDArray[np.float64]:
        """Return the scores of some rows, ascending, as `scan` gives them; 0 for rows that do not match."""
        allowed = {run.number: words_of_rows(run, rows) for run in snapshot.shards}
        ranking, scores = self.scan(snapshot, planned, len(rows), allowed, stats, deadline), np.zeros(len(rows))
        scores[np.searchsorted(rows, ranking.rows)] = ranking.scores
        return scores

    def single(self, snapshot: Snapshot, query: Any) -> SingleQuery | None:  # noqa: ARG002
        """Plan one query as a user passes it, without the steps of `read`, `warnings` and `plan` that it does not need.

        None for all that these steps might refuse or warn of, and if this leg has no such way, as by default.
        """
        return None

    def warnings(self, manifest: Manifest, queries: Sequence[bytes]) -> list[str]:  # noqa: ARG002
        """Return warnings about queries as returned by `read`; searches issue them, also through functions."""
        return []

    # In functions

    @abstractmethod
    def pack(self, snapshot: Snapshot, planned: Sequence[Planned]) -> PackedQueries:
        """Pack planned queries for a message to a processor."""

    @abstractmethod
    def unpack(self, snapshot: Snapshot, packed: PackedQueries) -> list[Planned]:
        """Return the planned queries of a message.

        Raises
        ------
        InputError
            The message is inconsistent, or does not fit the index.
        """

    def packed_bytes(self, longest: int) -> int:
        """Return the maximum bytes of a packed query, given the bytes of the query."""
        return 4 * longest + 256

    def occurs(self, snapshot: Snapshot, planned: Planned, places: Sequence[int]) -> bool:  # noqa: ARG002
        """Whether some runs may have matching rows; others are not searched."""
        return True

    # Stored data

    def entry(self, manifest: Manifest) -> Any:
        """Return the entry of this leg in a manifest; None if the index does not have it."""
        return leg_entries(manifest).get(self.name)

    def require(self, manifest: Manifest) -> None:
        """Raise InputError unless an index has this leg."""
        if self.entry(manifest) is None:
            raise InputError(self.absent)

    def fields(self, entry: Any) -> Collection[str]:  # noqa: ARG002
        """Return the fields of the attributes that the leg reads."""
        return ()

    def unencoded(self, entry: Any) -> Collection[str]:  # noqa: ARG002
        """Return the fields of attributes that hardly any filter names, such as weights as JSON.

        Merged runs store no encoding of them for predicates; filters make it from the values when they are used.
        """
        return ()

    def kinds(self, manifest: Manifest, kinds: Iterable[str], *, ranked: bool) -> list[str]:  # noqa: ARG002
        """Return the kinds of the files that `load` reads; without `ranked`, those that only planning needs."""
        return [kind for kind in kinds if kind.startswith(leg_prefix(self.name))]

    def load(self, snapshot: Snapshot, *, ranked: bool) -> dict[str, int]:
        """Read the files that searches of a snapshot need, or only planning without `ranked`; return their bytes in memory by file."""
        sizes: dict[str, int] = {}
        for run in snapshot.shards:
            files = {kind: run.files[kind] for kind in self.kinds(snapshot.manifest, run.files, ranked=ranked)}
            ensure_together([(file, array, None, None) for file in files.values() for array in file.arrays])
            for kind, file in files.items():
                bundled = file.path == run.files[PARTITIONS].path
                sizes[f"{file.path} {kind}" if bundled else file.path] = sum(
                    file.array(array).nbytes for array in file.arrays
                )
        return sizes

    # Building and changing

    @abstractmethod
    def writer(self, argument: Any) -> PartWriter:
        """Return the writer of this leg in a build, given what users pass as ``legs={name: argument}``.

        Raises
        ------
        InputError
            The argument is invalid.
        """

    @abstractmethod
    def rewriter(self, entry: Any) -> PartWriter:
        """Return the writer of this leg in a training, which writes all rows of an index again; attributes come by field."""

    @abstractmethod
    def parts(
        self, entry: Any, attributes: pa.Table | None, rows: int
    ) -> Iterable[tuple[str, Mapping[str, NDArray[Any]]]]:
        """Return the file kinds and arrays of rows that are merged into a run, given their attributes by field.

        Runs without files, such as those of appended rows before they are merged, are served from attributes.
        """

    def check_rows(self, manifest: Manifest, attributes: pa.Table | None, rows: int) -> None:
        """Check the attributes of rows that a change adds, by field; raise InputError if the leg cannot read them."""

    def forecast(self, argument: Any) -> Forecast | None:  # noqa: ARG002
        """Return the forecast of `vsearch.plan`; None if it is not known."""
        return None
