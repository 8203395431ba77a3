from __future__ import annotations

import pickle
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

import vsearch
from tests.indexes import clustered
from tests.live.small import D, Twin, check, numbers
from vsearch.storage import open_store, prune, snapshot_numbers
from vsearch.storage.files.naming import manifest_path


@pytest.fixture
def twin(tmp_path):
    return Twin(tmp_path / "index")


def forget(store, numbers):
    """Remove manifests, as a prune does first."""
    store.delete([manifest_path(number) for number in numbers])


def test_tags_name_snapshots(twin):
    twin.append(5)
    commit = twin.index.tag("five more")
    assert commit.snapshot == 3
    assert twin.index.tags() == {"five more": 2}
    before = dict(twin.rows)
    twin.delete([1, 2])
    assert twin.index.tag("built", snapshot=1).snapshot == 5
    assert twin.index.tags() == {"built": 1, "five more": 2}
    check(vsearch.open(twin.url, tag="five more"), before)
    assert len(vsearch.open(twin.url, tag="built")) == 120
    assert twin.index.tag("built", snapshot=1).snapshot == 5  # it has it
    twin.index.tag("built")
    assert twin.index.tags()["built"] == 5
    twin.index.untag("built")
    twin.index.untag("built")
    assert vsearch.open(twin.url).tags() == {"five more": 2}
    twin.check()
    with pytest.raises(
        vsearch.SnapshotNotFoundError, match=r"no snapshot has the tag 'built'; existing tags: five more"
    ):
        vsearch.open(twin.url, tag="built")


@pytest.mark.parametrize("name", ["", "x" * 201, None, 3, "a\nb"])
def test_tags_that_are_none(twin, name):
    with pytest.raises(vsearch.InputError, match="name of a tag must be"):
        twin.index.tag(name)


def test_a_tag_needs_its_snapshot(twin):
    with pytest.raises(vsearch.SnapshotNotFoundError, match="snapshot 9 does not exist"):
        twin.index.tag("nine", snapshot=9)
    assert snapshot_numbers(twin.index.snapshot.store) == [1]


def test_a_snapshot_that_is_pruned_while_it_is_tagged_has_no_tag(twin, monkeypatch):
    from vsearch.live import history

    store, stays = twin.index.snapshot.store, history._is_kept

    def pruned(_, number):
        forget(store, [1])
        return stays(store, number)

    twin.append(1)
    monkeypatch.setattr(history, "_is_kept", pruned)
    with pytest.raises(vsearch.SnapshotNotFoundError, match="pruned before it was tagged"):
        twin.index.tag("first", snapshot=1)
    assert vsearch.open(twin.url).tags() == {}


def test_an_index_of_an_old_snapshot_stays_there_when_it_is_tagged(twin):
    before = dict(twin.rows)
    twin.append(5)
    old = vsearch.open(twin.url, snapshot=1)
    old.tag("old")
    check(old, before)
    assert vsearch.open(twin.url).tags() == {"old": 1}


def test_as_of(twin):
    made, held = [], []
    for seed in range(6):
        made.append(datetime.now(UTC))
        held.append(dict(twin.rows))
        time.sleep(0.01)
        twin.append(1, seed)
        time.sleep(0.01)
    for when, rows in zip(made, held, strict=True):
        check(vsearch.open(twin.url, as_of=when), rows)
    text = made[3].astimezone(UTC).isoformat()
    assert len(vsearch.open(twin.url, as_of=text)) == len(held[3])
    assert len(vsearch.open(twin.url, as_of=text.removesuffix("+00:00"))) == len(held[3])  # UTC
    twin.check(vsearch.open(twin.url, as_of=datetime.now(UTC) + timedelta(days=1)))
    forget(twin.index.snapshot.store, [3, 4])
    assert len(vsearch.open(twin.url, as_of=made[3])) == len(held[1])  # the newest that is left of that time
    with pytest.raises(vsearch.SnapshotNotFoundError, match="no snapshot is as old as"):
        vsearch.open(twin.url, as_of=made[0] - timedelta(days=1))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"as_of": "yesterday"}, "as_of must be"),
        ({"as_of": 3}, "as_of must be"),
        ({"snapshot": 1, "tag": "x"}, "at most one of"),
        ({"tag": "x", "as_of": "2030-01-01"}, "at most one of"),
        ({"snapshot": 1, "refresh": 1}, "cannot be combined with"),
        ({"refresh": -1}, "refresh must be"),
        ({"refresh": "soon"}, "refresh must be"),
    ],
)
def test_options_that_do_not_go(twin, options, match):
    with pytest.raises(vsearch.InputError, match=match):
        vsearch.open(twin.url, **options)


