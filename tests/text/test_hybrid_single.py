"""A search by one vector and plain words, which takes a way of its own, finds the same as the general way, to the last bit."""

from __future__ import annotations

import random
from contextlib import contextmanager
from threading import Thread

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.text.conftest import WEIGHTS, WORDS, make_rows, table, vectors
from vsearch.legs import fusing, hybrid
from vsearch.legs.single import search_single_fused
from vsearch.search.state.snapshot import open_shard

PARTS = ("scores", "vector_scores", "vector_ranks", "leg_scores", "leg_ranks")
POINTS = vectors(20, seed=9)


def words_of(seed, count=12):
    rng = random.Random(seed)
    return [" ".join(rng.choices([*WORDS, "zz", "über"], k=rng.choice([1, 2, 5, 9]))) for _ in range(count)]


@contextmanager
def arrays_only():
    """The fusion by array operations, of which the kernels are a faster form."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hybrid, "MOST", -1)
        patch.setattr(fusing, "MOST", -1)
        yield


def assert_equal(one, other, what):
    assert one.ids.tolist() == other.ids.tolist(), what
    assert one.ids.dtype == other.ids.dtype
    for part in PARTS:
        left, right = getattr(one, part), getattr(other, part)
        assert left.dtype == right.dtype
        assert left.shape == right.shape
        assert left.tobytes() == right.tobytes(), (part, what)
    counts = [{**hits.stats.to_dict(), "milliseconds": 0, "total_milliseconds": 0} for hits in (one, other)]
    assert counts[0] == counts[1]


OPTIONS = (
    {},
    {"k": 3, "fusion": "weighted"},
    {"k": 100, "weights": (0.3, 2.0)},
    {"k": 7, "fusion": "weighted", "weights": (0, 1), "depth": 20},
    {"k": 5, "depth": 5},
    {"k": 40, "depth": 256, "nprobe": 2},
)


def same(index, texts, where=None):
    """Compare; lists of queries take the general way. Return how many searches did not."""
    taken = 0
    index.search(POINTS[0], where=where)  # the mask of the predicate is cached
    for place, text in enumerate(texts):
        point = POINTS[place % len(POINTS)]
        for options in OPTIONS:
            what, asked = (text, where, options), {"where": where, **options}
            alone = index.search(point, text=text, **asked)
            listed = index.search(point, text=[text], **asked)
            with arrays_only():
                plain = index.search(point, text=[text], **asked)
            assert_equal(alone, listed, what)
            assert_equal(alone, plain, what)
            fusion = [options.get(name) for name in ("fusion", "weights", "depth")]
            answer = search_single_fused(
                index._current(), point, ("text", text, "text"), options.get("k", 10), where, fusion,
                options.get("nprobe"), 0.0,
            )  # fmt: skip
            taken += answer is not None
    return taken


def make(folder, metric="cosine", rerank="int8", shards=2, rows=900, **options):
    return vsearch.build(
        vectors(rows), folder, table(make_rows(rows, 1)), text=WEIGHTS, metric=metric, rerank=rerank,
        shards=shards, partitions=6, **options,
    )  # fmt: skip


def warmed(index):
    """The index with all partitions read, as one native call needs."""
    index.search(POINTS, 10, exact=True)
    return index


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
@pytest.mark.parametrize(("rerank", "shards"), [("int8", 1), ("float16", 3), ("float32", 2)])
def test_it_finds_the_same(tmp_path, metric, rerank, shards):
    index = warmed(make(tmp_path / "index", metric, rerank, shards))
    assert same(index, words_of(1)) >= 60  # of 72; not those without any known word
    assert same(index, words_of(2, 6), "number < 300") >= 30
    assert same(index, words_of(3, 3), "number < 4") >= 12
    same(index, words_of(4, 2), "number < 0")


def test_it_finds_the_same_after_changes(tmp_path):
    index = warmed(make(tmp_path / "index", shards=3))
    index.delete(list(range(0, 900, 4)))
    assert same(warmed(index), words_of(5, 5)) >= 24
    index.append(vectors(50, 1), table(make_rows(50, 7)))
    assert same(warmed(index), words_of(6, 5)) >= 24
    assert same(index, words_of(6, 3), "number > 20") >= 12
    index.upsert(vectors(20, 3), table(make_rows(20, 8)), list(range(880, 900)))
    index.optimize(force=True)
    assert same(warmed(index), words_of(7, 5)) >= 24
    index.delete(list(range(1, 300, 3)))
    assert same(warmed(index), words_of(8, 5)) >= 24
    index.delete(where="number > 3")
    same(warmed(index), words_of(9, 2))
    index.delete(where="number >= 0")
    same(index, words_of(9, 1))


def test_equal_rows(tmp_path):
    """Of equal scores, in either part, ranks are equal, and the lower row comes first."""
    rows = 300
    texts = pa.table({"title": [["ak", "ak bk", None][row % 3] for row in range(rows)], "number": range(rows)})
    base = np.repeat(vectors(rows // 10, 2), 10, axis=0)
    index = vsearch.build(base, tmp_path / "equal", texts, text="title", rerank="float32", shards=2, partitions=4)
    index = warmed(index)
    assert same(index, ["ak", "bk", "ak bk", "zz ak"]) == 24


def test_ids_may_be_strings(tmp_path):
    index = warmed(make(tmp_path / "strings", ids=[f"row {row}" for row in range(900)]))
    assert same(index, words_of(10, 3)) >= 12


@pytest.mark.parametrize("text", ["-ak bk", "+ak bk", "ak*", "body:ak", "zz qq", "", "ak\x00bk", "ak " * 3000])
def test_other_queries_take_the_general_way_or_mean_the_same(tmp_path, text):
    same(warmed(make(tmp_path / "index")), [text])


def test_what_it_does_not_take(tmp_path):
    index = warmed(make(tmp_path / "index"))
    fusing_by = lambda near, words: near + words  # noqa: E731
    taken = lambda index, point, query, *fusion: search_single_fused(  # noqa: E731
        index._current(), point, query, 10, None, fusion or (None, None, None), None, 0.0
    )
    words = ("text", "ak bk", "text")
    assert taken(index, POINTS[0], words) is not None
    assert taken(index, POINTS[:1], words) is not None
    assert taken(index, POINTS[0], words, fusing_by, None, None) is None
    assert taken(index, POINTS[0], words, "rrf", None, 257) is None
    for point in (POINTS[:2], POINTS[0].astype(np.float64), POINTS[0][:5], POINTS[0] * np.nan, [1.0] * 8):
        assert taken(index, point, words) is None
    assert taken(warmed(make(tmp_path / "estimates", rerank=None)), POINTS[0], words) is None
    same(index, ["ak bk"])
    estimates = warmed(make(tmp_path / "more", rerank=None))
    assert_equal(
        estimates.search(POINTS[0], text="ak bk"), estimates.search(POINTS[0], text=["ak bk"]), "without rerank codes"
    )
    one, many = (index.search(POINTS[0], text=text, fusion=fusing_by) for text in ("ak bk", ["ak bk"]))
    assert_equal(one, many, "a function")


def test_a_shard_alone_takes_the_general_way(tmp_path):
    """Its hits are numbered from its first row, and the rows of a leg from that of the index."""
    snapshot = make(tmp_path / "index", shards=3).snapshot
    for number, taken in ((0, True), (1, False)):
        shard = open_shard(snapshot.store, snapshot.manifest, number)
        for run in shard.shards:
            run.ensure(np.arange(run.partitions))
        assert shard.fused
        answer = search_single_fused(shard, POINTS[0], ("text", "ak", "text"), 10, None, (None,) * 3, None, 0.0)
        assert (answer is not None) == taken


def test_errors_are_those_of_the_general_way(tmp_path):
    index = warmed(make(tmp_path / "index"))
    for options, reason in (
        ({"fusion": "sum"}, "fusion must be"),
        ({"weights": (1, -1)}, "weights must be two numbers"),
        ({"depth": 3}, "at least offset"),
        ({"k": 101, "depth": 100}, "at least offset"),
        ({"min_score": 0.5}, "min_score cannot be combined"),
        ({"where": "absent < 3"}, "absent"),
        ({"k": 0}, "k must be"),
    ):
        with pytest.raises(vsearch.VsearchError, match=reason):
            index.search(POINTS[0], text="ak", **options)
    with pytest.raises(vsearch.InputError, match="finite"):
        index.search(POINTS[0] * np.nan, text="ak")
    with pytest.raises(vsearch.InputError, match="no text columns"):
        warmed(vsearch.build(vectors(30), tmp_path / "none", partitions=2)).search(POINTS[0], text="ak")


def test_threads_and_indexes_do_not_mix(tmp_path):
    """Searches of several indexes, alone and fused, in turn and in threads, share nothing but their arrays."""
    first, second = warmed(make(tmp_path / "first")), warmed(make(tmp_path / "second", "l2", "float32", 1, 300))
    texts = words_of(11, 6)
    expected = [(index.search(POINTS[0], text=[text]).ids.tolist()) for index in (first, second) for text in texts]
    wrong = []

    def search():
        for _ in range(20):
            answers = []
            for index in (first, second):
                for text in texts:
                    answers.append(index.search(POINTS[0], text=text).ids.tolist())
                    index.search_text(text, 3)
                    index.search(POINTS[1], 4)
            if answers != expected:
                wrong.append(answers)

    workers = [Thread(target=search) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []
