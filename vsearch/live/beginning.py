"""Indexes that start empty: searched exhaustively until they have enough rows to train on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
from msgspec import UNSET

from vsearch._version import __version__
from vsearch.building.encoding import model_of
from vsearch.building.pipeline import model_arrays, write_model
from vsearch.building.training import BuildOptions, train_quantizer
from vsearch.errors import ConflictError, IndexExistsError, InputError
from vsearch.live.attributes import attribute_of
from vsearch.live.options import read_options, store_options
from vsearch.live.weights import step_of, with_sparse
from vsearch.search.state import row_codes
from vsearch.search.state.deltas import Rows
from vsearch.search.state.expiry import check_ttl, present
from vsearch.search.state.model import SearchSettings
from vsearch.search.state.runs import write_run
from vsearch.sparse.entries import SparseEntry
from vsearch.storage import FORMAT, commit, discarded_on_failure, probe, snapshot_numbers
from vsearch.storage.snapshots.manifest import (
    AttributeEntry,
    CodecEntry,
    LiveEntry,
    Manifest,
    ProvenanceEntry,
    ShardEntry,
)
from vsearch.text.columns import check_columns, new_entry, read_columns

if TYPE_CHECKING:
    from vsearch.search.state.model import Model
    from vsearch.search.state.snapshot import Snapshot
    from vsearch.storage import Store
    from vsearch.storage.snapshots.text_entries import TextEntry

ENOUGH_ROWS = 2000
"""Minimum number of rows for training."""

LARGEST_MINIMUM = 10_000
"""Number of rows at which every codec is trained, even if it would need more."""

SAMPLE_ROWS = 1024

ID_TYPES = ("row", "int64", "string")

EXHAUSTIVE = SearchSettings(
    radius_factor=4.0, error_sigmas=1e5, radius_decay=0.0, recall=1.0, foreign_recall=1.0, k=10_000
)
"""Enough error sigmas that no row is dropped by its estimate: all rows are scored by their rerank codes, which are exact."""


@dataclass(frozen=True)
class Creation:
    """The checked arguments of a new, empty index.

    Attributes
    ----------
    dimensions : int
    options : BuildOptions
        The options of its training.
    attributes : tuple of AttributeEntry
    id_type : {"row", "int64", "string"}
    ttl : str or None
        The attribute that holds the expiry time of each row.
    text : TextEntry or None
        Its text columns.
    sparse : SparseEntry or None
        Its weights.
    """

    dimensions: int
    options: BuildOptions
    attributes: tuple[AttributeEntry, ...]
    id_type: str
    ttl: str | None = None
    text: TextEntry | None = None
    sparse: SparseEntry | None = None

    def __post_init__(self) -> None:
        count = self.dimensions
        if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or not 1 <= count <= 1_000_000:
            raise InputError(f"dimensions must be an integer from 1 to 1,000,000, got {count!r:.100}")
        if self.id_type not in ID_TYPES:
            raise InputError(f"ids must be one of {', '.join(ID_TYPES)}, got {self.id_type!r:.100}")
        for name, value in (("partitions", self.options.partitions), ("shards", self.options.shards)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise InputError(f"{name} must be an integer of at least 1, got {value!r:.100}")
        self.options.specification(int(count))
        if self.ttl is not None:
            check_ttl(self.ttl, [attribute_of(entry.name, entry.type) for entry in self.attributes])


def attribute_entries(types: Any) -> tuple[AttributeEntry, ...]:
    """Return the entries of attributes.

    Parameters
    ----------
    types : mapping or pyarrow.Schema, optional
        Types by name; also the attributes in `Index.info`.

    Raises
    ------
    InputError
        A type is not an attribute type, or names are invalid or repeated.
    """
    if types is None:
        return ()
    try:
        pairs = list(types.items()) if hasattr(types, "items") else [(field.name, field.type) for field in types]
    except (AttributeError, TypeError):
        raise InputError(
            f"attributes must be a dict of types by name, or a pyarrow.Schema, got {types!r:.100}"
        ) from None
    attributes = [attribute_of(name, kind) for name, kind in pairs]
    names = [attribute.name for attribute in attributes]
    if len(set(names)) != len(names):
        raise InputError(f"attributes must have different names, got {', '.join(names)}"[:400])
    return tuple(AttributeEntry(attribute.name, attribute.kind) for attribute in attributes)


def text_entry(text: Any, attributes: tuple[AttributeEntry, ...]) -> TextEntry | None:
    """Return the entry of text columns, as passed to `vsearch.build`, among the attributes of a new index.

    Raises
    ------
    InputError
        The argument is invalid, or a column is not an attribute of strings or tokens.
    MissingDependencyError
        Stemming requires snowballstemmer, which is not installed.
    """
    if text is None:
        return None
    columns = read_columns(text)
    check_columns(
        {name: column.tokens for name, column in columns.items()},
        {attribute.name: attribute.type for attribute in attributes},
    )
    return new_entry(columns, {attribute.name: attribute.field_name for attribute in attributes})


def sparse_entry(sparse: Any, attributes: tuple[AttributeEntry, ...]) -> SparseEntry | None:
    """Return the entry of weights among the attributes of a new index: the name of one, or a dict of it and its largest usual weight.

    Raises
    ------
    InputError
        The argument is invalid, or there is no such attribute of strings.
    """
    if sparse is None:
        return None
    named = {sparse: None} if isinstance(sparse, str) else sparse
    if not isinstance(named, Mapping) or len(named) != 1:
        raise InputError(
            f"sparse must be the name of an attribute, or a dict of it and its largest usual weight, got {sparse!r:.100}"
        )
    (name, largest), *_ = named.items()
    fields = {attribute.name: attribute.field_name for attribute in attributes if attribute.type == "string"}
    if name not in fields:
        raise InputError(
            f"sparse must be an attribute of strings ({', '.join(fields) or 'there are none'}), got {name!r:.100}"
        )
    return SparseEntry(fields[name], step_of(largest))


def create_index(store: Store, creation: Creation) -> Manifest:
    """Commit an index without rows.

    Raises
    ------
    IndexExistsError
        The store already contains an index.
    """
    exists = f"{store.url} already contains an index; open it, or choose another location"
    if snapshot_numbers(store):
        raise IndexExistsError(exists)
    probe(store)
    writer = uuid4().hex
    try:
        with discarded_on_failure(store, writer):
            manifest = _manifest(store, creation, writer)
        return commit(store, manifest, base=0)
    except ConflictError:
        if snapshot_numbers(store):
            raise IndexExistsError(exists) from None
        raise


def _manifest(store: Store, creation: Creation, writer: str) -> Manifest:
    dimensions = int(creation.dimensions)
    options = creation.options.sized(dimensions)
    model = untrained_model(dimensions, options)
    ids: Any = np.empty(0, np.int64)
    if creation.id_type == "string":
        import pyarrow as pa

        ids = pa.array([], pa.string())
    rows = Rows(row_codes.no_rows(model), ids, None)
    base = write_run(store, f"segments/{writer}-00000-run.arrow", model, rows, range(1), (), 0)
    manifest = Manifest(
        format=FORMAT,
        snapshot=0,
        writer=writer,
        created=datetime.now(UTC).isoformat(timespec="milliseconds"),
        rows=0,
        dimensions=dimensions,
        metric=options.stored_metric,
        id_type=creation.id_type,
        quantizer=CodecEntry(model.quantizer.name, model.quantizer.configuration()),
        rerank=model.rerank,
        partitions=1,
        seed=options.seed,
        model=write_model(store, writer, model_arrays(model)),
        shards=(ShardEntry(0, 0, 1, {}, base=base),),
        attributes=creation.attributes,
        settings=EXHAUSTIVE.to_entry(),
        provenance=ProvenanceEntry(__version__),
        live=LiveEntry(0, 1, origin=writer, pending=store_options(options), ttl=creation.ttl),
        text=creation.text or UNSET,
    )
    return manifest if creation.sparse is None else with_sparse(manifest, creation.sparse)


def untrained_model(dimensions: int, options: BuildOptions) -> Model:
    """Return a model for any data: one partition at the origin, a random rotation, and float32 vectors for reranking."""
    simple = BuildOptions(options.metric, "osq", 1.0, "float32", 1, 1, options.seed)
    noise = np.random.default_rng(simple.seed).standard_normal((SAMPLE_ROWS, dimensions), dtype=np.float32)
    origin = np.zeros((1, dimensions), np.float32)
    trained = train_quantizer(noise, origin, origin[0], simple)
    return model_of(trained, simple.metric, "float32", bitwise=options.bitwise)


def due_options(snapshot: Snapshot) -> BuildOptions | None:
    """Return the training options of an untrained index that has enough rows; otherwise None."""
    live = snapshot.manifest.live
    if not live or live.pending is None:
        return None
    rows = present(snapshot).live_count
    if rows < ENOUGH_ROWS:
        return None
    options = read_options(live.pending, snapshot.manifest.metric)
    minimum = max(min(options.record.least_rows, LARGEST_MINIMUM), options.partitions or 0, options.shards or 0)
    return options if rows >= minimum else None
