"""Rows that expire, compared with dicts of the live rows."""

from __future__ import annotations

import copy
import gc
import pickle
import random
import weakref
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.indexes import clustered
from tests.live.small import D
from vsearch.errors import CorruptIndexError, InputError
from vsearch.search import where
from vsearch.search.state import expiry
from vsearch.storage import open_store, read_manifest
from vsearch.storage.snapshots.manifest import decode_manifest, encode_manifest

START = 1_700_000_000
N = 300


class Clock:
    """The current time, in seconds since `START`, with fractions."""

    seconds = 0.0

    def __call__(self):
        return START * 10**9 + round(self.seconds * 10**9)


@pytest.fixture
def clock(monkeypatch):
    told = Clock()
    monkeypatch.setattr(expiry, "now", told)
    return told


def table(ends):
    """Rows with lifetimes in seconds (None: no expiry), and a number."""
    ends = [None if end is None else START + end for end in ends]
    return pa.table({"expires": pa.array(ends, pa.int64()), "n": pa.array(range(len(ends)), pa.int64())})


def ends_of(n=N):
    """Every tenth row for ever, the others for 1, 2, ... seconds, in no order."""
    ends = np.random.default_rng(1).permutation(n) + 1
    return [None if row % 10 == 0 else int(end) for row, end in enumerate(ends)]


def build(url, ends=None, **options):
    ends = ends_of() if ends is None else ends
    options = {"metric": "l2", "rerank": "float32", "ids": np.arange(len(ends)), "ttl": "expires", **options}
    return vsearch.build(clustered(len(ends), D, seed=1), url, table(ends), **options)


def alive(ends, seconds):
    """Ids that live at a time."""
    return [row for row, end in enumerate(ends) if end is None or end > seconds]


def found(hits):
    return sorted(one for one in hits.ids[0].tolist() if one not in (-1, None))


def hold(index, living, n=N):
    """Assert by all kinds of queries that an index contains exactly these ids."""
    query = clustered(1, D, seed=5)[0]
    assert len(index) == index.info()["rows"] == len(living)
    assert found(index.search(query, k=n + 5, exact=True)) == living
    assert found(index.search(query, k=n + 5)) == living
    low = [one for one in living if one < n // 2]
    for exact in (True, False):
        assert found(index.search(query, k=n + 5, where=f"id < {n // 2}", exact=exact)) == low
        few = found(index.search(query, k=5, where=f"id < {n // 2}", exact=exact))
        assert len(few) == min(5, len(low))
        assert set(few) <= set(low)
    if living:
        assert index.get(living)["id"].to_pylist() == living
    for gone in sorted(set(range(n)) - set(living))[:3]:
        with pytest.raises(InputError, match=f"no row has the id {gone}"):
            index.get([gone])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"quantizer": "pq", "bits": 4, "shards": 2},
        pytest.param({"quantizer": "osq-lloyd"}, marks=pytest.mark.slow),
    ],
)
def test_rows_are_found_until_their_time(tmp_path, clock, options):
    ends = ends_of()
    index = build(tmp_path / "index", ends, **options)
    for seconds in (0, 1, 1.5, 2, 150, 151, N - 1, N, N + 1):
        clock.seconds = seconds
        hold(index, alive(ends, seconds))
    assert index.info()["expired"] == N - N // 10
    assert index.info()["ttl"] == "expires"
    clock.seconds = 100  # set back
    hold(index, alive(ends, 100))


@pytest.mark.parametrize(
    ("values", "before", "after"),
    [
        (pa.array([datetime.fromtimestamp(START, UTC)], pa.timestamp("us", "UTC")), -1e-6, 0),
        (pa.array([datetime.fromtimestamp(START, UTC)], pa.timestamp("s", "Europe/Berlin")), -1e-6, 0),
        (pa.array([START * 10**9 + 1], pa.timestamp("ns")), 0, 1e-9),
        (pa.array([START], pa.int64()), -1e-9, 0),
        (pa.array([START], pa.int32()), -1e-9, 0),
        (pa.array([date(2023, 11, 15)]), 6399.999, 6400),  # midnight
    ],
)
def test_the_time_has_come_when_it_is_reached(tmp_path, clock, values, before, after):
    values = pa.concat_arrays([values, pa.nulls(1, values.type)])
    index = vsearch.build(clustered(2, D), tmp_path / "index", pa.table({"until": values}), ttl="until")
    clock.seconds = before
    assert found(index.search(clustered(1, D), k=3)) == [0, 1]
    clock.seconds = after
    assert found(index.search(clustered(1, D), k=3)) == [1]


