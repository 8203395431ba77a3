"""The interface of every index, whether searched in this process or by functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from vsearch.api.awaitable import AwaitableIndex

if TYPE_CHECKING:
    import pyarrow as pa

    from vsearch.api.explanation import Explanation
    from vsearch.api.hits import DocumentHits, Hits
    from vsearch.api.reading import DocumentVectors, StoredVectors
    from vsearch.encoders import CompressedEncoder
    from vsearch.live.commits import Commit
    from vsearch.live.feed import Changes
    from vsearch.live.optimizing import OptimizeReport
    from vsearch.predicates import Where
    from vsearch.search.recall import RecallReport, TuneReport
    from vsearch.storage import SnapshotInfo
    from vsearch.text.columns import TextColumn

    Progress = Callable[[str, int, int], None]


class SearchableIndex(AwaitableIndex, Protocol):
    """An open index. Implemented by `vsearch.Index` and `vsearch.RemoteIndex`; `vsearch.open` chooses by the URL.

    Each method takes the same arguments and returns the same results on both, or raises a `VsearchError` that says what to do
    instead. `vsearch.testing.indexes` has the tests of an implementation, `tests/api` runs them on each.
    """

    def __len__(self) -> int:
        """Number of rows."""

    @property
    def has_documents(self) -> bool:
        """Whether the index holds multi-vector documents, for `search_documents`."""

    @property
    def has_text(self) -> bool:
        """Whether the index has text columns, for `search_text`."""

    def search(
        self,
        queries: Any,
        k: int = 10,
        where: Where = None,
        nprobe: int | None = None,
        columns: Sequence[str] = (),
        exact: bool = False,
        min_score: float | None = None,
        timeout: float | None = None,
        *,
        offset: int = 0,
        vectors: bool = False,
        text: str | Sequence[str] | None = None,
        sparse: Any = None,
        fusion: Any = None,
        weights: Sequence[float] | None = None,
        depth: int | None = None,
        hybrid: bool = False,
    ) -> Hits:
        """Find the nearest rows that satisfy a predicate; see `vsearch.Index.search`."""

    def search_pages(
        self,
        queries: Any,
        k: int,
        where: Where = None,
        *,
        page: int = 10_000,
        nprobe: int | None = None,
        columns: Sequence[str] = (),
        exact: bool = False,
        min_score: float | None = None,
        timeout: float | None = None,
        vectors: bool = False,
    ) -> Iterator[Hits]:
        """Find up to a million rows per query, page by page; see `vsearch.Index.search_pages`."""

    def search_documents(
        self,
        query_vectors: Any,
        k: int = 10,
        where: Where = None,
        query_keep: float = 1.0,
        candidates: int | str | None = None,
        *,
        query_saliency: Any = None,
        matches: bool = False,
        exact: bool = False,
        columns: Sequence[str] = (),
        timeout: float | None = None,
        offset: int = 0,
    ) -> DocumentHits:
        """Find the documents with the best MaxSim score; see `vsearch.Index.search_documents`."""

    def search_groups(
        self,
        queries: Any,
        per: str,
        k: int = 10,
        where: Where = None,
        *,
        columns: Sequence[str] = (),
        nprobe: int | None = None,
        exact: bool = False,
        min_score: float | None = None,
        timeout: float | None = None,
    ) -> Hits:
        """Find the best row of each group; see `vsearch.Index.search_groups`."""

    def search_diverse(
        self,
        queries: Any,
        k: int = 10,
        where: Where = None,
        *,
        diversity: float = 0.5,
        candidates: int | None = None,
        columns: Sequence[str] = (),
        vectors: bool = False,
        **options: Any,
    ) -> Hits:
        """Find rows that are unlike each other; see `vsearch.Index.search_diverse`."""

    def search_like(
        self,
        like: Any,
        unlike: Any = (),
        k: int = 10,
        where: Where = None,
        *,
        columns: Sequence[str] = (),
        **options: Any,
    ) -> Hits:
        """Find rows like other rows; see `vsearch.Index.search_like`."""

    def search_text(
        self,
        queries: str | Sequence[str],
        k: int = 10,
        where: Where = None,
        columns: Sequence[str] = (),
        *,
        timeout: float | None = None,
        offset: int = 0,
    ) -> Hits:
        """Find the rows that fit words best; see `vsearch.Index.search_text`."""

    def search_sparse(
        self,
        queries: Any,
        k: int = 10,
        where: Where = None,
        columns: Sequence[str] = (),
        *,
        timeout: float | None = None,
        offset: int = 0,
    ) -> Hits:
        """Find the rows with the largest inner products of weights; see `vsearch.Index.search_sparse`."""

    def search_leg(
        self,
        leg: str,
        queries: Any,
        k: int = 10,
        where: Where = None,
        columns: Sequence[str] = (),
        *,
        query_vectors: Any = None,
        fusion: Literal["rrf", "weighted"] | Callable[[Any, Any], Any] | None = None,
        weights: Sequence[float] | None = None,
        depth: int | None = None,
        nprobe: int | None = None,
        exact: bool = False,
        timeout: float | None = None,
        offset: int = 0,
    ) -> Hits:
        """Find the best rows of a leg, alone or with vectors; see `vsearch.Index.search_leg`."""

    def explain(self, queries: Any, k: int = 10, where: Where = None, **options: Any) -> Explanation:
        """Run a search and return its plan and counts; see `vsearch.Index.explain`."""

    def get(
        self, ids: Any, columns: Sequence[str] | None = None, *, missing: Literal["error", "skip"] = "error"
    ) -> pa.Table:
        """Fetch rows by id; see `vsearch.Index.get`."""

    def vectors(self, ids: Any, *, missing: Literal["error", "skip"] = "error") -> StoredVectors:
        """Decode the vectors of rows; see `vsearch.Index.vectors`."""

    def document_vectors(self, ids: Any, *, missing: Literal["error", "skip"] = "error") -> DocumentVectors:
        """Decode the vectors of documents; see `vsearch.Index.document_vectors`."""

    def count(self, where: Where = None) -> int:
        """Count the rows that satisfy a predicate; see `vsearch.Index.count`."""

    def rows(
        self,
        where: Where = None,
        columns: Sequence[str] | None = None,
        *,
        order: str | Sequence[str] | None = None,
        limit: int | None = None,
        after: Any = None,
    ) -> pa.Table:
        """Fetch the rows that satisfy a predicate; see `vsearch.Index.rows`."""

    def to_batches(
        self,
        where: Where = None,
        columns: Sequence[str] | None = None,
        *,
        order: str | Sequence[str] | None = None,
        batch_rows: int = 10_000,
    ) -> pa.RecordBatchReader:
        """Stream the rows that satisfy a predicate; see `vsearch.Index.to_batches`."""

    def facet(self, column: str, where: Where = None, *, limit: int | None = None) -> pa.Table:
        """Count the values of an attribute; see `vsearch.Index.facet`."""

    def min_max(self, column: str, where: Where = None) -> tuple[Any, Any]:
        """Least and greatest value of an attribute; see `vsearch.Index.min_max`."""

    def info(self) -> dict[str, Any]:
        """Describe the index; see `vsearch.Index.info`."""

    def recall(
        self,
        queries: Any = None,
        k: int = 10,
        where: Where = None,
        sample: int = 100,
        truth: Any = None,
        nprobe: int | None = None,
        timeout: float | None = None,
        min_score: float | None = None,
    ) -> RecallReport:
        """Measure recall against exhaustive search or a ground truth; see `vsearch.Index.recall`."""

    def tune(
        self, recall: float = 0.95, k: int = 10, queries: Any = None, sample: int = 512, where: Where = None
    ) -> TuneReport:
        """Find and store settings that reach a recall; see `vsearch.Index.tune`."""

    def snapshots(self) -> list[SnapshotInfo]:
        """All snapshots that can be opened, oldest first."""

    def append(
        self,
        embeddings: Any,
        attributes: Any = None,
        ids: Any = None,
        *,
        vectors: str | None = None,
        id: str | None = None,
        missing: Literal["error", "skip"] = "error",
        packed: bool = False,
        offsets: Any = None,
        saliency: Any = None,
        token: str | None = None,
        if_snapshot: int | None = None,
        progress: Progress | None = None,
    ) -> Commit:
        """Add rows; see `vsearch.Index.append`."""

    def upsert(
        self,
        embeddings: Any,
        attributes: Any = None,
        ids: Any = None,
        *,
        vectors: str | None = None,
        id: str | None = None,
        missing: Literal["error", "skip"] = "error",
        packed: bool = False,
        offsets: Any = None,
        saliency: Any = None,
        token: str | None = None,
        if_snapshot: int | None = None,
        progress: Progress | None = None,
    ) -> Commit:
        """Add or replace rows; see `vsearch.Index.upsert`."""

    def update(
        self,
        values: Mapping[str, Any],
        *,
        ids: Any = None,
        where: Where = None,
        token: str | None = None,
        if_snapshot: int | None = None,
    ) -> Commit:
        """Change attributes of rows; see `vsearch.Index.update`."""

    def delete(
        self, ids: Any = None, *, where: Where = None, token: str | None = None, if_snapshot: int | None = None
    ) -> Commit:
        """Remove rows; see `vsearch.Index.delete`."""

    def add_column(
        self,
        name: str,
        values_or_type: Any,
        ids: Any = None,
        *,
        token: str | None = None,
        if_snapshot: int | None = None,
    ) -> Commit:
        """Add an attribute; see `vsearch.Index.add_column`."""

    def drop_column(self, name: str, *, token: str | None = None, if_snapshot: int | None = None) -> Commit:
        """Drop an attribute; see `vsearch.Index.drop_column`."""

    def rename_column(self, name: str, new: str, *, token: str | None = None, if_snapshot: int | None = None) -> Commit:
        """Rename an attribute; see `vsearch.Index.rename_column`."""

    def add_text(
        self,
        column: str,
        settings: TextColumn | None = None,
        *,
        token: str | None = None,
        if_snapshot: int | None = None,
    ) -> Commit:
        """Make the words of an attribute searchable; see `vsearch.Index.add_text`."""

    def add_sparse(
        self, column: str, largest: float | None = None, *, token: str | None = None, if_snapshot: int | None = None
    ) -> Commit:
        """Make an attribute of weights searchable; see `vsearch.Index.add_sparse`."""

    def with_encoder(self, encoder: CompressedEncoder) -> SearchableIndex:
        """Store a text encoder in the index; see `vsearch.Index.with_encoder`."""

    def drop_text(self, column: str, *, token: str | None = None, if_snapshot: int | None = None) -> Commit:
        """Stop searching the words of an attribute; see `vsearch.Index.drop_text`."""

    def optimize(
        self,
        budget_seconds: float | None = None,
        retune: bool | str = "auto",
        *,
        force: bool = False,
        progress: Progress | None = None,
    ) -> OptimizeReport:
        """Run pending maintenance; see `vsearch.Index.optimize`."""

    def retrain(
        self,
        vectors: Any = None,
        ids: Any = None,
        *,
        quantizer: Any = "same",
        bits: float | None = None,
        rerank: str | None = "same",
        partitions: int | None = None,
        shards: int | None = None,
        seed: int | None = None,
        progress: Progress | None = None,
    ) -> Commit:
        """Rebuild the index for its current rows; see `vsearch.Index.retrain`."""

    def refresh(self) -> bool:
        """Move to the newest snapshot; see `vsearch.Index.refresh`."""

    def tag(self, name: str, snapshot: int | None = None) -> Commit:
        """Name a snapshot; see `vsearch.Index.tag`."""

    def untag(self, name: str) -> Commit:
        """Remove a tag; see `vsearch.Index.untag`."""

    def tags(self) -> dict[str, int]:
        """Snapshot numbers by tag; see `vsearch.Index.tags`."""

    def changes(self, since: int) -> Changes:
        """Ids of rows that changed since a snapshot; see `vsearch.Index.changes`."""

    def restore(self, *, snapshot: int | None = None, tag: str | None = None) -> Commit:
        """Restore an older snapshot; see `vsearch.Index.restore`."""