def test_restore(twin):
    first = dict(twin.rows)
    twin.append(10)
    twin.index.tag("good")
    good = dict(twin.rows)
    twin.delete(range(50))
    twin.upsert([60, 61])
    twin.index.optimize(force=True)
    bad = dict(twin.rows)
    number = twin.index.info()["snapshot"]
    twin.index.restore(tag="good")
    check(twin.index, good)
    check(vsearch.open(twin.url), good)
    twin.index.restore(snapshot=number)  # undone
    check(vsearch.open(twin.url), bad)
    other = vsearch.open(twin.url)
    twin.index.restore(snapshot=1)  # which has the older format
    check(twin.index, first)
    other.refresh()
    check(other, first)
    twin.rows = dict(first)
    assert twin.index.tags() == {"good": 2}
    twin.append(3)
    twin.delete([5, 6])
    twin.index.optimize(force=True)
    twin.check(vsearch.open(twin.url))
    check(vsearch.open(twin.url, tag="good"), good)
    assert vsearch.verify(twin.url).ok


def test_numbers_of_rows_are_not_given_out_again_after_a_restore(tmp_path):
    index = vsearch.build(clustered(30, D), tmp_path / "index", metric="l2")
    index.append(clustered(5, D, seed=1))
    index.restore(snapshot=1)
    index.append(clustered(1, D, seed=2))
    assert index.get([35]).num_rows == 1
    with pytest.raises(vsearch.InputError):
        index.get([34])


def test_not_even_where_another_build_replaced_the_index_meanwhile(tmp_path):
    index = vsearch.build(clustered(30, D), tmp_path / "index", metric="l2")
    index.append(clustered(20, D, seed=1))
    vsearch.build(clustered(10, D, seed=3), tmp_path / "index", overwrite=True).append(clustered(1, D))
    index.restore(snapshot=1)
    index.append(clustered(2, D, seed=2))
    assert index.get([50, 51]).num_rows == 2
    with pytest.raises(vsearch.InputError):
        index.get([30])


def test_not_even_where_what_a_replaced_index_appended_was_pruned(tmp_path):
    url = tmp_path / "index"
    index = vsearch.build(clustered(30, D), url, metric="l2")
    index.tag("begun")
    index.append(clustered(20, D, seed=1))
    for _ in range(2):
        index = vsearch.build(clustered(10, D, seed=3), url, overwrite=True)
        vsearch.prune(url, keep=1, older_than=0, grace=0)
    index.append(clustered(1, D))
    assert index.get([10]).num_rows == 1, "a build numbers its own rows"
    index.tag("after")
    index.restore(tag="begun")
    index.append(clustered(2, D, seed=2))
    assert index.get([50, 51]).num_rows == 2
    with pytest.raises(vsearch.InputError):
        index.get([30])
    index.restore(tag="after")
    index.append(clustered(1, D, seed=2))
    assert index.get([52]).num_rows == 1
    assert vsearch.verify(url).ok


def test_restore_says_what(twin):
    for options in ({}, {"snapshot": 1, "tag": "x"}):
        with pytest.raises(vsearch.InputError, match="exactly one of snapshot and tag"):
            twin.index.restore(**options)
    with pytest.raises(vsearch.SnapshotNotFoundError):
        twin.index.restore(snapshot=5)