def test_batches_pages_and_recall_leave_expired_rows_out(tmp_path, clock):
    ends = ends_of()
    index = build(tmp_path / "index", ends)
    clock.seconds = 200
    living, queries = alive(ends, 200), clustered(6, D, seed=5)
    for row in index.search(queries, k=N, exact=True).ids.tolist():
        assert sorted(one for one in row if one >= 0) == living
    pages = [found(index.search(queries[0], k=25, offset=offset)) for offset in range(0, N, 25)]
    assert sorted(one for page in pages for one in page) == living
    assert index.recall(queries, k=5).recall == 1
    assert index.recall(sample=400).queries == len(living)
    assert index.search(queries[0], k=3).stats.rows_masked == len(living)
    clock.seconds = N
    index.tune(recall=0.9)
    assert index.snapshot.live_count == N
    hold(index, alive(ends, N))


def test_a_condition_is_evaluated_once_whatever_expires(tmp_path, clock, monkeypatch):
    ends, calls = ends_of(), []
    index = build(tmp_path / "index", ends)
    evaluate = where.evaluate_mask
    monkeypatch.setattr(where, "evaluate_mask", lambda *given: calls.append(given) or evaluate(*given))
    for seconds in range(0, N, 7):
        clock.seconds = seconds
        low = [one for one in alive(ends, seconds) if one < 100]
        assert found(index.search(clustered(1, D), k=N, where="n < 100")) == low
        assert found(index.search(clustered(1, D), k=N, where="n<100")) == low
    assert len(calls) == 1
    view = index._current()
    clock.seconds += 0.5  # no row's time
    assert index._current() is view


def test_a_snapshot_that_was_left_is_freed_at_once(tmp_path, clock):
    index = build(tmp_path / "index", [10, 20, 30, None])
    clock.seconds = 10
    gc.disable()
    try:
        for number, seconds in enumerate((10, 20), 4):
            clock.seconds = seconds
            assert found(index.search(clustered(1, D), k=5, where="n >= 0"))
            left = weakref.ref(index.snapshot)
            index.append(clustered(1, D), ids=[number])
            assert left() is None
    finally:
        gc.enable()


def test_changes_see_only_what_is_alive(tmp_path, clock):
    index = build(tmp_path / "index", [10, 20, 30, None])
    clock.seconds = 10
    row = clustered(1, D, seed=3)
    with pytest.raises(InputError, match="no row has the id 0"):
        index.update({"n": 7}, ids=[0])
    assert index.delete([0]).deleted == 0
    assert index.delete(where="n = 0").deleted == 0
    assert index.update({"n": 9}, where="n < 5").replaced == 3
    assert index.append(row, table([50]), [0]).to_dict() == {"snapshot": 3, "added": 1, "replaced": 0, "deleted": 0}
    with pytest.raises(InputError, match="already has rows with these ids: 0"):
        index.append(row, table([50]), [0])
    clock.seconds = 20
    commit = index.upsert(clustered(2, D), table([60, 60]), [1, 2])
    assert (commit.added, commit.replaced) == (1, 1)
    hold(vsearch.open(index.snapshot.store.url), [0, 1, 2, 3], 4)
    index.update({"expires": START + 100}, ids=[2])
    index.update({"expires": None}, ids=[1])
    clock.seconds = 60
    hold(index, [1, 2, 3], 4)
    index.add_column("late", [1], ids=[2])
    index.add_column("all", 5)
    assert index.snapshot.live_count == 4
    clock.seconds = 100
    hold(vsearch.open(index.snapshot.store.url), [1, 3], 4)
    assert index.append(row, table([500]), [2]).added == 1
    assert vsearch.verify(index.snapshot.store.url).ok


