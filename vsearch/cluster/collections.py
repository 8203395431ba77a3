"""Sources that are dask collections: their partitions are written to files below the index, from which the job then reads.

The files lie in a folder named by the collection's token. A build that is started again finds the files that are already
written, as long as dask assigns the collection the same token. `vsearch prune` removes the files of abandoned builds.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from vsearch.building.inputs.tables import open_table
from vsearch.cluster.engines import DaskEngine
from vsearch.errors import ConflictError, InputError, VsearchError
from vsearch.storage import open_store
from vsearch.storage.snapshots.condemned import JOBS

if TYPE_CHECKING:
    from vsearch.cluster.running import Progress
    from vsearch.storage import Store

STAGE = "partitions"


@contextmanager
def written_collection(
    store: Store,
    collection: Any,
    engine: DaskEngine,
    storage: Mapping[str, Any],
    progress: Progress,
    vectors: str | None = None,
    *,
    check_lists: bool = True,
) -> Iterator[str]:
    """Write the partitions of a collection, and remove the files after the job, even if the input cannot be used.

    Parameters
    ----------
    store : Store
        Store of the index.
    storage : mapping
        Its options, for the workers.
    vectors : str, optional
        The column of the vectors, if the user names it.
    check_lists : bool
        Whether to refuse a frame of which dask has made the vectors text.

    Yields
    ------
    str
        URL of the folder with the files.

    Raises
    ------
    InputError
        A partition is not a table, or there are no rows.
    """
    if check_lists:
        _check_lists(collection, vectors)
    folder = collection_folder(collection)
    try:
        _write_all(store, folder, collection, engine, storage, progress)
        yield f"{store.url.rstrip('/')}/{folder}"
    except InputError:
        _remove(store, folder)
        raise
    _remove(store, folder)


def collection_folder(collection: Any) -> str:
    """Path, below an index, of the files of a collection."""
    from dask.base import tokenize

    token = tokenize(collection)
    return f"{JOBS}/{hashlib.blake2b(str(token).encode(), digest_size=16).hexdigest()}"


def has_files(store: Store, collection: Any) -> bool:
    """Whether files of a collection were written by a job that did not finish."""
    return any(store.list(collection_folder(collection)))


def write_partition(
    partition: Any, url: str, storage: Mapping[str, Any], path: str, label: str
) -> tuple[VsearchError | None, int]:
    """Write a partition, a pandas frame or a list of mappings, unless it is empty; return an error or None, and its rows. Runs on a worker."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = partition if hasattr(partition, "columns") else list(partition)
    if not len(rows):
        return None, 0
    try:
        table = open_table(rows, label)
        written = pa.Table.from_batches(list(table.batches()), table.schema)
        sink = io.BytesIO()
        pq.write_table(written, sink)
        with suppress(ConflictError):  # an earlier run of this task wrote it
            open_store(url, **storage).put(path, sink.getvalue())
    except VsearchError as error:
        return error, 0
    except pa.ArrowException as error:
        return InputError(f"{label}: cannot be written as Parquet ({str(error)[:200]})"), 0
    return None, len(written)


def _check_lists(collection: Any, vectors: str | None) -> None:
    """Refuse a frame whose vectors dask has converted to text.

    Raises
    ------
    InputError
        The vector column is text.
    """
    types = {str(name): str(kind) for name, kind in getattr(getattr(collection, "_meta", None), "dtypes", {}).items()}
    some = [types[vectors]] if vectors in types else list(types.values())
    if some and all(kind.startswith(("str", "large_string")) for kind in some):
        column = f"column {vectors!r}" if vectors in types else "every column"
        raise InputError(
            f"{column} of the dask DataFrame is text: dask converts lists to text, unless they come from read_parquet or the frame is "
            "created under dask.config.set({'dataframe.convert-string': False})"
        )


def _write_all(
    store: Store, folder: str, collection: Any, engine: DaskEngine, storage: Mapping[str, Any], progress: Progress
) -> None:
    from dask.delayed import delayed

    parts, present = collection.to_delayed(), {info.path for info in store.list(folder)}
    writes, kind = [], type(collection).__name__
    name = folder.rpartition("/")[2]
    for number, part in enumerate(parts):
        path = f"{folder}/{name}-{number:06d}.parquet"
        if path not in present:
            label = f"partition {number} of the dask {kind}"
            writes.append(delayed(write_partition, pure=False)(part, store.url, dict(storage), path, label))
    done, rows = len(parts) - len(writes), len(present)
    progress(STAGE, done, len(parts))
    for error, count in engine.compute(writes, STAGE):
        if error is not None:
            raise error
        done, rows = done + 1, rows + count
        progress(STAGE, done, len(parts))
    if not rows:
        raise InputError(f"the dask {kind} has no rows; there must be at least one vector")


def _remove(store: Store, folder: str) -> None:
    store.delete([info.path for info in store.list(folder)])
