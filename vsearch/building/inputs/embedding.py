"""Embedding of a text column: on all cores, in bounded memory, through a spool on disk."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vsearch.building.inputs.rows import InputArguments
from vsearch.building.inputs.tables import Table, is_table, named_column, open_table
from vsearch.building.inputs.text_spool import TextSpool
from vsearch.building.inputs.unusable import Unusable
from vsearch.cores import available_cores
from vsearch.errors import InputError
from vsearch.forking import renew_in_children

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from vsearch.encoders.encoder import TextEncoder

CHUNK = 512
"""Texts per record of the spool; a killed build computes at most this many again."""

TOGETHER = 8
"""Texts that a thread embeds at a time. Each is processed alone, so its vector does not depend on the others."""

PROMPTS = ("document", "passage", "corpus")
"""Names of the document prompt in models."""

SAMPLE = 256
"""Texts that are kept for calibration."""


@dataclass(frozen=True, eq=False)
class TextTable:
    """A table with a column of texts, which can be read again and again."""

    table: Table
    column: str

    @classmethod
    def open(cls, source: object, column: str, scratch: Path) -> TextTable:
        """Open a table of any kind.

        Raises
        ------
        InputError
            The input is not a table, or has no such text column.
        """
        if not is_table(source):
            if not isinstance(source, (str, Path)):
                raise InputError(f"text_column={column!r} requires a table, got {type(source).__name__}")
            source = named_column(source)[0]
        table = open_table(source, "texts").reread(scratch)
        check_text_column(table, column)
        return cls(table, column)

    def count(self) -> int:
        """Number of rows, including those without a text."""
        return sum(batch.num_rows for batch in self.table.read([self.column]))

    def batches(self) -> Iterator[list[str | None]]:
        """The texts, batch by batch; None for rows without a text."""
        for batch in self.table.read([self.column]):
            yield batch.column(0).to_pylist()

    def without_vectors(self, arguments: InputArguments) -> InputArguments:
        """The arguments for building from vectors: attributes and ids are taken from the table unless they are passed separately."""
        names = arguments.attributes
        chosen: object | None = arguments.attributes
        if names is None:
            chosen = self.table
        elif isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names) and not is_table(names):
            chosen = selected_columns(self.table, names)
        ids = arguments.id if arguments.id is not None else arguments.ids
        if isinstance(ids, str) and ids in self.table.schema.names:
            import pyarrow as pa

            kind = self.table.schema.field(ids).type
            ids = pa.chunked_array([batch.column(0) for batch in self.table.read([ids])], kind)
        return replace(arguments, attributes=chosen, ids=ids, id=None)


def embed(
    source: TextTable, encoder: TextEncoder, spool: TextSpool, progress: Callable[[str, int, int], None]
) -> tuple[Unusable, list[str]]:
    """Embed all texts of a table into a spool.

    Parameters
    ----------
    progress : callable
        Called with ``("embed", done, total)``.

    Returns
    -------
    unusable : Unusable
        Rows without a text, which have no vector.
    sample : list of str
        Some texts.

    Raises
    ------
    InputError
        No row has a text.
    """
    unusable, sample, total = Unusable(width=encoder.dimensions), list[str](), source.count()
    with one_blas_thread, ThreadPoolExecutor(available_cores()) as pool:
        for done, texts in _chunks(source, unusable):
            sample += texts[: SAMPLE - len(sample)]
            if not spool.skip(texts):
                spool.add(texts, encode_texts(encoder, texts, pool.map))
            progress("embed", done, total)
    require_texts(spool.rows, source.table.label, source.column)
    return unusable, sample


def check_text_column(table: Table, column: str) -> None:
    """Refuse a column that does not exist, or does not hold texts.

    Raises
    ------
    InputError
        The column does not exist, is ambiguous, or holds no text.
    """
    names = list(table.schema.names)
    if names.count(column) != 1:
        state = "several columns are named" if column in names else "no column"
        raise InputError(f"{table.label}: {state} {column!r}; the columns are: {', '.join(names)}")
    kind = table.schema.field(column).type
    if not _is_text(kind):
        raise InputError(f"{table.label}: column {column!r} is {kind}, not text")


def selected_columns(table: Table, names: Sequence[str]) -> Table | None:
    """The table with only these columns; None for no columns.

    Raises
    ------
    InputError
        A column does not exist.
    """
    absent = [name for name in names if name not in table.schema.names]
    if absent:
        raise InputError(f"{table.label}: no column {absent[0]!r}; the columns are: {', '.join(table.schema.names)}")
    return table.select(list(names)) if names else None


def split_texts(values: Sequence[str | None]) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
    """The texts of a batch, their rows, and the rows that have none."""
    absent = np.array([value is None for value in values], np.bool_)
    return [value for value in values if value is not None], np.flatnonzero(~absent), np.flatnonzero(absent)


def encode_texts(
    encoder: TextEncoder,
    texts: Sequence[str],
    apply: Callable[..., Iterator[NDArray[np.float32]]] = map,
) -> NDArray[np.float32]:
    """Vectors float32 (m, dimensions) of at least one text, with the model's document prompt.

    Parameters
    ----------
    apply : callable
        Calls a function for each item, like `map`; may use threads. Enter `one_blas_thread` before.
    """
    prompt = document_prompt(encoder)
    pieces = [texts[start : start + TOGETHER] for start in range(0, len(texts), TOGETHER)]
    return np.concatenate(list(apply(lambda piece: encoder.encode(piece, prompt), pieces)))


def require_texts(count: int, label: str, column: str) -> None:
    """Refuse a table of which no row has a text.

    Raises
    ------
    InputError
        No row has a text.
    """
    if not count:
        raise InputError(f"{label}: no row has a text in column {column!r}")


class _OneThread:
    """A context in which BLAS uses one thread, so that products do not depend on the number of cores.

    The setting belongs to the process: it ends with the last of the threads that need it.
    """

    def __init__(self) -> None:
        self.renew_after_fork()
        renew_in_children(self)

    def renew_after_fork(self) -> None:
        """Start without users: their threads do not exist in the child."""
        self._lock, self._users, self._limit = threading.Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        from threadpoolctl import threadpool_limits

        with self._lock:
            if not self._users:
                self._limit.enter_context(threadpool_limits(1, "blas"))
            self._users += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                self._limit.close()


one_blas_thread = _OneThread()


def document_prompt(encoder: TextEncoder) -> str:
    """Name of the prompt that a model has for documents; empty if it has none."""
    return next((name for name in PROMPTS if name in encoder.model.architecture.prompts), "")


def signature(encoder: TextEncoder) -> str:
    """Identify the vectors of an encoder on this machine, by a digest of its sizes and of its vectors of some texts."""
    architecture = encoder.model.architecture
    probes = encoder.encode(["", "a quick brown fox, 1234", "vector search over compressed codes " * 20], "")
    digest = hashlib.sha256(repr(sorted(architecture.to_dict().items())).encode())
    digest.update(document_prompt(encoder).encode())
    digest.update(probes.tobytes())
    return digest.hexdigest()


def _chunks(source: TextTable, unusable: Unusable) -> Iterator[tuple[int, list[str]]]:
    """Texts in chunks of one size, independent of the batches, and the number of rows done after each."""
    waiting: list[str] = []
    rows = 0
    for batch in source.batches():
        texts, _, missing = split_texts(batch)
        unusable.add(rows + missing, "NULL")
        rows += len(batch)
        waiting += texts
        while len(waiting) >= CHUNK:
            chunk, waiting = waiting[:CHUNK], waiting[CHUNK:]
            yield rows - len(waiting), chunk
    if waiting:
        yield rows, waiting


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))