def test_optimize_removes_what_has_expired(tmp_path, clock):
    ends = ends_of()
    index = build(tmp_path / "index", ends)
    assert index.optimize(retune=False).expired == 0
    assert not index.optimize(retune=False).changed
    clock.seconds = 30
    before, report = index.info(), index.optimize(retune=False)
    living = alive(ends, 30)
    assert report.expired == before["expired"] == N - len(living)
    assert report.changed
    assert report.to_dict()["expired"] == report.expired
    assert index.info()["expired"] == 0
    assert index.snapshot.manifest.rows == len(living)
    assert index.changes(before["snapshot"]).deleted.tolist() == sorted(set(range(N)) - set(living))
    assert index.optimize(retune=False).expired == 0
    clock.seconds = 200
    assert index.optimize(retune=False).merged == 1
    assert index.snapshot.rows == len(alive(ends, 200))
    clock.seconds = 250
    hold(index, alive(ends, 250))
    hold(vsearch.open(index.snapshot.store.url), alive(ends, 250))


def test_the_column_is_renamed_but_not_dropped(tmp_path, clock):
    index = build(tmp_path / "index")
    index.rename_column("expires", "until")
    index.rename_column("n", "expires")
    assert index.info()["ttl"] == "until"
    clock.seconds = N
    assert len(index) == N // 10
    with pytest.raises(InputError, match=r"'until'.*ttl"):
        index.drop_column("until")
    index.drop_column("expires")
    index.optimize(force=True)
    assert len(vsearch.open(tmp_path / "index")) == N // 10


def test_an_older_snapshot_is_seen_as_it_was(tmp_path, clock, monkeypatch):
    """As rows that were deleted later are still there, so are those that expired later."""
    ends, url = [100, 200, 300, None], tmp_path / "index"
    clock.seconds = 50
    monkeypatch.setattr("vsearch.building.pipeline.datetime", at(50))
    index = build(url, ends)
    monkeypatch.setattr("vsearch.live.commits.datetime", at(150))
    clock.seconds = 150
    index.tag("first", 1)
    index.delete([3])
    clock.seconds = 250
    index.optimize(force=True)
    hold(index, [2], 4)
    hold(vsearch.open(url), [2], 4)
    old = vsearch.open(url, tag="first")
    for one in (old, vsearch.open(url, snapshot=1), pickle.loads(pickle.dumps(old)), copy.copy(old)):
        hold(one, [0, 1, 2, 3], 4)
    hold(vsearch.open(url, snapshot=3), [1, 2], 4)
    hold(vsearch.open(url, as_of=datetime.fromtimestamp(START, UTC) + timedelta(seconds=120)), [1, 2, 3], 4)
    old.tag("again")
    hold(old, [0, 1, 2, 3], 4)
    newest = vsearch.open(url, snapshot=read_manifest(open_store(url)).snapshot)
    clock.seconds = 350
    hold(newest, [2], 4)
    assert newest.refresh()
    hold(newest, [], 4)
    old.refresh()
    hold(old, [], 4)
    index.restore(tag="first")
    hold(index, [3], 4)  # what has expired does not come back


