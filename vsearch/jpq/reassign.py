"""Re-assignment: codes made anew with trained centroids, kept only where validation ranks better with them.

The finding is RepCONC's: codes that were best for the centroids before training need not be so after it. It takes the
vectors that the index was built from, since an index of codes does not hold them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.building.inputs.ids import open_ids
from vsearch.building.inputs.vectors import open_vectors
from vsearch.building.layout import ShardRows, lay_out
from vsearch.building.training import prepare_vectors
from vsearch.errors import InputError
from vsearch.jpq.mining import search_live
from vsearch.jpq.pairs import Pairs
from vsearch.jpq.quality import measure
from vsearch.jpq.scoring import Documents, Parameters, load_documents
from vsearch.search.state.fetching import take_ids
from vsearch.search.state.snapshot import Snapshot, open_snapshot
from vsearch.storage import CHECKSUMS, CHUNK, Manifest, SegmentFile, ShardEntry, Store, join_checksums, write_arrays

MEASURED = 100


@dataclass(frozen=True, eq=False)
class Source:
    """The vectors that an index was built from.

    Attributes
    ----------
    take : callable
        Prepared vectors float32 (n, d) of input rows.
    order : int64 (rows,)
        Input row of each row of the index.
    """

    take: Callable[[NDArray[np.int64]], NDArray[np.float32]]
    order: NDArray[np.int64]


def open_documents(documents: Documents, vectors: Any, ids: Any, scratch: str) -> Source:
    """Open the vectors that an index was built from; `scratch` is a folder for what has to be spooled.

    Raises
    ------
    InputError
        They are not as many or as wide as the index, or their ids are not its ids.
    """
    snapshot = documents.snapshot
    manifest = snapshot.manifest
    source = open_vectors(vectors, scratch)
    if (source.rows, source.dimensions) != (manifest.rows, manifest.dimensions):
        raise InputError(
            f"documents are {source.rows} x {source.dimensions}, the index holds {manifest.rows} x {manifest.dimensions}; "
            "give the vectors that it was built from"
        )
    stored = take_ids(snapshot, np.arange(manifest.rows))
    if manifest.id_type == "row":
        order = stored.astype(np.int64)
    else:
        if ids is None:
            raise InputError("the index has ids of its own: give document_ids, the id of each of the documents")
        given = np.asarray(open_ids(ids, manifest.rows, None).take(np.arange(manifest.rows)))
        given = given.astype(object if manifest.id_type == "string" else np.int64)
        by_id = np.argsort(given, kind="stable")
        at = np.minimum(np.searchsorted(given[by_id], stored), manifest.rows - 1)
        order = by_id[at]
        if (given[order] != stored).any():
            raise InputError("document_ids are not the ids of the index; give those that it was built with")
    model = snapshot.model
    return Source(lambda rows: prepare_vectors(source.take(rows), model.metric, model.mean), order)


def reassign_codes(
    documents: Documents, parameters: Parameters, source: Source, validation: Pairs, writer: str
) -> tuple[Snapshot, bool]:
    """The trained index with its codes made anew, or as it was where validation ranks no better.

    Parameters
    ----------
    writer : str
        What the names of new files begin with.

    Returns
    -------
    trained : Snapshot
        Not committed.
    kept : bool
        Whether the new codes are in it.
    """
    live, store = documents.live(parameters), documents.snapshot.store
    manifest = encode_again(live, source, writer)
    # the committed model stands in while the new codes are read; the trained one follows at once
    written = load_documents(open_snapshot(store, manifest))
    pairs = validation.padded()
    before = measure(search_live(documents, parameters, validation.queries, MEASURED), pairs).means()
    after = measure(search_live(written, parameters, validation.queries, MEASURED), pairs).means()
    if after["ndcg@10"] > before["ndcg@10"]:
        return written.live(parameters), True
    old = {entry.path for shard in live.manifest.shards for entry in shard.files.values()}
    new = {entry.path for shard in manifest.shards for entry in shard.files.values()}
    store.delete(sorted(new - old))
    return live, False


def encode_again(live: Snapshot, source: Source, writer: str) -> Manifest:
    """Write codes, factors and partition tables of all shards anew with the model of `live`; nothing is committed."""
    model = live.model
    entries = []
    for shard, entry in zip(live.shards, live.manifest.shards, strict=True):
        rows = ShardRows(
            source.order[shard.first_row : shard.first_row + shard.rows],
            shard.table.rows,
            shard.first_partition,
        )
        layout = lay_out(rows, source.take, model, lambda _: None)
        partitions = dict(layout.partitions)
        file = shard.files["partitions"]
        file.ensure_all()
        partitions |= {name: file.array(name) for name in file.arrays if name not in partitions}
        fresh = {"codes": layout.codes, "rows": layout.rows, "partitions": partitions}
        entries.append(_replace_files(live.store, entry, fresh, writer))
    return msgspec.structs.replace(live.manifest, shards=tuple(entries))


def _replace_files(
    store: Store, entry: ShardEntry, fresh: dict[str, dict[str, NDArray[Any]]], writer: str
) -> ShardEntry:
    """A shard with some of its files written anew."""
    holder = SegmentFile(store, entry.files[CHECKSUMS])
    holder.ensure_all()
    kinds = sorted(kind for kind in entry.files if kind != CHECKSUMS)
    counts = [-(-entry.files[kind].bytes // CHUNK) for kind in kinds]
    parts = np.split(holder.array("crc32c"), np.cumsum(counts)[:-1])
    sums, files = dict(zip(kinds, parts, strict=True)), dict(entry.files)
    for kind, arrays in fresh.items():
        path = f"segments/{writer}-{entry.number:05d}-{kind}.arrow"
        files[kind], sums[kind] = write_arrays(store, path, arrays)
    path = f"segments/{writer}-{entry.number:05d}-{CHECKSUMS}.arrow"
    files[CHECKSUMS], _ = write_arrays(store, path, {"crc32c": join_checksums(sums)})
    return msgspec.structs.replace(entry, files=files)
