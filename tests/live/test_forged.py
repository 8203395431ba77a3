"""Forged bundles with valid checksums: the fault is reported before the contents are used."""

from __future__ import annotations

from contextlib import suppress
from random import Random

import msgspec
import numpy as np
import pytest

from bench.fuzzers import bundles
from bench.fuzzers.changed import DIMENSIONS, WHERES, beginning_of
from bench.fuzzers.forging import Contents, Part, put_manifest, write_contents, write_part
from bench.fuzzers.live import small_measures
from bench.fuzzers.live_model import mapped, open_here, remote
from vsearch.errors import CorruptIndexError, RemoteError
from vsearch.live.optimizing import optimize
from vsearch.search.state.stored_ids import check_ids
from vsearch.storage import read_manifest
from vsearch.storage.files.bundle import open_bundle
from vsearch.storage.files.entries import ColumnEntry
from vsearch.storage.files.naming import manifest_path
from vsearch.storage.files.segment_file import SegmentFile

ANY = np.zeros((1, DIMENSIONS), np.float32)
BUNDLES = ("base", "young", "delta")


@pytest.fixture(scope="module")
def begun():
    with small_measures():
        return {kind: beginning_of(kind) for kind in ("bare", "documents")}


def forged(begun, kind, which, change, place=mapped):
    """A store with an index in which one bundle was modified."""
    store = begun[kind].copy(place(), 1)
    manifest = read_manifest(store)
    live, shard = manifest.live, manifest.shards[0]
    segment = live.deltas[0] if which == "delta" else getattr(shard, which)
    contents = Contents.of(store, segment.bundle)
    change(contents.parts, segment)
    segment = msgspec.structs.replace(segment, bundle=write_contents(store, "segments/forged.arrow", contents))
    if which == "delta":
        live = msgspec.structs.replace(live, deltas=(segment, *live.deltas[1:]))
    else:
        shard = msgspec.structs.replace(shard, **{which: segment})
    manifest = msgspec.structs.replace(manifest, live=live, shards=(shard, *manifest.shards[1:]))
    put_manifest(store, manifest, manifest.snapshot)
    return store


def array(part, name, make):
    def change(parts, _):
        parts[part].arrays[name] = np.ascontiguousarray(make(parts[part].arrays[name]))

    return change


def column(name, part="attributes", **changes):
    def change(parts, _):
        columns = parts[part].columns
        at = [one.name for one in columns].index(name)
        columns[at] = msgspec.structs.replace(columns[at], **changes)

    return change


def without(part):
    return lambda parts, _: parts.pop(part)


def more_rows(parts, _):
    parts["attributes"].rows += 1


#: Mutations of a base, a young run and a delta, and the expected errors.
OF_ALL = {
    "fewer ids": (array("ids", "id", lambda ids: ids[:-1]), "ids|rows"),
    "ids with a second axis": (array("ids", "id", lambda ids: ids[:, None]), "ids"),
    "ids that are floats": (array("ids", "id", lambda ids: ids.astype(np.float64)), "float64"),
    "no ids": (without("ids"), "ids"),
    "attributes of other rows": (more_rows, "attributes of"),
    "a column of fewer numbers": (array("attributes", "price.values", lambda values: values[:-1]), "at least"),
    "a column of other numbers": (array("attributes", "price.values", lambda values: values.view(np.int64)), "int64"),
    "a column without offsets": (array("attributes", "name.offsets", lambda offsets: offsets[:0]), "at least"),
    "lists that end behind their items": (array("attributes", "tags.item_data", lambda data: data[:0]), "tags"),
    "text that is not UTF-8": (array("attributes", "name.data", lambda data: data | 128), "name|UTF-8"),
    "a column of another type": (column("price", type="timestamp[us]"), "price|timestamp"),
    "a column of no type": (column("price", type="nothing"), "unknown"),
    "nulls that no bitmap tells": (column("price", nulls=1), "validity"),
}
OF_RUNS = {
    "an encoding of another attribute": (
        lambda parts, _: parts.update({"column-0-0": parts["column-1-0"]}), "attribute|number|price",
    ),
    "an encoding without counts": (lambda parts, _: parts["column-0-0"].arrays.pop("counts"), "counts"),
}  # fmt: skip
OF_DELTAS = {
    "partitions that there are not": (array("delta", "partitions", lambda one: one + 10**6), "partitions"),
    "partitions below 0": (array("delta", "partitions", lambda one: one - 10**6), "partitions"),
    "squares that are not finite": (array("delta", "squares", lambda one: one * np.nan), "finite"),
}
OF_REMOVED = {
    "rows of another type": (array("removed", "row", lambda rows: rows.astype(np.float64)), "removed rows"),
    "rows beyond the segment": (array("removed", "row", lambda rows: rows + 2**31), "is not one of its"),
    "fewer segments": (array("removed", "segment", lambda segments: segments[:-1]), "removed rows"),
    "ids of fewer": (array("removed-ids", "id", lambda ids: ids[:-1]), "ids"),
}
CASES = [
    *((which, name, *case) for which in BUNDLES for name, case in OF_ALL.items()),
    *((which, name, *case) for which in BUNDLES[:2] for name, case in OF_RUNS.items()),
    *(("delta", name, *case) for name, case in OF_DELTAS.items()),
    *(("young", name, *case) for name, case in OF_REMOVED.items()),
]


