"""Embedding of a text column: on all cores, in bounded memory, through a spool on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
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
        names = list(table.schema.names)
        if names.count(column) != 1:
            state = "several columns are named" if column in names else "no column"
            raise InputError(f"{table.label}: {state} {column!r}; the columns are: {', '.join(names)}")
        kind = table.schema.field(column).type
        if not _is_text(kind):
            raise InputError(f"{table.label}: column {column!r} is {kind}, not text")
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
            absent = [name for name in names if name not in self.table.schema.names]
            if absent:
                raise InputError(
                    f"{self.table.label}: no column {absent[0]!r}; the columns are: {', '.join(self.table.schema.names)}"
                )
            chosen = self.table.select(names) if names else None
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
    from threadpoolctl import threadpool_limits

    unusable, sample, total = Unusable(width=encoder.dimensions), list[str](), source.count()
    prompt = document_prompt(encoder)
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(available_cores()) as pool:

        def run(texts: Sequence[str]) -> NDArray[np.float32]:
            return encoder.encode(texts, prompt)

        for done, texts in _chunks(source, unusable):
            sample += texts[: SAMPLE - len(sample)]
            if not spool.skip(texts):
                pieces = [texts[start : start + TOGETHER] for start in range(0, len(texts), TOGETHER)]
                spool.add(texts, np.concatenate(list(pool.map(run, pieces))))
            progress("embed", done, total)
    if not spool.rows:
        raise InputError(f"{source.table.label}: no row has a text in column {source.column!r}")
    return unusable, sample


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
        missing = [row for row, text in enumerate(batch) if text is None]
        unusable.add(rows + np.array(missing, np.int64), "NULL")
        rows += len(batch)
        waiting += [text for text in batch if text is not None]
        while len(waiting) >= CHUNK:
            chunk, waiting = waiting[:CHUNK], waiting[CHUNK:]
            yield rows - len(waiting), chunk
    if waiting or not rows:
        yield rows, waiting


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))
