"""Collections of Chroma and Qdrant, read through their own clients, and tables of LanceDB."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vsearch.errors import InputError, MissingDependencyError
from vsearch.integrations.imports.source import BATCH, Columns, Source, make_source
from vsearch.integrations.imports.tables import source_of_tables

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TEXT = "_text"
"""Attribute of Chroma's documents, as in the adapters of vsearch."""


def read_chroma(path: str, table: str | None = None) -> Source:
    """Open a collection in the folder of a persistent Chroma client.

    Documents become the attribute ``_text``, metadata the other attributes.

    Raises
    ------
    InputError
        There is no such folder or collection, or the collection is empty.
    MissingDependencyError
        chromadb is not installed.
    """
    _require_folder(path, "chroma.sqlite3")
    try:
        import chromadb
    except ImportError as error:
        raise _missing("chromadb", error) from error
    client = chromadb.PersistentClient(path)
    name = _choose(table, [collection.name for collection in client.list_collections()], "collection")
    collection = client.get_collection(name, embedding_function=None)
    total = collection.count()

    def pages(*include: str) -> Iterator[Any]:
        for offset in range(0, total, BATCH):
            yield collection.get(limit=BATCH, offset=offset, include=list(include))

    columns, width = Columns(), 0
    for page in pages("metadatas", "documents"):
        for row in _chroma_rows(page):
            columns.see(row)
    for page in collection.get(limit=1, include=["embeddings"])["embeddings"] if total else ():
        width = len(page)
    if not width:
        raise InputError(f"the collection {name!r} has no vectors")

    def batches() -> Iterator[Any]:
        read = 0
        for page in pages("embeddings", "metadatas", "documents"):
            read += len(page["ids"])
            yield page["ids"], np.asarray(page["embeddings"], np.float32), _chroma_rows(page)
        if read != total:
            raise InputError(
                f"the collection {name!r} has {total} rows, but {read} were returned: it is damaged, or was changed"
            )

    return make_source(columns, width, batches(), text_ids=True, metric=_chroma_metric(collection))


def read_qdrant(path: str, table: str | None = None, vector: str | None = None) -> Source:
    """Open a collection of Qdrant: in the folder of its local client, or a server's by URL. Rows are read by scrolling.

    Parameters
    ----------
    vector : str, optional
        Name of the vector to read, for points that have several.

    Raises
    ------
    InputError
        There is no such collection, it is empty, or its points have several vectors.
    MissingDependencyError
        qdrant-client is not installed.
    """
    remote = path.startswith(("http://", "https://"))
    if not remote:
        _require_folder(path, "meta.json")
    try:
        from qdrant_client import QdrantClient
    except ImportError as error:
        raise _missing("qdrant-client", error) from error
    client = QdrantClient(url=path) if remote else QdrantClient(path=path)
    name = _choose(table, [collection.name for collection in client.get_collections().collections], "collection")
    settings = client.get_collection(name).config.params.vectors
    if isinstance(settings, dict):
        vector = _choose(vector, list(settings), "vector")
        settings = settings[vector]
    elif vector:
        raise InputError(f"the points of {name!r} have one vector without a name, so leave --vector out")
    if settings is None or settings.multivector_config is not None:
        raise InputError(f"{name!r} has no vectors, or several for each point, which cannot be imported")

    def pages(**options: Any) -> Iterator[Any]:
        offset = None
        while True:
            points, offset = client.scroll(name, limit=BATCH, offset=offset, **options)
            if points:
                yield points
            if offset is None:
                return

    columns, text_ids, empty = Columns(), False, True
    for points in pages(with_vectors=False, with_payload=True):
        for point in points:
            columns.see(point.payload)
            text_ids, empty = text_ids or not isinstance(point.id, int), False
    if empty:
        raise InputError(f"the collection {name!r} has no points")

    def batches() -> Iterator[Any]:
        for points in pages(with_vectors=True if vector is None else [vector], with_payload=True):
            kept = [point for point in points if point.vector]
            vectors = [point.vector if vector is None else point.vector[vector] for point in kept]
            if kept:
                yield [point.id for point in kept], np.asarray(vectors, np.float32), [point.payload for point in kept]

    distance = {"Cosine": "cosine", "Dot": "ip", "Euclid": "l2"}.get(str(settings.distance.value))
    return make_source(columns, settings.size, batches(), text_ids=text_ids, metric=distance)


def read_lancedb(path: str, table: str | None = None, vector: str | None = None, id: str | None = None) -> Source:
    """Open a table of LanceDB, in a folder or at a URL.

    Raises
    ------
    InputError
        There is no such table, or not one column of vectors.
    MissingDependencyError
        lancedb is not installed.
    """
    if "://" not in path and not Path(path).is_dir():
        raise InputError(f"{path}: no such folder")
    try:
        import lancedb
    except ImportError as error:
        raise _missing("lancedb", error) from error
    database = lancedb.connect(path)
    opened = database.open_table(_choose(table, list(database.table_names(limit=10_000)), "table"))
    reader = opened.search().to_batches(BATCH)
    return source_of_tables(opened.schema, iter(reader), vector, id)


def _chroma_rows(page: Mapping[str, Any]) -> list[dict[str, Any]]:
    texts = page["documents"] or [None] * len(page["ids"])
    metadata: Sequence[Any] = page["metadatas"] or [None] * len(page["ids"])
    return [
        {**(row or {}), **({} if text is None else {TEXT: text})} for row, text in zip(metadata, texts, strict=True)
    ]


def _chroma_metric(collection: Any) -> str | None:
    configured = collection.configuration or {}
    space = (configured.get("hnsw") or configured.get("spann") or {}).get("space")
    return {"cosine": "cosine", "ip": "ip", "l2": "l2"}.get(str(space))


def _choose(requested: str | None, names: list[str], kind: str) -> str:
    """Return the requested name, or the only one."""
    if requested is None and len(names) == 1:
        return names[0]
    available = ", ".join(sorted(names))[:300] or "none"
    if requested is None:
        raise InputError(f"name the {kind}, unless there is only one; there are {available}")
    if requested not in names:
        raise InputError(f"there is no {kind} {requested!r:.100}; there are {available}")
    return requested


def _require_folder(path: str, file: str) -> None:
    """Refuse a folder in which the other library would create an empty database."""
    if not (Path(path) / file).is_file():
        raise InputError(f"{path} is not a database of this kind: it has no {file}")


def _missing(package: str, error: ImportError) -> MissingDependencyError:
    return MissingDependencyError(f"this import needs {package}: pip install {package} ({error})")
