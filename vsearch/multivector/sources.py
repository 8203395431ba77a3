"""Inputs of multi-vector documents, all converted to concatenated vectors with offsets.

The outputs of encoders are recognized by their shape, without importing any of their libraries: a list of matrices
(PyLate, sentence-transformers), a padded block (ColPali-style models, padded with zero vectors), a mapping with
``token_embeddings`` and ``attention_mask``, an output object with ``embeddings``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsearch.building.inputs.arrow_vectors import matrix, open_ipc, open_stream
from vsearch.building.inputs.elements import check_bounded, stored_dtype
from vsearch.building.inputs.files import reading, require_file, split_path
from vsearch.building.inputs.tables import Table
from vsearch.building.inputs.unusable import Unusable
from vsearch.building.inputs.vectors import VectorSource, open_vectors
from vsearch.errors import InputError

TABLES = (".parquet", ".arrow", ".feather")
BATCH = 256  # documents decoded from a table at a time
EMPTY = "without vectors"
FLAWED = "with a vector that is NULL or of another length"

Found = NDArray[Any] | str
"""The matrix of a document, or the reason why it has none, which `Unusable` counts."""


@dataclass(frozen=True, eq=False)
class Documents:
    """Concatenated documents.

    Attributes
    ----------
    vectors : VectorSource
    offsets : int64 (documents + 1,)
        Document i has the vectors ``offsets[i]:offsets[i + 1]``, at least one.
    """

    vectors: VectorSource
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def read(self, start: int, stop: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the vectors, float32, of documents ``start:stop``, and their offsets, starting at 0."""
        low, high = int(self.offsets[start]), int(self.offsets[stop])
        vectors = np.ascontiguousarray(self.vectors.read(low, high), np.float32)
        check_bounded(vectors, "ip", low)
        return vectors, self.offsets[start : stop + 1] - low

    def take(self, documents: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """As `read`, for any documents."""
        lengths = self.offsets[documents + 1] - self.offsets[documents]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        rows = np.repeat(self.offsets[documents] - offsets[:-1], lengths) + np.arange(offsets[-1])
        vectors = np.ascontiguousarray(self.vectors.take(rows), np.float32)
        check_bounded(vectors, "ip", rows)
        return vectors, offsets


def open_documents(vectors: object, offsets: object | None, scratch: str | Path) -> Documents:
    """Open documents of any supported kind.

    Parameters
    ----------
    vectors
        With `offsets`: all vectors, as in `inputs.vectors.open_vectors`. Without: an iterable of matrices
        (vectors, dimensions), one per document (or of padded blocks of several); a padded block (documents, vectors,
        dimensions); a table, column or file (``.parquet .arrow .feather``, ``path::column``) with a list of vectors in
        each row; or the output of a multi-vector encoder.
    offsets : int array (documents + 1,) or path to ``.npy``, optional
    scratch : path
        Folder for spooled data, removed by the caller.

    Raises
    ------
    InputError
        Offsets do not ascend from 0 to the number of vectors, a document has no vectors, dimensions differ, or there is
        a NaN.
    """
    scratch = Path(scratch)
    if offsets is not None:
        source = open_vectors(vectors, scratch)
        return Documents(source, check_offsets(offsets, source.rows))
    lengths: list[int] = []
    source = open_vectors(_counted(matrices(vectors), lengths), scratch)
    return Documents(source, np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]))


