"""Searches with so many queries that they are read from files, divided into tasks, and answered in files."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from vsearch.api.index import Index
from vsearch.api.sources import source_options
from vsearch.building.inputs.arrow_vectors import vector_column
from vsearch.building.inputs.prefix_files import (
    FilesPlan,
    FoundFile,
    changed_file,
    is_url,
    list_files,
    read_header,
    source_store,
)
from vsearch.building.inputs.prefix_files import plan_files as combine
from vsearch.building.inputs.prefix_reading import PrefixRows
from vsearch.checks import check_search
from vsearch.cluster.engines import SerialEngine, open_engine
from vsearch.errors import ConflictError, InputError
from vsearch.fanout.wire.where import encode_where
from vsearch.search.state.snapshot import open_snapshot
from vsearch.storage import Store, open_store, read_manifest

if TYPE_CHECKING:
    from vsearch.errors import VsearchError
    from vsearch.predicates import Where

Progress = Callable[[str, int, int], None]

CHUNK_QUERIES = 16_384
"""Queries of one task, answered in one file."""

RECORD = "_search.json"
"""Describes the search; stored with the answers. Readers of Parquet folders ignore names that begin with ``_``."""

DONE = "_SUCCESS"


class Search(msgspec.Struct, frozen=True):
    """A search: the files of the queries, the snapshot, and the arguments; the predicate is encoded."""

    index: str
    snapshot: int
    queries: str
    files: tuple[FoundFile, ...]
    column: str | None
    k: int
    where: bytes | None


class Places(msgspec.Struct, frozen=True):
    """Where a task finds its search and queries, and puts its answers; with the options of the stores."""

    search: Search
    plan: FilesPlan
    out: str
    storage: dict[str, Any]
    source_storage: dict[str, Any]
    out_storage: dict[str, Any]


def search_many(
    index_url: str | os.PathLike[str],
    queries: str | os.PathLike[str],
    out_url: str | os.PathLike[str],
    k: int = 10,
    where: Where = None,
    *,
    vectors: str | None = None,
    snapshot: int | None = None,
    client: object | None = None,
    source_storage: Mapping[str, object] | None = None,
    out_storage: Mapping[str, object] | None = None,
    progress: Progress | None = None,
    **storage: object,
) -> int:
    """Search with queries from files, and write the answers to Parquet files; for joins and the search for duplicates.

    An interrupted search resumes if it is started again with the same arguments: it searches the same snapshot, and
    does not repeat answered queries.

    Parameters
    ----------
    index_url : str or path
    queries : str or path
        Parquet, Arrow, ``.npy``, ``.fbin`` or ``.u8bin`` files: a URL, a folder or a single file.
    out_url : str or path
        Where the files ``part-00000.parquet`` ... are written. Columns: ``query`` (int64, the row number of the query), ``rank``
        (int32, from 0), ``id`` (as in the index) and ``score`` (float32); sorted by the first two.
    k, where
        As for `Index.search`.
    vectors : str, optional
        The vector column of tables.
    snapshot : int, optional
        The newest by default.
    client : distributed.Client, address, "local" or "local:<workers>", optional
        See `vsearch.build`; by default this process searches.
    source_storage, out_storage : mapping, optional
        Like `storage`, for the queries and the answers; by default its options if the kind of store is the same.
    progress : callable, optional
        Called with ``(stage, done, total)``.
    **storage
        Options for the store of the index; see `vsearch.open`.

    Returns
    -------
    int
        Number of queries.

    Raises
    ------
    InputError
        The queries or an argument cannot be used, queries changed while they were read, or `out_url` holds answers of another
        search.
    PredicateError
        `where` is not a valid predicate on the attributes.
    """
    check_search(k=k)
    encoded = encode_where(where)
    index_store = open_store(index_url, **storage)
    source, out = (_absolute(url) for url in (queries, out_url))
    of_source = source_options(source, index_store.url, source_storage, storage)
    of_out = source_options(out, index_store.url, out_storage, storage)
    query_store, name = source_store(source, of_source)
    files = list_files(query_store, name)
    out_store = open_store(out, **of_out)
    if name is None and f"{out_store.url.rstrip('/')}/".startswith(f"{query_store.url.rstrip('/')}/"):
        raise InputError(
            f"{out_store.url} lies among the queries, so answers would be read as queries; choose another place"
        )
    plan = combine(query_store.url, [read_header(query_store, file) for file in files])
    column = vector_column(PrefixRows(query_store, plan).schema, vectors, plan.label) if plan.is_table else None
    manifest = read_manifest(index_store, snapshot)
    search = Search(index_store.url, manifest.snapshot, query_store.url, files, column, int(k), encoded)
    first = PrefixRows(query_store, plan, column).vectors(0, 1)
    Index(open_snapshot(index_store, manifest)).search(
        first, search.k, where
    )  # refuses invalid arguments before the search is recorded
    recorded = _begin(out_store, search, newest=snapshot is None)
    present = {info.path for info in out_store.list("")}
    tasks = -(-plan.rows // CHUNK_QUERIES)
    left = [number for number in range(tasks) if _part(number) not in present]
    report = progress or (lambda *_: None)
    report("search", tasks - len(left), tasks)
    places = Places(recorded, plan, out_store.url, dict(storage), of_source, of_out)
    if client is None:
        _run(SerialEngine(), places, left, tasks, report)
    elif left:
        with open_engine(client) as engine:
            _run(engine, places, left, tasks, report)
    changed = changed_file(query_store, files)
    if changed is not None:
        raise InputError(
            f"{query_store.url}/{changed}: changed while it was read; remove {out_store.url}, and search again"
        )
    if DONE not in present:
        out_store.put(DONE, b"", create=False)
    return plan.rows


def search_chunk(places: Places, number: int) -> VsearchError | None:
    """Answer the queries of a task; returns errors that a retry cannot fix, instead of raising them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from vsearch.predicates.checking import decode

    try:
        index, rows = _opened(msgspec.json.encode(places, order="deterministic"))
        start, stop = number * CHUNK_QUERIES, min((number + 1) * CHUNK_QUERIES, places.plan.rows)
        encoded = places.search.where
        hits = index.search(rows.vectors(start, stop), places.search.k, None if encoded is None else decode(encoded))
    except InputError as error:
        return error
    query, rank = np.nonzero(~np.isnan(hits.scores))
    ids = hits.ids[query, rank]
    kind = pa.string() if index.info()["id_type"] == "string" else pa.int64()
    columns = {
        "query": pa.array(query + start, pa.int64()),
        "rank": pa.array(rank, pa.int32()),
        "id": pa.array(ids, kind),
        "score": pa.array(hits.scores[query, rank], pa.float32()),
    }
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    with suppress(ConflictError):  # another run of this task was first
        open_store(places.out, **places.out_storage).put(_part(number), sink.getvalue().to_pybytes())
    return None