def everything(index):
    """Read all rows, by all their columns."""
    query = np.zeros((1, index.snapshot.manifest.dimensions), np.float32)
    index.search(query, k=200, columns=index.snapshot.schema.names).to_arrow().to_pylist()
    for where in WHERES:
        index.search(query, k=200, where=where)
    index.get(index.search(query, k=200, exact=True).ids[0][:3])


@pytest.mark.parametrize(("which", "name", "change", "said"), CASES, ids=[f"{case[0]}: {case[1]}" for case in CASES])
def test_what_is_wrong_with_a_bundle_is_told(begun, which, name, change, said):
    store = forged(begun, "bare", which, change)
    with pytest.raises(CorruptIndexError, match=said):
        everything(open_here(store))
    unforeseen, refused = [], name == "ids of fewer"  # which functions have no use for
    with bundles.listening(unforeseen):
        functions = bundles.Functions(store, unforeseen).index
        for where in (None, *WHERES):
            try:
                functions.search(ANY, k=200, where=where, columns=["price", "name", "tags"], mode="alone")
            except (RemoteError, CorruptIndexError):
                refused = True
    assert not unforeseen
    assert refused


DOCUMENTS = {
    "more vectors than there are": array("documents", "vectors", lambda one: np.full_like(one, 2**32 - 1)),
    "a document without vectors": array("documents", "vectors", np.zeros_like),
    "vectors that are floats": array("documents", "vectors", lambda one: one.astype(np.float32)),
    "codes with a second axis": array("patch-codes", "code", lambda one: one[:, None]),
    "codes of another type": array("patch-codes", "code", lambda one: one.astype(np.uint16)),
    "residuals of another width": array("patch-residuals", "residual", lambda one: one[:, :-1]),
    "factors of another type": array("patch-factors", "factor", lambda one: one.view(np.uint16)),
    "fewer vectors": array("patch-exact", "exact", lambda one: one[:-1]),
    "positions that are floats": array("patch-positions", "position", lambda one: one.astype(np.float32)),
    "no factors": without("patch-factors"),
}


@pytest.mark.parametrize("which", BUNDLES)
@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_is_wrong_with_documents_is_told(begun, which, name):
    """Before places are made of lengths, which may be of more vectors than memory holds; by a search, and by a merge."""
    store = forged(begun, "documents", which, DOCUMENTS[name])
    query = np.ones((3, DIMENSIONS), np.float32)
    with pytest.raises(CorruptIndexError):
        open_here(store).search_documents(query, k=200)
    with small_measures(), suppress(CorruptIndexError):
        optimize(open_here(store).snapshot, force=True)
    with pytest.raises(CorruptIndexError):
        open_here(store).search_documents(query, k=200)


@pytest.mark.parametrize("seed", [*range(12), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(12, 24))])
def test_any_forgery_is_refused_or_does_no_harm(seed):
    assert bundles.Fuzzer(None, ("bare", "documents")).attempt(Random(seed)) in {"right", "refused"}


def test_what_nobody_forged_is_right(begun):
    with small_measures():
        for place in (mapped, remote):
            for kind, one in begun.items():
                for stage in range(3):
                    everything(open_here(one.copy(place(), stage)))
                    if kind == "bare":
                        trial = bundles.Trial(one, stage, one.copy(place(), stage), Random(stage))
                        trial.run(bundles.Fuzzer(None))
                        assert not trial.refused


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": np.zeros((2, 1), np.uint8)}, "data must be uint8"),
        ({"offsets": np.zeros(2, np.int32)}, "offsets must be int32 with at least 3"),
        ({"offsets": np.zeros(3, np.int64)}, "offsets must be int32"),
        ({"nulls": 1}, "as strings"),
        ({"type": "list<string>"}, "as strings"),
        ({"name": "di"}, "as strings"),
        ({"rows": 3}, "ids of 2 rows"),
    ],
)
def test_ids_that_are_no_texts(changes, said):
    buffers = {"offsets": np.array([0, 1, 2], np.int32), "data": np.zeros(2, np.uint8)}

    def ids(name="id", type="string", nulls=0, rows=2, **arrays):
        buffered = {f"{name}.{buffer}": array for buffer, array in {**buffers, **arrays}.items()}
        store = mapped()
        contents = Contents({"ids": Part(buffered, [ColumnEntry(name, type, nulls)], rows)}, {})
        return open_bundle(store, write_contents(store, "segments/ids.arrow", contents)).files["ids"]

    check_ids(ids(), 2, text=True)
    with pytest.raises(CorruptIndexError, match=said):
        check_ids(ids(**changes), 2, text=True)