def open_saliency(saliency: object | None, offsets: NDArray[np.int64]) -> NDArray[np.floating[Any]] | None:
    """Return the saliency of every vector, from one array or one per document: float (vectors,).

    Raises
    ------
    InputError
        It has a wrong length, or is not finite.
    """
    if saliency is None:
        return None
    if isinstance(saliency, (str, os.PathLike)):
        saliency = _load(str(saliency))
    if isinstance(saliency, np.ndarray) and saliency.ndim == 1 and saliency.dtype != object:
        values = saliency
    elif _is_tensor(saliency) and len(saliency.shape) == 1:  # type: ignore[attr-defined]
        values = _as_array(saliency)
    elif isinstance(saliency, Iterable) and not isinstance(saliency, (bytes, Mapping)):
        parts = [np.empty(0) if part is None else np.atleast_1d(_as_array(part)) for part in saliency]
        if parts and all(part.ndim == 1 and len(part) == 1 for part in parts) and len(parts) == offsets[-1]:
            values = np.concatenate(parts)
        else:
            lengths = np.diff(offsets)
            if len(parts) != len(lengths):
                msg = f"saliency must have one array per document, got {len(parts)} for {len(lengths)} documents"
                raise InputError(msg)
            for number, (part, length) in enumerate(zip(parts, lengths.tolist(), strict=True)):
                if part.ndim != 1 or len(part) != length:
                    msg = (
                        f"saliency of document {number} must have the length {length} of the document, got {part.shape}"
                    )
                    raise InputError(msg)
            values = np.concatenate(parts)
    else:
        msg = f"saliency must be one number per vector, got {type(saliency).__name__}"
        raise InputError(msg)
    if values.dtype.kind not in "fiu" or values.shape != (int(offsets[-1]),):
        msg = (
            f"saliency must be one number for each of the {int(offsets[-1])} vectors, got {values.dtype} {values.shape}"
        )
        raise InputError(msg)
    for start in range(0, len(values), 1 << 20):
        bad = np.flatnonzero(~np.isfinite(values[start : start + (1 << 20)]))
        if len(bad):
            msg = f"saliency of vector {start + int(bad[0])} must be finite, got {values[start + int(bad[0])]}"
            raise InputError(msg)
    return values if values.dtype.kind == "f" else values.astype(np.float64)


def check_offsets(offsets: object, vectors: int, *, empty: bool = False) -> NDArray[np.int64]:
    """Check the offsets of documents of `vectors` vectors, and return them as int64 (documents + 1,).

    Parameters
    ----------
    empty : bool
        Whether documents may be empty.

    Raises
    ------
    InputError
        The offsets are invalid; the message names the document.
    """
    if isinstance(offsets, (str, os.PathLike)):
        offsets = _load(str(offsets))
    array = _as_array(offsets)
    if array.dtype.kind not in "iu" or array.ndim != 1 or len(array) < 2:
        msg = f"offsets must be integers, one more than documents, got {array.dtype} {array.shape}"
        raise InputError(msg)
    starts = array.astype(np.int64)
    if starts[0] != 0 or starts[-1] != vectors:
        msg = f"offsets must start at 0 and end at the number of vectors, {vectors}, got {starts[0]} to {starts[-1]}"
        raise InputError(msg)
    lengths = np.diff(starts)
    wrong = lengths < 0 if empty else lengths <= 0
    if wrong.any():
        number = int(np.argmax(wrong))
        if lengths[number] == 0:
            msg = f"document {number} is empty (offset {starts[number]} twice); remove it, or pass missing='skip'"
        else:
            msg = f"offsets must ascend, got {starts[number]}, then {starts[number + 1]} at document {number}"
        raise InputError(msg)
    return starts


def _load(path: str) -> NDArray[Any]:
    require_file(Path(path))
    with reading(Path(path), ".npy"):
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


def _is_tensor(item: object) -> bool:
    return hasattr(item, "detach") and hasattr(item, "cpu")


def _as_array(item: Any) -> NDArray[Any]:
    """Convert an array, a tensor (on any device, also of bfloat16) or nested lists to an array."""
    if _is_tensor(item):
        item = item.detach().cpu()
        if "bfloat16" in str(item.dtype):
            item = item.float()
        item = item.numpy()
    try:
        return np.asarray(item)
    except (ValueError, TypeError) as error:
        msg = f"expected an array of numbers, got {type(item).__name__}: {error}"
        raise InputError(msg) from error


def _single_array(item: Any) -> NDArray[Any] | None:
    """Convert an array, a tensor, or an output object with one as `embeddings`, to an array; None for anything else."""
    if hasattr(item, "embeddings") and not isinstance(item, np.ndarray):
        item = item.embeddings
    if isinstance(item, np.ndarray) or _is_tensor(item) or hasattr(item, "__array_interface__"):
        return _as_array(item)
    return None


