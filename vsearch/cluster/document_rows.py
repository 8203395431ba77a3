"""Multi-vector documents as the tasks of a job left them: their vectors by range, and those of a shard."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from vsearch.building.inputs.elements import check_bounded
from vsearch.building.inputs.vectors import ArrayVectors
from vsearch.cluster.encoding_results import ExchangedDocuments, Numbered, Reduced
from vsearch.multivector.build import BATCH_VECTORS, batches
from vsearch.multivector.sources import Documents

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vsearch.cluster.data_files import DataFile
    from vsearch.cluster.outputs import Outputs


@dataclass(frozen=True, eq=False)
class StoredDocuments:
    """The documents that the tasks of ``reduce`` left, after ``number``.

    Attributes
    ----------
    outputs : Outputs
    numbered : Numbered
    """

    outputs: Outputs
    numbered: Numbered

    def offsets(self, start: int, stop: int) -> NDArray[np.int64]:
        """Offsets of documents ``start:stop`` among all vectors, int64 (stop - start + 1,)."""
        return self.outputs.arrays(self.numbered.offsets, start, stop + 1)["offset"]

    def read(self, start: int, stop: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the vectors, float32, of documents ``start:stop``, and their offsets, starting at 0."""
        offsets = self.offsets(start, stop)
        low, high = int(offsets[0]), int(offsets[-1])
        parts = [part["vectors"] for part in self.parts(low, high, ["vectors"])]
        vectors = np.ascontiguousarray(np.concatenate(parts), np.float32)
        check_bounded(vectors, "ip", low)
        return vectors, offsets - low

    def parts(self, low: int, high: int, names: list[str]) -> Iterator[dict[str, NDArray[Any]]]:
        """Vectors ``low:high``, or their positions, by task."""
        edges = np.array(self.numbered.edges)
        first = int(np.searchsorted(edges, low, side="right")) - 1
        for task in range(first, int(np.searchsorted(edges, high))):
            start, begin, end = int(edges[task]), max(low, int(edges[task])), min(high, int(edges[task + 1]))
            if end > begin:
                file = cast("DataFile", self.outputs.read(Reduced, "reduce", task).vectors)
                yield self.outputs.arrays(file, begin - start, end - start, names)


def sort_documents(
    stored: StoredDocuments, start: int, order: NDArray[np.int64], edges: NDArray[np.int64], scratch: Path, number: int
) -> tuple[ExchangedDocuments, list[DataFile]]:
    """Write documents from `start` on in another order, through local files; `edges` divide them, and thus their vectors."""
    outputs = stored.outputs
    offsets = stored.offsets(start, start + len(order))
    low, high = int(offsets[0]), int(offsets[-1])
    offsets = offsets - low
    lengths = np.diff(offsets)[order]
    ends = np.concatenate([[0], np.cumsum(lengths)])
    arrays: dict[str, NDArray[Any]] = {}
    with (scratch / "vectors").open("wb") as vectors, (scratch / "positions").open("wb") as positions:
        for part in stored.parts(low, high, ["vectors", "position"]):
            vectors.write(np.ascontiguousarray(part["vectors"]).data)
            positions.write(np.ascontiguousarray(part["position"]).data)
            arrays = part
    for name, path in (("vectors", scratch / "vectors"), ("position", scratch / "positions")):
        shape = (high - low, *arrays[name].shape[1:])
        unsorted = np.memmap(path, arrays[name].dtype, "r", shape=shape)
        arrays[name] = np.memmap(scratch / f"sorted-{name}", unsorted.dtype, "w+", shape=shape)
        for first, last in batches(ends):
            first_vectors = offsets[order[first:last]] - ends[first:last]
            rows = np.repeat(first_vectors, lengths[first:last]) + np.arange(ends[first], ends[last])
            arrays[name][ends[first] : ends[last]] = unsorted[rows]
    written = outputs.write("exchange", number, "documents", arrays)
    of_lengths = outputs.write("exchange", number, "lengths", {"length": lengths})
    return ExchangedDocuments(written, of_lengths, tuple(ends[edges].tolist())), [written, of_lengths]


def collect_documents(
    outputs: Outputs, exchanged: Iterator[tuple[ExchangedDocuments, int, int]], shard: int, scratch: Path
) -> tuple[Documents, NDArray[np.int32]]:
    """The documents of a shard, and the positions of their vectors, in local files.

    Parameters
    ----------
    exchanged : iterator
        Documents of each chunk, and which of them belong to the shard.
    """
    lengths, shape, dtype = [np.empty(0, np.int64)], (0,), np.dtype(np.float32)
    with (scratch / "documents").open("wb") as vectors, (scratch / "positions").open("wb") as positions:
        for documents, low, high in exchanged:
            lengths.append(outputs.arrays(documents.lengths, low, high)["length"])
            first, last = documents.edges[shard : shard + 2]
            for start in range(first, last, BATCH_VECTORS):
                part = outputs.arrays(documents.vectors, start, min(start + BATCH_VECTORS, last))
                vectors.write(np.ascontiguousarray(part["vectors"]).data)
                positions.write(np.ascontiguousarray(part["position"]).data)
                shape, dtype = part["vectors"].shape[1:], part["vectors"].dtype
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
    total = int(offsets[-1])
    source = ArrayVectors(
        [np.memmap(scratch / "documents", dtype, "r", shape=(total, *shape))], "documents", finite=True
    )
    return Documents(source, offsets), np.memmap(scratch / "positions", np.int32, "r", shape=(total,))
