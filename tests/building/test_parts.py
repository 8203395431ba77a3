"""Additional parts of a build: written under their own names and kinds, in the order of the rows."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

import vsearch
from vsearch.building.inputs.rows import InputArguments
from vsearch.building.pipeline import build_index
from vsearch.building.training import BuildOptions
from vsearch.search.state.snapshot import open_snapshot
from vsearch.storage import (
    DocumentsEntry,
    SegmentFile,
    TokenCodecEntry,
    ensure_together,
    open_store,
    read_manifest,
    snapshot_numbers,
)


class Words:
    """A part with a number for every row, and a table that all shards share."""

    name = "documents"
    kinds = frozenset(("numbers",))

    def __init__(self, writes=("numbers",)):
        self.writes = writes

    def model(self):
        return {"table": np.arange(5.0), "other": np.arange(5)}

    def entry(self):
        return DocumentsEntry(TokenCodecEntry(4, None, False), 8, 200, 200, 1.0, None)

    def check(self, attributes):
        assert attributes is None

    def write_shard(self, rows, arrays, attributes):
        assert attributes is None
        for kind in self.writes:
            arrays(kind, {"number": 10 * rows})


def build(store, *parts):
    vectors = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)
    return build_index(
        store,
        vectors,
        arguments=InputArguments(None, None, None, None),
        options=BuildOptions("l2", "osq", 1.0, None, 4, 2, 0),
        overwrite=False,
        tune_defaults=lambda manifest: manifest,
        progress=lambda stage, done, total: None,
        parts=parts,
    )


def test_a_part_is_written_with_the_rows_of_each_shard():
    store = open_store("memory://parts/written")
    manifest = build(store, Words())
    assert manifest.documents == Words().entry()
    assert sorted(kind for kind in manifest.model if ":" in kind) == ["documents:rows-5"]
    snapshot = open_snapshot(store, read_manifest(store, None))
    for shard, entry in zip(snapshot.shards, manifest.shards, strict=True):
        file, ids = (SegmentFile(store, entry.files[kind], None, manifest.snapshot) for kind in ("numbers", "ids"))
        ensure_together([(file, "number", None, None), (ids, "id", None, None)])
        assert file.array("number").tolist() == [10 * int(row) for row in ids.array("id")]
        assert shard.rows == len(file.array("number"))
    assert vsearch.verify("memory://parts/written").ok


@pytest.mark.parametrize("writes", [("codes",), ("numbers", "numbers"), ("other",)])
def test_a_part_writes_files_of_its_own_kinds_only(writes):
    store = open_store(f"memory://parts/{'-'.join(writes)}")
    with pytest.raises(ValueError, match="'documents' may write each of its file kinds once"):
        build(store, Words(writes))
    assert snapshot_numbers(store) == []
    assert store.list("segments") == []


def test_readers_pass_over_the_model_files_of_parts_that_they_do_not_know():
    store = open_store("memory://parts/unknown")
    build(store, Words())
    manifest = read_manifest(store, None)
    renamed = {kind.replace("documents:", "words:"): entry for kind, entry in manifest.model.items()}
    unknown = msgspec.structs.replace(manifest, model=renamed, documents=None)
    assert len(open_snapshot(store, unknown).shards) == 2
