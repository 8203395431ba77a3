"""The rows of an index as the source of a job: vectors decoded from rerank codes, attributes and ids, by range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from vsearch.cluster.source import ATTRIBUTE, ID
from vsearch.forking import cached_property
from vsearch.live.operations import stored_ids
from vsearch.live.retraining import stored_vectors
from vsearch.search.state.fetching import take_fields

if TYPE_CHECKING:
    import pyarrow as pa

    from vsearch.cluster.data_files import DataFile
    from vsearch.cluster.outputs import Outputs
    from vsearch.search.state.snapshot import Snapshot


@dataclass(frozen=True, eq=False)
class StoredRows:
    """Some rows of a snapshot, read like those of a source.

    Attributes
    ----------
    snapshot : Snapshot
    outputs : Outputs
    positions : DataFile
        Positions of the rows, ascending.
    """

    snapshot: Snapshot
    outputs: Outputs
    positions: DataFile

    @property
    def files(self) -> Self:
        """Reader of the vectors."""
        return self

    @cached_property
    def attributes(self) -> pa.Schema | None:
        """Field names and types of the attributes; None if there are none."""
        names = self.snapshot.schema.names
        return take_fields(self.snapshot, names, np.empty(0, np.int64)).schema if names else None

    def vectors(self, start: int, stop: int) -> NDArray[np.float32]:
        """Vectors of rows ``start:stop``, float32 (stop - start, d)."""
        return stored_vectors(self.snapshot, self._positions(start, stop))

    def ids(self, start: int, stop: int) -> Any:
        """Ids of rows ``start:stop``: int64, or a chunked array of strings."""
        ids = stored_ids(self.snapshot, self._positions(start, stop))
        if isinstance(ids, np.ndarray):
            return ids
        import pyarrow as pa

        return pa.chunked_array([ids])

    def table(self, start: int, stop: int) -> pa.Table | None:
        """Attributes and ids of rows ``start:stop``, in one chunk per column."""
        import pyarrow as pa

        columns: dict[str, Any] = {}
        names = self.snapshot.schema.names
        if names:
            stored = take_fields(self.snapshot, names, self._positions(start, stop))
            columns |= {f"{ATTRIBUTE}{name}": stored.column(name) for name in stored.column_names}
        columns[ID] = self.ids(start, stop)
        return pa.table(columns).combine_chunks()

    def _positions(self, start: int, stop: int) -> NDArray[np.int64]:
        return np.asarray(self.outputs.arrays(self.positions, start, stop)["positions"])