def test_vectors_of_documents_of_a_type_that_there_is_not(begun):
    store = begun["documents"].copy(mapped(), 1)
    manifest = read_manifest(store)
    documents = msgspec.structs.replace(manifest.documents, store="floa\x002")
    put_manifest(store, msgspec.structs.replace(manifest, documents=documents), manifest.snapshot)
    with pytest.raises(CorruptIndexError, match="are stored as"):
        open_here(store)


def of_live(**changes):
    return lambda manifest: msgspec.structs.replace(manifest, live=msgspec.structs.replace(manifest.live, **changes))


def of_operation(**changes):
    return lambda manifest: of_live(operation=msgspec.structs.replace(manifest.live.operation, **changes))(manifest)


def one_file_twice(manifest):
    first, *others = manifest.live.deltas
    again = msgspec.structs.replace(first, number=manifest.live.next_segment)
    return of_live(deltas=(first, *others, again), next_segment=again.number + 1)(
        msgspec.structs.replace(manifest, rows=manifest.rows + first.rows)
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda manifest: of_operation(restored=manifest.snapshot)(manifest), "not older"),
        (lambda manifest: of_operation(restored=manifest.snapshot + 5)(manifest), "not older"),
        (of_live(next_partition=2**31), "next_partition"),
        (of_live(next_segment=2**32), "next_segment"),
        (one_file_twice, "refer to one file"),
    ],
    ids=["restores itself", "restores a later one", "partitions", "segments", "one file twice"],
)
def test_numbers_of_a_manifest_that_writers_and_followers_count_on(begun, change, said):
    """Of one that restored itself, the way back to an older one would have no end."""
    store = begun["bare"].copy(mapped(), 1)
    manifest = read_manifest(store)
    put_manifest(store, change(manifest), manifest.snapshot)
    with pytest.raises(CorruptIndexError, match=said):
        open_here(store)


@pytest.mark.parametrize("which", BUNDLES)
def test_a_run_that_is_open_is_held_against_a_newer_manifest(begun, which):
    """What is known of a file by its path is not taken for what another manifest says of it."""
    store = begun["bare"].copy(mapped(), 1)
    index, manifest = open_here(store), read_manifest(store)
    everything(index)
    live, shard = manifest.live, manifest.shards[0]
    segment = live.deltas[0] if which == "delta" else getattr(shard, which)
    segment = msgspec.structs.replace(segment, rows=segment.rows - 2)
    if which == "delta":
        segment = msgspec.structs.replace(segment, number=live.next_segment)
        live = msgspec.structs.replace(live, deltas=(*live.deltas[1:], segment), next_segment=live.next_segment + 1)
    else:
        shard = msgspec.structs.replace(shard, **{which: segment})
        shard = msgspec.structs.replace(shard, rows=shard.base.rows)
    newer = msgspec.structs.replace(
        manifest, snapshot=manifest.snapshot + 1, writer="other", live=live, shards=(shard,)
    )
    store.put(manifest_path(newer.snapshot), b"")
    put_manifest(store, newer, newer.snapshot)
    with pytest.raises(CorruptIndexError):
        index.refresh()


@pytest.mark.parametrize("number", [np.nan, np.inf, 3e38])
def test_centroids_that_no_vectors_have(begun, number):
    store = begun["bare"].copy(mapped(), 1)
    manifest = read_manifest(store)
    for kind, entry in manifest.model.items():
        part = Part.of(SegmentFile(store, entry))
        if "centroids" in part.arrays:
            part.arrays["centroids"][0, 0] = number
            model = {**manifest.model, kind: write_part(store, "model/forged.arrow", part)}
            put_manifest(store, msgspec.structs.replace(manifest, model=model), manifest.snapshot)
    with pytest.raises(CorruptIndexError, match="centroids"):
        open_here(store)