def matrices(vectors: Any, *, skip: bool = False) -> Iterator[Found]:
    """Yield the matrix of each document of any supported input; with `skip`, a reason if it has no valid one."""
    if isinstance(vectors, (str, os.PathLike)):
        yield from _of_file(str(vectors), skip=skip)
        return
    if isinstance(vectors, Table):
        yield from _of_batches(vectors.schema, vectors.batches(), None, vectors.label, skip=skip)
        return
    if isinstance(vectors, Mapping):
        yield from _of_mapping(vectors)
        return
    if type(vectors).__module__.startswith("pandas") and getattr(vectors, "dtype", None) == np.dtype(object):
        vectors = vectors.to_list()  # Arrow would convert lists, but not matrices
    if type(vectors).__module__.startswith("pyarrow") or hasattr(vectors, "__arrow_c_stream__"):
        yield from _of_arrow(vectors, skip=skip)
        return
    array = _single_array(vectors)
    if array is not None and array.dtype != object:
        if array.ndim == 3:
            yield from _of_block(array)
            return
        msg = f"vectors of the shape {array.shape} need offsets; pass these, or a list with one matrix per document"
        raise InputError(msg)
    if isinstance(vectors, (bytes, bytearray, set)) or not isinstance(vectors, Iterable):
        msg = f"vectors must be an array with offsets, or a list of matrices, got {type(vectors).__name__}"
        raise InputError(msg)
    for number, item in enumerate(vectors):
        if isinstance(item, Mapping):
            yield from _of_mapping(item)
            continue
        if skip and (item is None or (isinstance(item, float) and np.isnan(item))):
            yield "NULL"
            continue
        single = _single_array(item)
        try:
            piece = _as_array(item) if single is None else single
        except InputError:
            if not skip:
                raise
            yield "with vectors of different lengths"
            continue
        if piece.ndim == 3:
            yield from _of_block(piece)
        elif piece.ndim == 2 or piece.size == 0:
            yield piece
        else:
            msg = f"document {number} must have the shape (vectors, dimensions), got {piece.shape}"
            raise InputError(msg)


def _of_block(block: NDArray[Any], mask: NDArray[Any] | None = None) -> Iterator[NDArray[Any]]:
    """Yield the documents of a padded block (documents, vectors, dimensions)."""
    for number, document in enumerate(block):
        kept = (document != 0).any(axis=1) if mask is None else np.asarray(mask[number]) != 0
        if kept.shape != (len(document),):
            msg = f"the attention mask of document {number} must have the shape {(len(document),)}, got {kept.shape}"
            raise InputError(msg)
        yield document if kept.all() else document[kept]


def _of_mapping(output: Mapping[str, Any]) -> Iterator[Found]:
    names = ("token_embeddings", "embeddings", "last_hidden_state")
    name = next((name for name in names if name in output), None)
    if name is None:
        msg = f"a mapping must have one of {', '.join(names)}, got {', '.join(map(str, list(output)[:8]))}"
        raise InputError(msg)
    embeddings, mask = output[name], output.get("attention_mask")
    array = _single_array(embeddings)
    if array is None:
        yield from matrices(embeddings)
        return
    flags = None if mask is None else _as_array(mask)
    if array.ndim == 2:
        array, flags = array[None], None if flags is None else np.atleast_2d(flags)
    if array.ndim != 3:
        msg = f"{name} must have the shape (documents, vectors, dimensions), got {array.shape}"
        raise InputError(msg)
    yield from _of_block(array, flags)


def _of_file(path_or_column: str, *, skip: bool) -> Iterator[Found]:
    path, column = split_path(path_or_column)
    if path.suffix.lower() not in TABLES:
        msg = f"{path} needs offsets; without offsets, pass {' '.join(TABLES)} with a list of vectors in each row"
        raise InputError(msg)
    require_file(path)
    if path.suffix.lower() == ".parquet":
        import pyarrow.parquet as pq

        with reading(path, "Parquet"), pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as file:
            name = documents_column(file.schema_arrow, column, str(path))
            first = 0
            for batch in file.iter_batches(BATCH, columns=[name]):
                yield from _of_lists(batch.column(name), f"{path}: column {name!r}", first, skip=skip)
                first += batch.num_rows
        return
    import pyarrow as pa

    with reading(path, "Arrow IPC"):
        schema, batches = open_ipc(pa.memory_map(str(path)).read_buffer())
        yield from _of_batches(schema, batches, column, str(path), skip=skip)


