"""Reassignment: re-encode the vectors with trained centroids, and keep the new codes only if validation improves.

As RepCONC showed, the codes that are optimal for the centroids before training need not be so afterwards. Reassignment
needs the vectors that the index was built from, since the index contains only codes.
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
from vsearch.storage import CHECKSUMS, Manifest, SegmentFile, ShardEntry, Store, join_checksums, write_arrays
from vsearch.storage.files.naming import segment_path
from vsearch.storage.snapshots.kinds import CODES, PARTITIONS, ROWS

MEASURED = 100


@dataclass(frozen=True, eq=False)
class Source:
    """The vectors that an index was built from.

    Attributes
    ----------
    take : callable
        Returns the prepared vectors, float32 (n, d), of input rows.
    order : int64 (rows,)
        Input row of each row of the index.
    """

    take: Callable[[NDArray[np.int64]], NDArray[np.float32]]
    order: NDArray[np.int64]


def open_documents(documents: Documents, vectors: Any, ids: Any, scratch: str) -> Source:
    """Open the vectors that an index was built from; `scratch` is a folder for spooled data.

    Raises
    ------
    InputError
        Their number, dimensions or ids differ from those of the index.
    """
    snapshot = documents.snapshot
    manifest = snapshot.manifest
    source = open_vectors(vectors, scratch)
    if (source.rows, source.dimensions) != (manifest.rows, manifest.dimensions):
        raise InputError(
            f"documents must be the vectors that the index was built from ({manifest.rows} x {manifest.dimensions}), "
            f"got {source.rows} x {source.dimensions}"
        )
    stored = take_ids(snapshot, np.arange(manifest.rows))
    if manifest.id_type == "row":
        order = stored.astype(np.int64)
    else:
        if ids is None:
            raise InputError("the index was built with ids; pass document_ids, the id of each document")
        input_ids = np.asarray(open_ids(ids, manifest.rows, None).take(np.arange(manifest.rows)))
        input_ids = input_ids.astype(object if manifest.id_type == "string" else np.int64)
        by_id = np.argsort(input_ids, kind="stable")
        at = np.minimum(np.searchsorted(input_ids[by_id], stored), manifest.rows - 1)
        order = by_id[at]
        if (input_ids[order] != stored).any():
            raise InputError("document_ids must be the ids that the index was built with")
    model = snapshot.model
    return Source(lambda rows: prepare_vectors(source.take(rows), model.metric, model.mean), order)


def reassign_codes(
    documents: Documents, parameters: Parameters, source: Source, validation: Pairs, writer: str
) -> tuple[Snapshot, bool]:
    """Return the trained index with new codes, or with the old ones if validation does not improve.

    Parameters
    ----------
    writer : str
        Prefix of the names of new files.

    Returns
    -------
    trained : Snapshot
        Not committed.
    kept : bool
        Whether it has the new codes.
    """
    live, store = documents.live(parameters), documents.snapshot.store
    manifest = encode_again(live, source, writer)
    # loaded with the committed model; `live` replaces it by the trained one
    written = load_documents(open_snapshot(store, manifest))
    pairs = validation.padded()
    before = measure(search_live(documents, parameters, validation.queries, MEASURED), pairs).means()
    after = measure(search_live(written, parameters, validation.queries, MEASURED), pairs).means()
    if after["ndcg@10"] > before["ndcg@10"]:
        return written.live(parameters), True
    delete_codes(store, manifest, live.manifest)
    return live, False


def delete_codes(store: Store, dropped: Manifest, kept: Manifest) -> None:
    """Delete the files of shards that only the first of two manifests names."""
    paths = [
        {entry.path for shard in manifest.shards for entry in shard.files.values()} for manifest in (dropped, kept)
    ]
    store.delete(sorted(paths[0] - paths[1]))


def encode_again(live: Snapshot, source: Source, writer: str) -> Manifest:
    """Rewrite the codes, factors and partition tables of all shards with the model of `live`, without a commit."""
    model = live.model
    entries = []
    for shard, entry in zip(live.shards, live.manifest.shards, strict=True):
        rows = ShardRows(
            source.order[shard.first_row : shard.first_row + shard.rows],
            shard.table.rows,
            shard.first_partition,
        )
        layout = lay_out(rows, source.take, model, lambda _: None)
        replaced = {CODES: layout.codes, ROWS: layout.rows, PARTITIONS: layout.partitions}
        entries.append(_replace_files(live.store, entry, replaced, writer))
    return msgspec.structs.replace(live.manifest, shards=tuple(entries))


def _replace_files(
    store: Store, entry: ShardEntry, replaced: dict[str, dict[str, NDArray[Any]]], writer: str
) -> ShardEntry:
    """Write new files of some kinds for a shard; return its entry."""
    checksums = SegmentFile(store, entry.files[CHECKSUMS])
    checksums.ensure_all()
    kinds = sorted(kind for kind in entry.files if kind != CHECKSUMS)
    counts = [entry.files[kind].chunks for kind in kinds]
    parts = np.split(checksums.array("crc32c"), np.cumsum(counts)[:-1])
    sums, files = dict(zip(kinds, parts, strict=True)), dict(entry.files)
    for kind, arrays in replaced.items():
        path = segment_path(writer, entry.number, kind)
        files[kind], sums[kind] = write_arrays(store, path, arrays)
    path = segment_path(writer, entry.number, CHECKSUMS)
    files[CHECKSUMS], _ = write_arrays(store, path, {"crc32c": join_checksums(sums)})
    return msgspec.structs.replace(entry, files=files)
