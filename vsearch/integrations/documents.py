"""Documents in an index: texts with metadata. Shared by the adapters."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from vsearch.api.build_and_open import open as open_index
from vsearch.api.creating import create
from vsearch.api.index import Index
from vsearch.checks import LARGEST_K
from vsearch.errors import CorruptIndexError, IndexExistsError, IndexNotFoundError, InputError
from vsearch.forking import renew_in_children
from vsearch.integrations.metadata import new_types, to_columns, to_json
from vsearch.predicates.parsing import parse_selection

if TYPE_CHECKING:
    import pyarrow as pa

    from vsearch.api.hits import Hits
    from vsearch.live.commits import Commit
    from vsearch.predicates import Where

METADATA = "_metadata"
"""The attribute with the metadata as JSON, in indexes that adapters created."""

PAGED = {"nprobe", "exact", "min_score", "timeout", "vectors"}
"""Options that are allowed in searches for more rows than a single answer may have."""


@dataclass(frozen=True, eq=False)
class StoredDocument:
    """A document of an index.

    Attributes
    ----------
    id : str
    text : str
    metadata : dict
    score : float
        NaN if it does not come from a search.
    vector : float32 (d,) or None
    """

    id: str
    text: str
    metadata: dict[str, Any]
    score: float = float("nan")
    vector: NDArray[np.float32] | None = None


class DocumentIndex:
    """An index of documents, which the first documents create. Thread-safe.

    Each document is a row. Its text is the attribute `text`; its metadata are stored as JSON and, if their types are supported, as
    attributes as well. Any other index works too: its attributes are then the metadata.

    Parameters
    ----------
    url : str
    text : str
        The attribute with the texts.
    create_options : mapping, optional
        Options of `vsearch.create`.
    refresh : float, optional
        As for `vsearch.open`.
    **storage
        As for `vsearch.open`.
    """

    own_types: ClassVar[Mapping[str, str]] = {}
    """Types of further attributes that an adapter needs."""

    def __init__(
        self,
        url: str,
        text: str = "_text",
        *,
        create_options: Mapping[str, Any] | None = None,
        refresh: float | None = None,
        **storage: Any,
    ) -> None:
        self.url, self.text = url, text
        self._options, self._refresh, self._storage = dict(create_options or {}), refresh, storage
        self.renew_after_fork()
        renew_in_children(self)
        self._index: Any = None
        self.index  # noqa: B018  opens it, or fails now

    def renew_after_fork(self) -> None:
        """Replace the lock, which another thread may have held at the fork."""
        self._lock = threading.Lock()

    @property
    def index(self) -> Any:
        """The `vsearch.Index` or `vsearch.RemoteIndex`; None if there is none yet."""
        if self._index is None:
            with suppress(IndexNotFoundError):
                self._index = open_index(self.url, refresh=self._refresh, **self._storage)
        return self._index

    @property
    def types(self) -> dict[str, str]:
        """The types of the attributes by name; empty if there is no index."""
        return {} if self.index is None else self._types(self.index)

    @property
    def metric(self) -> str:
        """The metric of the index."""
        index = self.index
        return str(self._options.get("metric", "cosine") if index is None else index.info()["metric"])

    def _create(self, dimensions: int) -> Any:
        attributes = {self.text: "string", METADATA: "string", **self.own_types}
        with self._lock:
            if self.index is None:
                options = {"metric": "cosine", **self._options, "ids": "string", "attributes": attributes}
                try:
                    self._index = create(self.url, dimensions, **options, **self._storage)
                except IndexExistsError:  # another process created it first
                    self._index = open_index(self.url, refresh=self._refresh, **self._storage)
                if self._refresh is not None:
                    self._index = open_index(self.url, refresh=self._refresh, **self._storage)
        return self._index

    def drop_fields(self) -> None:
        """Remove the attributes that metadata have added."""
        for name in self.types:
            if name not in (self.text, METADATA, *self.own_types):
                self.index.drop_column(name)

    def put(
        self, ids: Sequence[str], texts: Sequence[str], metadatas: Sequence[Mapping[str, Any]], vectors: Any
    ) -> Commit | None:
        """Add documents, replacing those with the same ids; of duplicate ids, the last counts.

        Raises
        ------
        InputError
            The documents do not fit the index, or cannot be encoded.
        """
        if not len(ids):
            return None
        last = sorted({id_: place for place, id_ in enumerate(ids)}.values())
        ids, texts = [ids[place] for place in last], [texts[place] for place in last]
        metadatas = [metadatas[place] for place in last]
        points = np.asarray(vectors, np.float32)[last]
        encoded = [to_json(metadata) for metadata in metadatas]
        index = self.index or self._create(points.shape[1])
        has_metadata, types = METADATA in self._types(index), self._add_new(index, metadatas)
        table: dict[str, Any] = {self.text: list(texts), **({METADATA: encoded} if has_metadata else {})}
        table |= self._columns(metadatas, types)
        commit: Commit = index.upsert(points, _arrow(table, types), self.as_ids(ids))
        return commit

    def _columns(self, metadatas: Sequence[Mapping[str, Any]], types: Mapping[str, str]) -> dict[str, list[Any]]:
        """Return the attributes of documents by name; `types` are those of the index."""
        return to_columns(metadatas, types)

    def replace_metadata(self, ids: Sequence[str], metadatas: Sequence[Mapping[str, Any]]) -> None:
        """Replace the metadata of documents; texts and vectors are kept."""
        if not len(ids):
            return
        index, encoded = self.index, [to_json(metadata) for metadata in metadatas]
        types = self._add_new(index, metadatas)
        table: dict[str, Any] = {METADATA: encoded, **self._columns(metadatas, types)}
        columns = _arrow(table, types)
        index.update({name: columns.column(name) for name in columns.column_names}, ids=self.as_ids(ids))

    def _add_new(self, index: Any, metadatas: Sequence[Mapping[str, Any]]) -> dict[str, str]:
        """Add attributes for new metadata; return the types of all attributes except the texts and the JSON."""
        types, reserved = self._types(index), {self.text, METADATA}
        for name, kind in (new_types(metadatas, types) if METADATA in types else {}).items():
            self._add_column(index, name, kind)
        return {name: kind for name, kind in self._types(index).items() if name not in reserved}

    @staticmethod
    def _add_column(index: Any, name: str, kind: str) -> None:
        try:
            index.add_column(name, kind)
        except InputError:
            if name not in DocumentIndex._types(index) and isinstance(index, Index):
                index.refresh()  # another thread or process may have added it
            if name not in DocumentIndex._types(index):
                raise

    @staticmethod
    def _types(index: Any) -> dict[str, str]:
        types: dict[str, str] = index.info()["attributes"]
        return types

    def as_ids(self, ids: Sequence[str]) -> list[Any]:
        """Return ids in the type of the index, which are parsed if it numbers its rows. Invalid ids are dropped."""
        index = self.index
        if index is None or index.info()["id_type"] == "string":
            return [str(id_) for id_ in ids]
        return [int(id_) for id_ in ids if str(id_).removeprefix("-").isdecimal()]

    def delete(self, ids: Sequence[str] | None = None, where: Where = None) -> int:
        """Remove documents; return their number.

        Raises
        ------
        InputError
            `where` is empty or has an empty part, so it would remove all documents.
        """
        if where is not None:
            parse_selection(where)
        index = self.index
        if index is None:
            return 0
        commit: Commit = index.delete(None if ids is None else self.as_ids(ids), where=where)
        return commit.deleted

    def get(self, ids: Sequence[str]) -> list[StoredDocument]:
        """Return documents by id, in order; unknown ids are skipped."""
        index = self.index
        if index is None or not len(ids):
            return []
        return self._documents(index.get(self.as_ids(ids), missing="skip"))

    def list_documents(self, where: Where = None, limit: int | None = None) -> list[StoredDocument]:
        """Return the documents that pass a filter, by ascending id."""
        index = self.index
        return [] if index is None else self._documents(index.rows(where, limit=limit))

    def search(
        self,
        vector: Any,
        k: int,
        where: Where = None,
        *,
        diversity: float | None = None,
        candidates: int | None = None,
        **options: Any,
    ) -> list[StoredDocument]:
        """Return the nearest documents, or with `diversity` those of `search_diverse`."""
        index = self.index
        if index is None:
            return []
        columns = [name for name in self._types(index) if name in {self.text, METADATA}]
        columns = columns if METADATA in columns else list(self._types(index))
        query = np.asarray(vector, np.float32)
        pages: Iterable[Hits]
        if diversity is not None:
            options |= {"diversity": diversity, "candidates": candidates}
            pages = [index.search_diverse(query, k, where, columns=columns, **options)]
        elif isinstance(k, int) and k > LARGEST_K and set(options) <= PAGED:
            pages = index.search_pages(query, k, where, columns=columns, **options)
        else:
            pages = [index.search(query, k, where, columns=columns, **options)]
        return [self._document(hit.id, hit.values, hit.score, hit.vector) for hits in pages for hit in hits[0]]

    def _documents(self, table: pa.Table) -> list[StoredDocument]:
        return [
            self._document(row.pop("id"), {name.removeprefix("attribute."): value for name, value in row.items()})
            for row in table.to_pylist()
        ]

    def _document(
        self, id_: Any, values: Mapping[str, Any], score: float = float("nan"), vector: Any = None
    ) -> StoredDocument:
        metadata = values.get(METADATA)
        if METADATA in values:
            try:
                decoded = json.loads(metadata or "{}")
            except ValueError as error:
                raise CorruptIndexError("attributes", f"the metadata of {id_!r:.100} are not JSON: {error}") from None
        else:
            decoded = {name: value for name, value in values.items() if name != self.text and value is not None}
        return StoredDocument(str(id_), values.get(self.text) or "", decoded, score, vector)


def row_id_of(types: Mapping[str, str]) -> str:
    """Return the name of the row id in filters.

    Raises
    ------
    InputError
        Attributes have both possible names.
    """
    names = {name.lower() for name in types}
    for name in ("id", "_id"):
        if name not in names:
            return name
    raise InputError("attributes are named id and _id, so filters cannot select rows by id")


def _arrow(table: Mapping[str, list[Any]], types: Mapping[str, str]) -> pa.Table:
    import pyarrow as pa

    arrow = {
        "bool": pa.bool_(),
        "int64": pa.int64(),
        "float64": pa.float64(),
        "list<string>": pa.list_(pa.string()),
        "list<int64>": pa.list_(pa.int64()),
        "list<float64>": pa.list_(pa.float64()),
    }
    return pa.table(
        {name: pa.array(values, arrow.get(types.get(name, ""), pa.string())) for name, values in table.items()}
    )
