"""When merges are due: early enough for searches, and never so often that rows are written again and again."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

import vsearch
from tests.indexes import clustered
from vsearch.live import plan
from vsearch.live.optimizing import optimize
from vsearch.live.plan import MOST_DELTAS, REWRITES, Changes, RunCounts, ShardPlan, plan_folds, plan_shards
from vsearch.live.time_limits import TimeLimit

pytestmark = pytest.mark.usefixtures("quickly")

NOTHING, BASE = ShardPlan(), ShardPlan(base=True)


@pytest.mark.parametrize(
    ("shards", "tails", "changes", "expected"),
    [
        ([[RunCounts(900, 0)]], [100], Changes(added=100), [BASE]),
        ([[RunCounts(901, 0)]], [100], Changes(added=100), [NOTHING]),
        ([[RunCounts(900, 0)]], [100], Changes(added=100, rewritten=1), [NOTHING]),
        ([[RunCounts(1000, 100, 100)]], [0], Changes(removed=100), [BASE]),
        ([[RunCounts(1000, 90, 90)]], [0], Changes(removed=90), [NOTHING]),
        # an upsert adds a row and removes one, and is one row to write
        ([[RunCounts(1000, 60, 60)]], [60], Changes(added=60, removed=60), [NOTHING]),
        ([[RunCounts(1000, 100, 100)]], [100], Changes(added=100, removed=100), [BASE]),
        # shards without changes cost nothing, and are left alone
        ([[RunCounts(900, 0)], [RunCounts(10**6, 0)]], [100, 0], Changes(added=100), [BASE, NOTHING]),
        ([[RunCounts(900, 0)], [RunCounts(10**6, 0)]], [100, 1], Changes(added=101), [NOTHING, NOTHING]),
        ([[RunCounts(100, 0), RunCounts(20, 0)]], [0], Changes(added=20, rewritten=20), [BASE]),
        # all rows that were added are removed again: there is nothing to merge
        ([[RunCounts(100, 0)]], [0], Changes(added=50, removed=50), [NOTHING]),
        ([[RunCounts(100, 100, 100)]], [0], Changes(removed=100), [BASE]),
        ([[RunCounts(0, 0)]], [3], Changes(added=3), [BASE]),
        ([[RunCounts(0, 0)]], [0], Changes(), [NOTHING]),
    ],
)  # fmt: skip
def test_changes_pay_for_merges_into_bases(shards, tails, changes, expected):
    assert plan_shards(shards, tails, changes) == expected


@dataclass
class Shard:
    """Counts of one shard that is optimized after each append, as the real merges would leave them."""

    base: int
    young: tuple[int, int] = (0, 0)  # rows, level
    deltas: list[tuple[int, int]] = field(default_factory=list)
    written: int = 0
    most: tuple[int, int] = (0, 0)  # runs, deltas

    def append(self, rows):
        self.deltas.append((rows, 0))
        self.written += rows
        if len(self.deltas) > MOST_DELTAS:
            self.fold()
        self.most = max(self.most[0], 1 + bool(self.young[0]) + 1), max(self.most[1], len(self.deltas))

    def fold(self):
        for fold in reversed(plan_folds([level for _, level in self.deltas])):
            parts = self.deltas[fold.start : fold.stop]
            rows = sum(part[0] for part in parts)
            self.deltas[fold.start : fold.stop] = [(rows, 1 + max(part[1] for part in parts))]
            self.written += rows

    def optimize(self):
        tail = sum(rows for rows, _ in self.deltas)
        recent = [*self.deltas, self.young]
        changes = Changes(tail + self.young[0], 0, sum(rows * level for rows, level in recent))
        runs = [RunCounts(self.base, 0)] + ([RunCounts(self.young[0], 0)] if self.young[0] else [])
        (due,) = plan_shards([runs], [tail], changes)
        if due.base:
            self.base += tail + self.young[0]
            self.young, self.deltas = (0, 0), []
            self.written += self.base
        elif due.young:
            self.young, self.deltas = (tail + self.young[0], 1 + max(level for _, level in recent)), []
            self.written += self.young[0]
        else:
            self.fold()


@pytest.mark.parametrize(
    ("base", "batch", "appends"),
    [(0, 1, 500), (5000, 1, 1000), (20_000, 100, 300), (20_000, 10_000, 40), (10**6, 1000, 250), (10**6, 3000, 300), (10**7, 7000, 300)],
)  # fmt: skip
def test_rows_are_written_at_most_eleven_times(base, batch, appends):
    shard = Shard(base)
    for done in range(1, appends + 1):
        shard.append(batch)
        shard.optimize()
        assert shard.written <= (1 + REWRITES) * batch * done
    assert shard.base > base, "nothing was merged"
    assert shard.most[0] <= 3
    assert shard.most[1] <= MOST_DELTAS


def test_what_is_merged_late_is_merged_at_once():
    """Whoever optimizes rarely gets one run, whatever the sizes of appends."""
    for batch, appends in ((1, 120), (100, 20)):
        shard = Shard(900)
        for _ in range(appends):
            shard.append(batch)
        shard.optimize()
        assert (shard.young, shard.deltas) == ((0, 0), [])


def index_of(path, n=120):
    return vsearch.build(clustered(n, 8), path, ids=np.arange(n), partitions=4, shards=2)


def rewritten(index):
    """Rows of each segment that holds rows of others."""
    manifest = index.snapshot.manifest
    runs = [run for shard in manifest.shards for run in shard.runs]
    deltas = manifest.live.deltas if manifest.live else ()
    return {entry.bundle.path: entry.rows for entry in (*runs, *(delta for delta in deltas if delta.level))}


def counts(index):
    """Rows outside bases, and removed rows that still have codes."""
    snapshot = index.snapshot
    bases = len(snapshot.manifest.shards)
    return sum(run.rows for run in snapshot.shards[bases:]), sum(len(run.gone) for run in snapshot.shards)


@pytest.mark.parametrize("kind", ["append", "upsert", "delete", "mixed"])
def test_real_histories_keep_to_the_number_of_writes(tmp_path, kind):
    index, draw, size = index_of(tmp_path / "index"), np.random.default_rng(1), 6
    added = removed = paid = again = 0
    live, following = np.arange(120), 120
    merged = 0
    for turn in range(12):
        known = rewritten(index)
        what = ("append", "upsert", "delete")[turn % 3] if kind == "mixed" else kind
        if what == "append":
            ids = np.arange(following, following + size)
            following += size
            live = np.concatenate([live, ids])
        else:
            ids = draw.permutation(live)[:size]
        if what == "delete":
            index.delete(ids)
            live = np.setdiff1d(live, ids)
        else:
            index.upsert(clustered(size, 8, seed=turn), ids=ids)
        added += size * (what != "delete")
        removed += size * (what != "append")
        report, after = optimize(index.snapshot)
        index.refresh()
        merged += report.merged
        again += sum(rows for path, rows in rewritten(index).items() if path not in known)
        assert after.manifest.rows == len(live)
        assert again <= REWRITES * (paid + max(added, removed))
        if report.merged:
            paid, added, removed = paid + max(added, removed), 0, 0
    found = index.search(clustered(5, 8), k=len(live), exact=True).ids
    np.testing.assert_array_equal(np.sort(found, axis=1), np.tile(np.sort(live), (5, 1)))
    assert merged > 0


@pytest.mark.parametrize("size", [3, 15])
def test_ten_percent_deleted_leave_one_run(tmp_path, size):
    index = index_of(tmp_path / "index")
    for turn in range(15 // size):
        index.append(clustered(size, 8, seed=turn), ids=np.arange(120 + size * turn, 120 + size * (turn + 1)))
    index.delete(np.random.default_rng(1).permutation(len(index))[: len(index) // 10 + 1])
    assert index.optimize(retune=False).merged == 2
    assert counts(index) == (0, 0)
    assert not index.optimize(retune=False).changed


def test_levels_count_the_writes_of_a_young_run(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "TAIL_ROWS", 5)
    monkeypatch.setattr(plan, "TAIL_SHARE", 0.0)
    monkeypatch.setattr(plan, "REWRITES", 1)
    index = index_of(tmp_path / "index")
    levels = []
    for turn in range(3):
        index.append(clustered(6, 8, seed=turn), ids=np.arange(120 + 6 * turn, 126 + 6 * turn))
        index.optimize(retune=False)
        levels.append([shard.young.level if shard.young else 0 for shard in index.snapshot.manifest.shards])
    assert [max(shards) for shards in levels] == [1, 2, 3]


def test_a_merge_of_bases_that_does_not_fit_in_time_leaves_the_smaller_one(tmp_path, monkeypatch):
    index = index_of(tmp_path / "index", n=1000)
    index.append(clustered(150, 8, seed=1), ids=np.arange(1000, 1150))
    monkeypatch.setattr(plan, "TAIL_ROWS", 100)
    size = sum(entry.bytes for shard in index.snapshot.manifest.shards for entry in shard.files.values())
    monkeypatch.setattr("vsearch.live.time_limits.MERGED_BYTES", size / 1e3)  # the bases take 1,000 s
    limit = TimeLimit.of(900)
    report, after = optimize(index.snapshot, limit=limit)
    assert report.merged == 2
    assert all(shard.young for shard in after.manifest.shards)
    assert not after.manifest.live.deltas
    assert len(limit.postponed) == 1
    report, after = optimize(after, limit=TimeLimit.of(None))
    assert not any(shard.young for shard in after.manifest.shards)