def at(seconds):
    """A clock for manifests."""

    class Then(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.fromtimestamp(START + seconds, tz)

    return Then


def test_an_index_that_begins_empty_and_one_that_is_trained_anew(tmp_path, clock):
    kinds = {"expires": "int64", "n": "int64"}
    options = {"dimensions": D, "attributes": kinds, "ids": "int64", "ttl": "expires", "metric": "l2"}
    index = vsearch.open(tmp_path / "index", create=options)
    assert index.info()["ttl"] == "expires"
    clock.seconds = 5
    hold(index, [], 0)
    ends = [5, 6] * 1100
    index.append(clustered(2200, D), table(ends), np.arange(2200))
    assert index.info()["partitions"] == 1  # half of them are gone
    index.append(clustered(1000, D, seed=4), table([9] * 1000), np.arange(2200, 3200))
    assert index.info()["partitions"] > 1
    assert len(index) == 2100
    clock.seconds = 8
    index.retrain(clustered(1000, D, seed=4), np.arange(2200, 3200))
    assert index.snapshot.manifest.rows == len(index) == 1000
    clock.seconds = 9
    assert len(vsearch.open(tmp_path / "index")) == 0
    with pytest.raises(InputError, match="without rows"):
        index.retrain()


@pytest.mark.parametrize(
    ("ttl", "match"),
    [("word", "is string"), ("price", "is float64"), ("nothing", "name of an attribute"), (3, "name of an attribute")],
)
def test_a_ttl_that_is_none(tmp_path, ttl, match):
    attributes = pa.table({"word": ["a"] * 9, "price": [0.5] * 9})
    with pytest.raises(InputError, match=match):
        vsearch.build(clustered(9, D), tmp_path / "index", attributes, ttl=ttl)
    with pytest.raises(InputError, match=match):
        vsearch.create(tmp_path / "index", D, attributes=attributes.schema, ttl=ttl)
    with pytest.raises(vsearch.IndexNotFoundError):
        vsearch.open(tmp_path / "index")
    with pytest.raises(InputError, match="there is none"):
        vsearch.build(clustered(9, D), tmp_path / "index", ttl="word")


def test_readers_of_format_1_refuse_it_and_a_manifest_must_name_the_column(tmp_path):
    build(tmp_path / "index")
    store = open_store(tmp_path / "index")
    manifest = read_manifest(store)
    assert manifest.format == 2
    data = encode_manifest(manifest).replace(b'"ttl":"expires"', b'"ttl":"nothing"')
    with pytest.raises(CorruptIndexError):
        decode_manifest("manifest/00000000000000000001.json", data)
    other = encode_manifest(manifest).partition(b'"manifest":')[2].rstrip(b"}\n")
    assert b'"ttl":"expires"' in other


@pytest.mark.parametrize(
    "seed", [0, 1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)]
)
def test_any_history(tmp_path, clock, seed):
    """Several writers and a moving clock: at every time, each handle contains exactly the live rows of a dict."""
    draw = random.Random(seed)
    build(tmp_path / "index", [draw.choice([None, draw.randrange(60)]) for _ in range(40)], ids=np.arange(40))
    handles = [vsearch.open(tmp_path / "index") for _ in range(3)]
    ends = read_ends(handles[0], 40)

    def living():
        return {one for one, end in ends.items() if end is None or end > clock.seconds}

    for step in range(30):
        index, now = draw.choice(handles), living()
        some = draw.sample(range(50), draw.randint(1, 3))
        until = draw.choice([None, int(clock.seconds) + draw.randrange(1, 25)])
        rows = clustered(len(some), D, seed=step)
        match draw.choice(("append", "upsert", "update", "delete", "where", "optimize", "wait", "wait")):
            case "append" if not now & set(some):
                assert index.append(rows, table([until] * len(some)), some).added == len(some)
                ends |= dict.fromkeys(some, until)
            case "append":
                with pytest.raises(InputError):
                    index.append(rows, table([until] * len(some)), some)
            case "upsert":
                assert index.upsert(rows, table([until] * len(some)), some).replaced == len(now & set(some))
                ends |= dict.fromkeys(some, until)
            case "update" if set(some) <= now:
                index.update({"expires": None if until is None else START + until}, ids=some)
                ends |= dict.fromkeys(some, until)
            case "delete":
                assert index.delete(some).deleted == len(now & set(some))
                ends = {one: end for one, end in ends.items() if one not in some or one not in now}
            case "where":
                few = {one for one in now if ends[one] is not None and ends[one] <= clock.seconds + 3}
                assert index.delete(where=f"expires <= {START + int(clock.seconds) + 3}").deleted == len(few)
                ends = {one: end for one, end in ends.items() if one not in few}
            case "optimize":
                index.optimize(retune=False, force=draw.random() < 0.5)
            case "wait":
                clock.seconds += draw.randrange(8)
        index.refresh()
        for handle in (index, vsearch.open(tmp_path / "index")):
            assert found(handle.search(clustered(1, D)[0], k=60, exact=True)) == sorted(living()), step
            assert len(handle) == len(living())


def read_ends(index, n):
    values = index.get(found(index.search(clustered(1, D)[0], k=n)))
    pairs = zip(values["id"].to_pylist(), values["expires"].to_pylist(), strict=True)
    return {one: None if end is None else end - START for one, end in pairs}