def _of_arrow(table: Any, *, skip: bool) -> Iterator[Found]:
    import pyarrow as pa

    if isinstance(table, (pa.Array, pa.ChunkedArray)):
        table = pa.table({"vectors": table})
    if isinstance(table, pa.RecordBatch):
        table = pa.Table.from_batches([table])
    if isinstance(table, pa.Table):
        yield from _of_batches(table.schema, table.to_batches(), None, "vectors", skip=skip)
    else:
        reader = open_stream(table, "vectors")
        yield from _of_batches(reader.schema, reader, None, "vectors", skip=skip)


def _of_batches(schema: Any, batches: Iterable[Any], column: str | None, label: str, *, skip: bool) -> Iterator[Found]:
    name, first = documents_column(schema, column, label), 0
    for batch in batches:
        yield from _of_lists(batch.column(name), f"{label}: column {name!r}", first, skip=skip)
        first += batch.num_rows


def documents_column(schema: Any, column: str | None, label: str) -> str:
    """Return the named column, or the only one with lists of lists."""
    import pyarrow as pa

    def is_list(kind: Any) -> bool:
        return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))

    columns = [field.name for field in schema if is_list(field.type) and is_list(field.type.value_type)]
    listed = ", ".join(columns) or "none"
    if column is not None:
        if column not in columns:
            msg = f"{label}: column {column!r} does not contain lists of vectors; the columns that do are: {listed}"
            raise InputError(msg)
        return column
    if len(columns) != 1:
        msg = f"{label}: {len(columns)} columns contain lists of vectors ({listed}); select one as path::column"
        raise InputError(msg)
    return str(columns[0])


def _of_lists(lists: Any, label: str, first: int, *, skip: bool) -> Iterator[Found]:
    """Yield the documents of a list<list<float>> array."""
    import pyarrow as pa

    lists.validate()
    null = lists.is_null().to_numpy(zero_copy_only=False)
    if lists.null_count and not skip:
        msg = f"{label}: row {first + int(np.argmax(null))} is NULL; remove that document, or pass missing='skip'"
        raise InputError(msg)
    if pa.types.is_fixed_size_list(lists.type):
        size = lists.type.list_size
        starts = (np.arange(len(lists) + 1) + lists.offset) * size
    else:
        starts = np.asarray(lists.offsets.to_numpy(), np.int64)
    for number in range(len(lists)):
        inner = lists.values.slice(int(starts[number]), int(starts[number + 1] - starts[number]))
        unusable = Unusable() if skip else None
        if null[number]:
            yield "NULL"
            continue
        document = np.empty((0, 0), np.float32)
        if len(inner):
            document = matrix(inner, f"{label}: row {first + number}, vector", 0, unusable)
        yield FLAWED if unusable is not None and unusable.rows else document


def _counted(documents: Iterator[Found], lengths: list[int]) -> Iterator[NDArray[Any]]:
    """Pass matrices through and record their lengths; reject empty ones and differing dimensions."""
    width: int | None = None
    dtype: np.dtype[Any] | None = None
    for number, document in enumerate(documents):
        if isinstance(document, str) or document.size == 0:
            msg = f"document {number} is empty; remove it, or pass missing='skip'"
            raise InputError(msg)
        kind = stored_dtype(document.dtype, f"document {number}")
        if width is None or dtype is None:
            width, dtype = document.shape[1], kind
        if document.shape[1] != width:
            msg = f"document {number} must have vectors of {width} dimensions like the others, got {document.shape[1]}"
            raise InputError(msg)
        lengths.append(len(document))
        yield document.astype(dtype) if kind != dtype else document
