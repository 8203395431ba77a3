"""Build an index from data stored by another library."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from vsearch.errors import InputError, VsearchError
from vsearch.integrations.imports.faiss_files import read_faiss
from vsearch.integrations.imports.pgvector import read_pgvector
from vsearch.integrations.imports.source import ID, VECTOR, Source
from vsearch.integrations.imports.stores import read_chroma, read_lancedb, read_qdrant
from vsearch.integrations.imports.tables import read_parquet

if TYPE_CHECKING:
    import pyarrow as pa

    from vsearch.api.index import Index


@dataclass(frozen=True)
class Reader:
    """How one kind of source is read.

    Attributes
    ----------
    open : callable
        Takes a path and the options, and returns a `Source`.
    options : tuple of str
        Those of ``table``, ``vector`` and ``id`` that it accepts.
    """

    open: Callable[..., Source]
    options: tuple[str, ...] = ()


READERS: Mapping[str, Reader] = {
    "faiss": Reader(read_faiss),
    "lancedb": Reader(read_lancedb, ("table", "vector", "id")),
    "chroma": Reader(read_chroma, ("table",)),
    "qdrant": Reader(read_qdrant, ("table", "vector")),
    "pgvector": Reader(read_pgvector, ("table", "vector", "id")),
    "parquet": Reader(read_parquet, ("vector", "id")),
}


def open_source(kind: str, path: str, **options: str | None) -> Source:
    """Open data stored by another library.

    Parameters
    ----------
    kind : {"faiss", "lancedb", "chroma", "qdrant", "pgvector", "parquet"}
    path : str
        A file, or the folder of a database; for Qdrant also a server's URL.
    **options
        ``table`` (or collection), ``vector`` and ``id`` (columns), if the source has these.

    Raises
    ------
    InputError
        The kind is unknown, it does not have an option, or the source cannot be read.
    MissingDependencyError
        The other library is not installed.
    """
    reader = READERS.get(kind)
    if reader is None:
        raise InputError(f"the kind of a source must be one of {', '.join(READERS)}, got {kind!r:.100}")
    passed = {name: value for name, value in options.items() if value is not None}
    for name in passed:
        if name not in reader.options:
            raise InputError(f"{kind} has no {name}; its options are {', '.join(reader.options) or 'none'}")
    with _reading(kind, path):
        source = reader.open(path, **passed)
    return replace(source, batches=_read(source.batches, kind, path))


def _read(batches: Iterator[pa.RecordBatch], kind: str, path: str) -> Iterator[pa.RecordBatch]:
    while True:
        with _reading(kind, path):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


@contextmanager
def _reading(kind: str, path: str) -> Iterator[None]:
    """Turn what the other library raises, for damaged data or a server that does not answer, into `InputError`."""
    try:
        yield
    except VsearchError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":  # of libraries in Rust
            raise
        raise InputError(f"{path} cannot be read by {kind}: {type(error).__name__}: {str(error)[:300]}") from error


def import_index(
    kind: str,
    path: str,
    url: str,
    *,
    table: str | None = None,
    vector: str | None = None,
    id: str | None = None,
    **options: Any,
) -> Index:
    """Build an index of the rows of another library, with their ids and attributes; rows are streamed.

    Parameters
    ----------
    kind, path, table, vector, id
        As for `open_source`.
    url : str
        Where the index is built.
    **options
        Options of `vsearch.build`; by default, ``metric`` is that of the source, if it has one.

    Raises
    ------
    InputError
        The source or an option is invalid.
    IndexExistsError
        There is an index at `url`, and `overwrite` is false.
    MissingDependencyError
        A package that the source requires is not installed.
    """
    from vsearch.api.build_and_open import build

    source = open_source(kind, path, table=table, vector=vector, id=id)
    metric = {"metric": source.metric} if source.metric is not None else {}
    return build(source.reader(), url, vectors=VECTOR, id=ID, **(metric | options))
