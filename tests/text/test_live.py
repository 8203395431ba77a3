"""The words of an index that changes: after any history, scores are those of the rows that are there."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.text.conftest import WEIGHTS, WORDS, make_rows, table, terms, vectors
from tests.text.reference import Reference, same
from vsearch import InputError
from vsearch.storage.snapshots.kinds import leg_of_kind


def check(index, rows, rng, weights=None):
    """Compare random queries with the reference, with and without a filter."""
    reference = Reference(rows, terms, weights or WEIGHTS)
    queries = [" ".join(rng.choices(WORDS, k=rng.randint(1, 6))) for _ in range(2)]
    below = rng.choice(list(rows)) if rows else 5
    for query in queries:
        scores = reference.scores(query.split())
        same(index.search_text(query, 10), scores, 10)
        fewer = {row: score for row, score in scores.items() if row < below}
        same(index.search_text(query, 10, where=f"number < {below}"), fewer, 10)
    begins = lambda term: term.startswith("b")  # noqa: E731
    same(index.search_text("b* ak", 20), reference.scores([begins, "ak"]), 20)


class History:
    """An index and its rows, changed together."""

    def __init__(self, url, seed):
        self.rng, self.rows, self.next = random.Random(seed), make_rows(150, seed), 150
        self.index = vsearch.build(
            vectors(150), url, table(self.rows), np.arange(150), text=WEIGHTS, shards=2, partitions=4, rerank="float32"
        )

    def some(self, most=20):
        return self.rng.sample(list(self.rows), min(len(self.rows), self.rng.randint(1, most)))

    def fresh(self, ids):
        made = make_rows(len(ids), self.rng.randint(0, 10**6))
        return dict(zip(ids, made.values(), strict=True))

    def append(self):
        count = self.rng.randint(1, 30)
        added = self.fresh(range(self.next, self.next + count))
        self.next += count
        self.index.append(vectors(count, self.next), table(added), list(added))
        self.rows |= added

    def upsert(self):
        changed = self.fresh([*self.some(), self.next])
        self.next += 1
        self.index.upsert(vectors(len(changed), self.next), table(changed), list(changed))
        self.rows |= changed

    def delete(self):
        ids = self.some()
        self.index.delete(ids)
        for row in ids:
            del self.rows[row]

    def update(self):
        ids, text = self.some(), " ".join(self.rng.choices(WORDS, k=5))
        self.index.update({"body": text}, ids=ids)
        for row in ids:
            self.rows[row] = {**self.rows[row], "body": text}

    def optimize(self):
        self.index.optimize(force=self.rng.random() < 0.5, retune=False)

    def reopen(self):
        self.index = vsearch.open(self.index.snapshot.store.url)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_random_histories(seed):
    history = History(f"memory://text/history-{seed}", seed)
    for _ in range(14):
        steps = [history.append, history.upsert, history.delete, history.update, history.optimize, history.reopen]
        history.rng.choice(steps)()
        check(history.index, history.rows, history.rng)
    history.index.optimize(force=True, retune=False)
    check(history.index, history.rows, history.rng)
    fresh = vsearch.build(
        vectors(len(history.rows)), f"memory://text/fresh-{seed}", table(history.rows), list(history.rows), text=WEIGHTS
    )
    for query in ["ak bk", "jt al", " ".join(WORDS)]:
        np.testing.assert_array_equal(history.index.search_text(query, 20).scores, fresh.search_text(query, 20).scores)


@pytest.fixture
def index(request):
    rows = make_rows(120, 3)
    return vsearch.build(
        vectors(120), f"memory://text/{request.node.name}", table(rows), text=WEIGHTS, partitions=3
    ), rows


def test_merged_rows_have_stored_postings(index):
    index, rows = index
    index.delete(list(range(0, 120, 3)))
    index.optimize(force=True, retune=False)
    opened = vsearch.open(index.snapshot.store.url)
    (run,) = opened.snapshot.shards
    assert sum(leg_of_kind(kind) == "text" for kind in run.files) == 10
    check(opened, {row: texts for row, texts in rows.items() if row % 3}, random.Random(0))
    assert vsearch.verify(index.snapshot.store.url).problems == ()


def test_text_columns_can_be_added_and_removed(index):
    index, rows = index
    index.drop_text("title")
    check(index, rows, random.Random(0), {"body": 1.0})
    index.drop_text("body")
    assert not vsearch.open(index.snapshot.store.url).has_text
    with pytest.raises(InputError, match="no text columns"):
        index.search_text("ak")
    index.add_text("body", vsearch.TextColumn(3.0))
    for _ in range(2):
        check(index, rows, random.Random(1), {"body": 3.0})
        index.optimize(force=True, retune=False)
        index.append(vectors(1), table({120: rows[3]}))
        rows = {**rows, 120: rows[3]} if 120 not in rows else {**rows, 121: rows[3]}
        if len(rows) == 122:
            break
    with pytest.raises(InputError, match="searched already"):
        index.add_text("body")
    with pytest.raises(InputError, match="must be an attribute"):
        index.add_text("absent")
    with pytest.raises(InputError, match="must hold strings"):
        index.add_text("number")
    with pytest.raises(InputError, match="is not a text column"):
        index.drop_text("title")


def test_attributes_are_renamed_and_cannot_be_dropped_while_they_are_searched(index):
    index, rows = index
    index.rename_column("body", "text")
    reference = Reference(rows, terms, WEIGHTS)
    same(index.search_text("text:ak", 20), reference.gains("body", "ak"), 20)
    with pytest.raises(InputError, match="call drop_text first"):
        index.drop_column("text")
    index.drop_text("text")
    index.drop_column("text")
    same(index.search_text("ak", 20), reference.gains("title", "ak"), 20)


def test_an_attribute_that_was_added_later_is_searched(index):
    index, _ = index
    index.add_column("note", "string")
    index.add_text("note")
    assert (index.search_text("note:zebra", 3).ids == -1).all()
    index.update({"note": "zebra crossing"}, ids=[5, 7])
    assert set(index.search_text("zebra", 3).ids[0].tolist()) == {5, 7, -1}
    index.optimize(force=True, retune=False)
    assert set(index.search_text("zebra", 3).ids[0].tolist()) == {5, 7, -1}


def test_older_snapshots_keep_their_words(index):
    index, rows = index
    index.tag("before")
    index.delete(list(range(60)))
    index.drop_text("title")
    check(index, {row: texts for row, texts in rows.items() if row >= 60}, random.Random(0), {"body": 1.0})
    check(vsearch.open(index.snapshot.store.url, tag="before"), rows, random.Random(0))
    index.restore(tag="before")
    check(index, rows, random.Random(0))


def test_words_of_expired_rows_do_not_count():
    rows = make_rows(90, 4)
    past, future = 1, 4_000_000_000
    expires = [past if row % 3 == 0 else future for row in rows]
    attributes = table(rows).append_column("expires", pa.array(expires, pa.int64()))
    index = vsearch.build(vectors(90), "memory://text/ttl", attributes, text=WEIGHTS, ttl="expires")
    check(index, {row: texts for row, texts in rows.items() if row % 3}, random.Random(0))


@pytest.mark.slow
def test_a_retrained_index_has_stored_postings(index):
    index, rows = index
    index.retrain()
    opened = vsearch.open(index.snapshot.store.url)
    assert all(any(leg_of_kind(kind) == "text" for kind in run.files) for run in opened.snapshot.shards)
    check(opened, rows, random.Random(0))


def test_damaged_postings_are_refused(tmp_path):
    rows = make_rows(80, 6)
    vsearch.build(vectors(80), tmp_path / "index", table(rows), text="body")
    for name in ("terms", "blocks", "packed", "lengths", "dictionary"):
        (path,) = (tmp_path / "index" / "segments").glob(f"*-text-*-{name}.arrow")
        whole = path.read_bytes()
        at = whole.index(b"\xff\xff\xff\xff", 64) - 300 if name == "dictionary" else len(whole) // 2
        path.write_bytes(whole[:at] + bytes(byte ^ 0x55 for byte in whole[at : at + 8]) + whole[at + 8 :])
        with pytest.raises(vsearch.CorruptIndexError):
            vsearch.open(tmp_path / "index").search_text(" ".join(WORDS))
        path.write_bytes(whole)
    same(vsearch.open(tmp_path / "index").search_text("ak", 9), Reference(rows, terms).scores(["ak"]), 9)


def test_postings_of_merged_runs_are_counted_as_text():
    index = vsearch.build(vectors(300, 3), "memory://text/counted", table(make_rows(300, 6)), shards=2, text=WEIGHTS)
    before = index.info()["bytes_per_vector_by_part"]["text"]
    index.append(vectors(300, 8), table({300 + row: texts for row, texts in make_rows(300, 9).items()}))
    index.optimize(force=True)
    info = index.info()
    parts = info["bytes_per_vector_by_part"]
    assert sum(parts.values()) * info["rows"] == pytest.approx(info["bytes"])
    assert before / 3 < parts["text"] < 2 * before
    assert parts["runs"] > 0
