"""Appends of many tasks: the same rows and codes as in one process, beside other writers, and after deaths."""

from __future__ import annotations

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import vsearch
from tests.cluster.conftest import WIDTH, check_no_orphans, meanwhile, table, vectors
from tests.cluster.killing import Twice, die_in_turn
from vsearch.api.cluster_building import columns_of
from vsearch.building.inputs.rows import InputArguments
from vsearch.cluster import context
from vsearch.cluster.appending import append_job
from vsearch.cluster.engines import SerialEngine
from vsearch.cluster.job import JobOptions
from vsearch.cluster.running import describe_job
from vsearch.live.operations import stored_ids
from vsearch.storage import open_store, prune
from vsearch.storage.snapshots.upgrading import origin_of

#: The first rows are all alike.
pytestmark = pytest.mark.filterwarnings("ignore:.*far from all partitions")

FIRST, LAST = 600, 20_000
KINDS = ["string", "row"]


@pytest.fixture(scope="module")
def rows():
    return vectors()


@pytest.fixture(scope="module")
def folder(rows, tmp_path_factory):
    """Files with the rows that are appended: two chunks."""
    path = tmp_path_factory.mktemp("new")
    for number, (low, high) in enumerate([(FIRST, 9000), (9000, LAST)]):
        pq.write_table(table(rows, low, high), path / f"part-{number}.parquet", row_group_size=3100)
    return path


@pytest.fixture(scope="module")
def indexes(rows, tmp_path_factory):
    """An index of the first rows, with string ids and with numbered rows."""
    path = tmp_path_factory.mktemp("indexes")
    for kind in KINDS:
        first = table(rows, 0, FIRST)
        source = first if kind == "string" else first.drop_columns(["key"])
        vsearch.build(source, path / kind, vectors="v", id="key" if kind == "string" else None, partitions=8, shards=2)
    return path


@pytest.fixture
def at(indexes, tmp_path):
    def copy(kind, name="index"):
        shutil.copytree(indexes / kind, tmp_path / name)
        return tmp_path / name

    return copy


def given(kind):
    named = ["n", "s", "tags"] if kind == "row" else None
    return InputArguments(named, None, "v", "key" if kind == "string" else None)


def append(store, source, kind, engine=None, *, token=None, progress=lambda *_: None, start=None):
    snapshot = start or vsearch.open(store.url).snapshot
    manifest = snapshot.manifest
    options = JobOptions(manifest.metric, "osq", 1.0, manifest.rerank, None, None, 0)
    division = {"files_per_task": 1, "chunk_bytes": 1, "bucket_rows": 7000}
    job = describe_job(
        str(source), {}, options, store.url, columns=columns_of(given(kind)), kind="append",
        subject=(origin_of(manifest), token or ""), known=("n", "s", "tags", "key"), **division,
    )  # fmt: skip
    context._contexts.cache_clear()
    return append_job(
        snapshot, job, engine or SerialEngine(), storage={}, source_storage={}, token=token, if_snapshot=None,
        progress=progress,
    )  # fmt: skip


def in_one_process(path, source, kind):
    index = vsearch.open(path)
    options = given(kind)
    index.append(source, vectors="v", id=options.id, attributes=options.attributes)
    return index


def check_same_rows(one, two):
    """Two indexes have the same rows with the same codes, in the same order, whatever segments hold them."""
    assert one.manifest.rows == two.manifest.rows
    assert one.manifest.id_type != "row" or one.manifest.live.next_row == two.manifest.live.next_row
    for before, after in zip(one.shards, two.shards, strict=True):
        assert before.first_row == after.first_row
        np.testing.assert_array_equal(before.table.rows, after.table.rows)
    from vsearch.live.merging import gather
    from vsearch.search.state.deltas import concatenate_ids

    found = []
    for snapshot in (one, two):
        rows, _ = gather(snapshot, snapshot.shards, range(snapshot.manifest.partitions))
        found.append(rows)
    for name, array in found[0].codes.to_arrays().items():
        np.testing.assert_array_equal(array, found[1].codes.to_arrays()[name])
    same = [concatenate_ids([rows.ids]) for rows in found]
    assert (same[0] == same[1]).all() if isinstance(same[0], np.ndarray) else same[0].equals(same[1])
    assert found[0].attributes.equals(found[1].attributes)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_rows_as_in_one_process(at, folder, kind) -> None:
    one, store = in_one_process(at(kind, "one"), folder, kind), open_store(at(kind))
    commit, snapshot = append(store, folder, kind)
    assert commit.to_dict() == {"snapshot": 2, "added": LAST - FIRST, "replaced": 0, "deleted": 0}
    assert len(snapshot.manifest.live.deltas) == 2
    check_same_rows(one.snapshot, snapshot)
    check_same_rows(one.snapshot, vsearch.open(store.url).snapshot)
    prune(store, keep=1, grace=0, older_than=0)
    check_no_orphans(store)


DEATHS = [
    ("-job.json", True),
    ("-base-000000.json", True),
    ("-plan-", False),
    ("segments/", False),
    ("segments/", True),
]
DEATHS += [("-encode-000001.json", True), ("-ids-", False), ("-check-000000.json", True)]
DEATHS += [("manifest/000", False), ("manifest/000", True), ("delete [", False), ("delete [", True)]