def _run(engine: Any, places: Places, left: list[int], tasks: int, report: Progress) -> None:
    done = tasks - len(left)
    for error in engine.run(partial(search_chunk, places), "search", left):
        if error is not None:
            raise error
        done += 1
        report("search", done, tasks)


def _begin(out: Store, search: Search, *, newest: bool) -> Search:
    """Record a search with its answers, or read the record of the same search, whose snapshot is used if the newest is requested."""
    try:
        out.put(RECORD, msgspec.json.encode(search))
    except ConflictError:
        try:
            recorded = msgspec.json.decode(bytes(out.get(RECORD)), type=Search)
        except (msgspec.DecodeError, msgspec.ValidationError):
            recorded = None
        if recorded is not None and newest:
            search = msgspec.structs.replace(search, snapshot=recorded.snapshot)
        if recorded != search:
            msg = f"{out.url} contains the answers of another search; choose another place, or remove them"
            raise InputError(msg) from None
    return search


def _part(number: int) -> str:
    return f"part-{number:05d}.parquet"


def _absolute(place: str | os.PathLike[str]) -> str:
    return place if isinstance(place, str) and is_url(place) else str(Path(place).expanduser().absolute())


@lru_cache(maxsize=2)
def _opened(encoded: bytes) -> tuple[Index, PrefixRows]:
    """The index and the queries of a search; kept between the tasks of a process."""
    places = msgspec.json.decode(encoded, type=Places)
    search, store = places.search, open_store(places.search.index, **places.storage)
    index = Index(open_snapshot(store, read_manifest(store, search.snapshot)))
    rows = PrefixRows(open_store(search.queries, **places.source_storage), places.plan)
    return index, replace(rows, column=search.column)
