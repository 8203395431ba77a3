"""Indexes that begin empty: searched whole until there are rows enough to train on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from vsearch._version import __version__
from vsearch.building.encoding import model_of
from vsearch.building.pipeline import model_arrays, write_model
from vsearch.building.training import BuildOptions, train_quantizer
from vsearch.errors import ConflictError, IndexExistsError, InputError
from vsearch.live.attributes import attribute_of
from vsearch.live.options import read_options, store_options
from vsearch.search.state import row_codes
from vsearch.search.state.deltas import Rows
from vsearch.search.state.expiry import check_ttl, present
from vsearch.search.state.model import SearchSettings
from vsearch.search.state.runs import write_run
from vsearch.storage import FORMAT, commit, discarded_on_failure, probe, snapshot_numbers
from vsearch.storage.snapshots.manifest import (
    AttributeEntry,
    CodecEntry,
    LiveEntry,
    Manifest,
    ProvenanceEntry,
    ShardEntry,
)

if TYPE_CHECKING:
    from vsearch.metrics import Metric
    from vsearch.search.state.model import Model
    from vsearch.search.state.snapshot import Snapshot
    from vsearch.storage import Store

ENOUGH_ROWS = 2000
"""Rows from which there is something to learn."""

MOST_WANTED = 10_000
"""Rows that no codec is waited for beyond."""

SAMPLE_ROWS = 1024

ID_TYPES = ("row", "int64", "string")

WHOLE = SearchSettings(radius_factor=4.0, error_sigmas=1e5, radius_decay=0.0, recall=1.0, foreign_recall=1.0, k=10_000)
"""So many error sigmas that no row is dropped by its estimate: all are scored by their rerank codes, which are exact."""


@dataclass(frozen=True)
class Beginning:
    """What an index is to be, checked.

    Attributes
    ----------
    dimensions : int
    options : BuildOptions
        Those of its training.
    attributes : tuple of AttributeEntry
    id_type : {"row", "int64", "string"}
    ttl : str or None
        The attribute that says until when each row lives.
    """

    dimensions: int
    options: BuildOptions
    attributes: tuple[AttributeEntry, ...]
    id_type: str
    ttl: str | None = None

    def __post_init__(self) -> None:
        many = self.dimensions
        if isinstance(many, bool) or not isinstance(many, (int, np.integer)) or not 1 <= many <= 1_000_000:
            raise InputError(f"dimensions must be an integer from 1 to 1,000,000, got {many!r:.100}")
        if self.id_type not in ID_TYPES:
            raise InputError(f"ids must be one of {', '.join(ID_TYPES)}, got {self.id_type!r:.100}")
        for name, value in (("partitions", self.options.partitions), ("shards", self.options.shards)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise InputError(f"{name} must be an integer of at least 1, got {value!r:.100}")
        self.options.specification(int(many))
        if self.ttl is not None:
            check_ttl(self.ttl, [attribute_of(entry.name, entry.type) for entry in self.attributes])


def attribute_entries(given: Any) -> tuple[AttributeEntry, ...]:
    """Attributes of a dict of types by name, an Arrow schema, or what `Index.info` says of those of an index.

    Raises
    ------
    InputError
    """
    if given is None:
        return ()
    try:
        pairs = list(given.items()) if hasattr(given, "items") else [(field.name, field.type) for field in given]
    except (AttributeError, TypeError):
        raise InputError(
            f"attributes must be a dict of types by name, or a pyarrow.Schema, got {given!r:.100}"
        ) from None
    found = [attribute_of(name, kind) for name, kind in pairs]
    names = [attribute.name for attribute in found]
    if len(set(names)) != len(names):
        raise InputError("attributes must have different names")
    return tuple(AttributeEntry(attribute.name, attribute.kind) for attribute in found)


def create_index(store: Store, beginning: Beginning) -> Manifest:
    """Commit an index of no rows.

    Raises
    ------
    IndexExistsError
        There is one already.
    """
    exists = f"{store.url} already holds an index; open it, or choose another place"
    if snapshot_numbers(store):
        raise IndexExistsError(exists)
    probe(store)
    writer = uuid4().hex
    try:
        with discarded_on_failure(store, writer):
            manifest = _manifest(store, beginning, writer)
        return commit(store, manifest, base=0)
    except ConflictError:
        if snapshot_numbers(store):
            raise IndexExistsError(exists) from None
        raise


def _manifest(store: Store, beginning: Beginning, writer: str) -> Manifest:
    options, dimensions = beginning.options, int(beginning.dimensions)
    model = untrained_model(dimensions, options.metric, options.seed)
    ids: Any = np.empty(0, np.int64)
    if beginning.id_type == "string":
        import pyarrow as pa

        ids = pa.array([], pa.string())
    rows = Rows(row_codes.no_rows(model), ids, None)
    base = write_run(store, f"segments/{writer}-00000-run.arrow", model, rows, range(1), (), 0)
    return Manifest(
        format=FORMAT,
        snapshot=0,
        writer=writer,
        created=datetime.now(UTC).isoformat(timespec="milliseconds"),
        rows=0,
        dimensions=dimensions,
        metric=options.metric,
        id_type=beginning.id_type,
        quantizer=CodecEntry(model.quantizer.name, model.quantizer.configuration()),
        rerank=model.rerank,
        partitions=1,
        seed=options.seed,
        model=write_model(store, writer, model_arrays(model)),
        shards=(ShardEntry(0, 0, 1, {}, base=base),),
        attributes=beginning.attributes,
        settings=WHOLE.to_entry(),
        provenance=ProvenanceEntry(__version__),
        live=LiveEntry(0, 1, origin=writer, pending=store_options(options), ttl=beginning.ttl),
    )


def untrained_model(dimensions: int, metric: Metric, seed: int) -> Model:
    """A model that holds for any data: one partition around the origin, a rotation at random, vectors as they are for reranking."""
    options = BuildOptions(metric, "osq", 1.0, "float32", 1, 1, seed)
    noise = np.random.default_rng(seed).standard_normal((SAMPLE_ROWS, dimensions), dtype=np.float32)
    origin = np.zeros((1, dimensions), np.float32)
    return model_of(train_quantizer(noise, origin, origin[0], options), metric, "float32")


def due_options(snapshot: Snapshot) -> BuildOptions | None:
    """What an index is to be trained with, where it was not and has rows enough by now."""
    live = snapshot.manifest.live
    if not live or live.pending is None:
        return None
    rows = present(snapshot).live_count
    if rows < ENOUGH_ROWS:
        return None
    options = read_options(live.pending, snapshot.model.metric)
    wanted = max(min(options.record.least_rows, MOST_WANTED), options.partitions or 0, options.shards or 0)
    return options if rows >= wanted else None