@pytest.mark.parametrize("number", [2.5, "1", True, [1]])
def test_snapshots_have_whole_numbers(twin, number):
    twin.append(1)
    for ask in (
        lambda: twin.index.restore(snapshot=number),
        lambda: twin.index.tag("x", number),
        lambda: vsearch.open(twin.url, snapshot=number),
        lambda: vsearch.verify(twin.url, number),
    ):
        with pytest.raises(vsearch.InputError, match="snapshot must be an integer"):
            ask()
    assert snapshot_numbers(twin.index.snapshot.store) == [1, 2]
    twin.index.restore(snapshot=np.int64(1))
    assert len(twin.index) == 120


@pytest.mark.parametrize("tag", [3, ["x"], ""])
def test_tags_are_texts(twin, tag):
    for ask in (
        lambda: twin.index.restore(tag=tag),
        lambda: twin.index.untag(tag),
        lambda: vsearch.open(twin.url, tag=tag),
    ):
        with pytest.raises(vsearch.InputError, match="must be a string of 1 to 200 printable characters"):
            ask()


def test_tags_outlive_a_build_that_replaces_the_index(twin):
    """So a prune leaves what they name, which may be what somebody wants to go back to."""
    twin.append(5)
    twin.index.tag("before")
    for _ in range(2):
        index = vsearch.build(np.eye(3, dtype=np.float32), twin.url, overwrite=True)
        assert index.tags() == {"before": 2}
        assert len(index) == 3
    vsearch.prune(twin.url, keep=1, older_than=0, grace=0)
    twin.check(vsearch.open(twin.url, tag="before"))
    index.append(np.eye(3, dtype=np.float32))
    assert index.get([5]).num_rows == 1
    index.untag("before")
    assert vsearch.build(np.eye(3, dtype=np.float32), twin.url, overwrite=True).info()["format"] == 1
    assert vsearch.verify(twin.url).ok


def test_restore_goes_back_before_an_index_that_replaced_it(twin):
    twin.append(5)
    vsearch.build(np.eye(3, dtype=np.float32), twin.url, overwrite=True)
    twin.index.restore(snapshot=2)
    twin.check(vsearch.open(twin.url))


def test_a_fold_that_meets_a_restore_brings_nothing_back_and_loses_nothing(twin):
    """Rows that a later snapshot removed are not in what is folded; an older snapshot still has them."""
    from vsearch.live.commits import commit_change
    from vsearch.live.optimizing import Rewrite, _write_folds, silent

    for seed in range(16):
        twin.append(1, seed)
    full, number = dict(twin.rows), twin.index.info()["snapshot"]
    twin.delete([125])
    rewrite = Rewrite(twin.index.snapshot)
    _write_folds(rewrite, [range(16)], silent)
    twin.index.restore(snapshot=number)
    commit_change(rewrite.start, rewrite)
    assert rewrite.dropped
    check(vsearch.open(twin.url), full)


def test_readers_that_refresh_go_on_when_their_snapshot_is_pruned(twin):
    store = open_store("memory://pruned")
    vectors = clustered(60, D)
    index = vsearch.build(vectors, "memory://pruned", attributes=numbers(np.arange(60)), metric="l2")
    pinned, unpinned = vsearch.open("memory://pruned"), vsearch.open("memory://pruned", refresh=3600)
    index.append(vectors[:1])
    index.optimize(force=True)
    prune(store, 1, grace=0, older_than=0)
    assert unpinned.search(vectors[0], k=2, exact=True).ids.tolist() == [[0, 60]]
    assert unpinned.get([60]).num_rows == 1
    with pytest.raises(vsearch.SnapshotNotFoundError):
        pinned.search(vectors[0], k=2, exact=True)


def test_readers_refresh_when_it_is_time(twin):
    never, often = vsearch.open(twin.url), vsearch.open(twin.url, refresh=0)
    carried = pickle.loads(pickle.dumps(often))
    before = dict(twin.rows)
    twin.append(3)
    check(never, before)
    often.search(clustered(1, D), k=1)
    twin.check(often)
    twin.append(3)
    carried.search(clustered(1, D), k=1)
    twin.check(carried)