def test_killed_anywhere(at, folder) -> None:
    one, store = in_one_process(at("string", "one"), folder, "string"), open_store(at("string"))
    assert (
        die_in_turn(
            store,
            DEATHS,
            lambda mortal: append(mortal, folder, "string", start=vsearch.open(store.url).snapshot.like(store=mortal)),
        )
        == DEATHS
    )
    commit, _ = append(store, folder, "string")
    assert (commit.snapshot, commit.added) == (2, LAST - FIRST), "the commit of the run that died after it"
    with pytest.raises(vsearch.InputError, match="already has rows with these ids"):
        append(store, folder, "string")
    index = vsearch.open(store.url)
    check_same_rows(one.snapshot, index.snapshot)
    prune(store, keep=1, grace=0, older_than=0)
    check_no_orphans(store)


@pytest.mark.parametrize("kind", KINDS)
def test_two_runs_of_every_task_at_the_same_time(at, folder, kind) -> None:
    one, store = in_one_process(at(kind, "one"), folder, kind), open_store(at(kind))
    append(store, folder, kind, Twice())
    check_same_rows(one.snapshot, vsearch.open(store.url).snapshot)
    assert store.list("jobs") == []


def test_a_repeated_token_appends_once(at, folder) -> None:
    store = open_store(at("row"))
    first, _ = append(store, folder, "row", token="once")
    again, snapshot = append(store, folder, "row", token="once")
    assert (first, snapshot.manifest.rows) == (again, LAST)
    append(store, folder, "row")
    assert append(store, folder, "row")[1].manifest.rows == 3 * LAST - 2 * FIRST
    assert store.list("jobs") == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        lambda index: index.append(np.eye(3, WIDTH, dtype=np.float32), ids=["a", "b", "c"]),
        lambda index: index.delete(ids=["row 3"]),
        lambda index: index.add_column("more", "int64"),
        lambda index: index.rename_column("s", "words") and index.rename_column("words", "s"),
        lambda index: (
            index.append(np.eye(3, WIDTH, dtype=np.float32), ids=["a", "b", "c"]) and index.optimize(force=True)
        ),
        lambda index: index.retrain(partitions=6),
    ],
    ids=["append", "delete", "column", "renamed", "optimize", "retrain"],
)
@pytest.mark.parametrize("stage", ["encode", "check"])
def test_beside_other_writers(at, folder, rows, change, stage) -> None:
    store, other = open_store(at("string")), vsearch.open(at("string", "unused").parent / "index")
    commit, _ = append(store, folder, "string", progress=meanwhile(stage, lambda: change(other)))
    index = vsearch.open(store.url)
    assert commit.added == LAST - FIRST
    assert (
        index.snapshot.manifest.rows
        == vsearch.open(store.url, commit.snapshot - 1).snapshot.manifest.rows + LAST - FIRST
    )
    for number in (700, 8999, 9000, LAST - 1):
        found = index.search(rows[number : number + 1], k=1, exact=True)
        assert found.scores[0, 0] > 0.99
    assert index.count("n = 5") > 100
    assert store.list("jobs") == []


def test_numbered_rows_beside_other_writers(at, folder) -> None:
    store = open_store(at("row"))
    other = vsearch.open(store.url)
    report = meanwhile("encode", lambda: other.append(np.eye(3, WIDTH, dtype=np.float32)))
    append(store, folder, "row", progress=report)
    index = vsearch.open(store.url)
    assert len(index) == LAST + 3
    ids = stored_ids(index.snapshot, np.arange(LAST + 3))
    assert len(np.unique(ids)) == LAST + 3
    assert ids.max() < index.snapshot.manifest.live.next_row


def test_ids_that_another_writer_adds_meanwhile_are_refused(at, folder) -> None:
    store = open_store(at("string"))
    other = vsearch.open(store.url)
    own = {"ids": [f"row {LAST - 1}"]}
    for stage, add in (("encode", other.append), ("check", other.append)):
        report = meanwhile(stage, lambda add=add: add(np.eye(1, WIDTH, dtype=np.float32), **own))
        with pytest.raises(vsearch.InputError, match=f"already has rows with these ids: row {LAST - 1};"):
            append(store, folder, "string", progress=report)
        assert store.list("jobs") == []
        other.delete(**own)
    assert len(vsearch.open(store.url)) == FIRST


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key": "row 3"}, "already has rows with these ids: row 3"),
        ({"key": "row 700"}, "'row 700' occur more than once"),
        ({"v": np.nan}, "row 18000 holds NaN"),
        ({"width": 5}, "vectors must have the index's 8 dimensions, got 5"),
        ({"unknown": 1}, "no attribute 'unknown'"),
        ({"n": "text"}, "attribute 'n' must be int64"),
        ({"id": None}, "pass one id for each new row"),
    ],
)
def test_unusable_rows_are_refused_and_nothing_changes(at, rows, tmp_path, change, message) -> None:
    store, own = open_store(at("string")), rows[FIRST:LAST].copy()
    source = table(rows, FIRST, LAST)
    keys = source.column("key").to_pylist()
    if "key" in change:
        keys[18_000] = change["key"]
    if "v" in change:
        own[18_000, 2] = change["v"]
    own = own[:, : change.get("width", WIDTH)]
    flat = pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(own).ravel()), own.shape[1])
    columns = {"v": flat, "key": keys, "n": source.column("n")}
    if "unknown" in change:
        columns["unknown"] = pa.array([1] * len(own))
    if "id" in change:
        columns |= {"s": source.column("s"), "tags": source.column("tags")}
    if "n" in change:
        columns["n"] = pa.array(["a"] * len(own))
    (tmp_path / "bad").mkdir()
    pq.write_table(pa.table(columns), tmp_path / "bad" / "rows.parquet")
    with pytest.raises(vsearch.InputError, match=message):
        append(store, tmp_path / "bad", "row" if "id" in change else "string")
    assert store.list("jobs") == []
    assert vsearch.open(store.url).snapshot.manifest.snapshot == 1
    check_no_orphans(store)
