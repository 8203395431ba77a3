"""The rows of a job that encodes texts: those that have one, with their vectors from the tasks that encoded them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from vsearch.cluster.encoding_results import Embedded, EncoderFiles

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from vsearch.cluster.outputs import Outputs
    from vsearch.cluster.source import SourceRows


@dataclass(frozen=True, eq=False)
class TextRows:
    """The rows with a text, numbered without the others, read like those of a source.

    Attributes
    ----------
    source : SourceRows
        All rows; its plan says how many of them each task encoded.
    outputs : Outputs
    """

    source: SourceRows
    outputs: Outputs

    @property
    def files(self) -> Self:
        """Reader of the vectors."""
        return self

    @property
    def attributes(self) -> pa.Schema | None:
        """Names and stored types of the attributes; None if there are none."""
        return self.source.attributes

    def vectors(self, start: int, stop: int) -> NDArray[np.float32]:
        """Vectors of rows ``start:stop``, float32 (stop - start, d)."""
        result = np.empty((stop - start, self.source.plan.dimensions), np.float32)
        for at, part in self._parts("vectors", start, stop):
            result[at : at + len(part)] = part
        return result

    def ids(self, start: int, stop: int) -> Any:
        """Ids of rows ``start:stop``: int64, or a chunked array of strings; None if ids are row numbers."""
        kept = self.numbers(start, stop)
        return self.source.ids(int(kept[0]), int(kept[-1]) + 1, kept)

    def table(self, start: int, stop: int) -> pa.Table | None:
        """Attributes and ids of rows ``start:stop``, in one chunk per column; None if there are neither."""
        kept = self.numbers(start, stop)
        return self.source.table(int(kept[0]), int(kept[-1]) + 1, kept)

    def numbers(self, start: int, stop: int) -> NDArray[np.int64]:
        """Numbers of rows ``start:stop`` among all rows, int64 ascending."""
        return np.concatenate([part for _, part in self._parts("row", start, stop)])

    def _parts(self, name: str, start: int, stop: int) -> Iterator[tuple[int, NDArray[Any]]]:
        """An array of rows ``start:stop``, by task, with the place of each part in the whole."""
        edges = np.array(self.source.plan.edges)
        first, last = np.searchsorted(edges, start, side="right") - 1, np.searchsorted(edges, stop)
        for task in range(int(first), int(last)):
            low, high = max(start, int(edges[task])), min(stop, int(edges[task + 1]))
            file = self.outputs.read(Embedded, "embed", task).file
            if file is not None and high > low:
                of_task = int(edges[task])
                yield low - start, self.outputs.arrays(file, low - of_task, high - of_task, [name])[name]


def encoder_files(outputs: Outputs) -> dict[str, NDArray[np.uint8]]:
    """The files of the encoder of a job, by name."""
    record = outputs.read(EncoderFiles, "encoder")
    return {name: outputs.arrays(file)["bytes"] for name, file in record.files.items()}
