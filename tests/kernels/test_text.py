"""The kernels of the text leg against the same in NumPy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsearch.errors import CorruptIndexError
from vsearch.kernels.text.fields import LARGEST, RankField
from vsearch.text.analyzer import Analyzer, Settings
from vsearch.text.encoding import make_postings
from vsearch.text.placing import NO_BITMAPS
from vsearch.text.scanning import PlacedQuery, ScoringWorkspace

SEEDS = st.integers(0, 10_000)


def texts_of(rng, rows, terms, *, longest=12):
    """Texts of skewed words, so that some lists have many blocks and most have one posting."""
    share = 1 / np.arange(1, terms + 1)
    lengths = rng.integers(0, longest, rows)
    words = rng.choice(terms, int(lengths.sum()), p=share / share.sum())
    stops = np.cumsum(lengths)
    return [
        " ".join(f"w{word}" for word in words[stop - length : stop])
        for stop, length in zip(stops, lengths, strict=True)
    ]


def counts_of(texts, term):
    """Rows with a term, and how often they have it."""
    counts = np.array([text.split().count(term) for text in texts], np.int64)
    rows = np.flatnonzero(counts)
    return rows, counts[rows]


def words_of(flags):
    packed = np.zeros((len(flags) + 63) // 64 * 8, np.uint8)
    packed[: (len(flags) + 7) // 8] = np.packbits(flags, bitorder="little")
    return packed.view("<u8").astype(np.uint64)


def gains_of(postings, number, weight, fixed, slope):
    """What each row gains from a list, as whole numbers: the twin of the kernel's arithmetic."""
    rows, counts = postings.unpack(number)
    gains = np.zeros(len(postings.lengths), np.int64)
    lengths = postings.lengths[rows].astype(np.float64)
    gains[rows] = (weight * (counts / (counts + (fixed + slope * lengths)))).astype(np.int64) + 1
    return gains


def place(postings, numbers, weights, bitmaps, constants, extras=(), met=None):
    """A query of lists of a run, best first."""
    order = np.argsort(-np.asarray(weights), kind="stable")
    lists = np.array([(0, *postings.list(numbers[i])) for i in order], np.int64).reshape(-1, 4)
    weights = np.asarray(weights, np.float64)[order]
    return PlacedQuery(lists, weights, bitmaps, np.asarray(constants, np.int64), extras, met)


def rank(postings, query, norms, allowed, k, span=1 << 62):
    """The best rows of a run by the kernel, and the number of postings it scored."""
    workspace, total = ScoringWorkspace(), len(postings.lengths)
    workspace.begin([postings.address], [norms], query)
    workspace.begin_heap(k)
    for first in range(0, total, min(span, total)):
        undamaged = workspace.rank(first, min(first + span, total), 1000, allowed)
        assert not workspace._block._kept[RankField.SUMS].any()
        assert not workspace._block._kept[RankField.TOUCHED].any()
        if not undamaged:
            raise postings.damaged()
    scores, rows, scored = workspace.hits()
    return scores, rows - 1000, scored


@settings(max_examples=40)
@given(seed=SEEDS, rows=st.sampled_from([1, 63, 64, 65, 700, 3000]), terms=st.sampled_from([1, 3, 40]))
def test_lists_are_unpacked_as_they_were_packed(seed, rows, terms):
    texts = texts_of(np.random.default_rng(seed), rows, terms)
    postings = make_postings(texts, rows, Analyzer(Settings()))
    assert [postings.term(number) for number in range(postings.terms)] == sorted(
        {word.encode() for text in texts for word in text.split()}
    )
    assert postings.lengths.tolist() == [len(text.split()) for text in texts]
    for number in range(postings.terms):
        expected, counts = counts_of(texts, postings.term(number).decode())
        found, repeated = postings.unpack(number)
        assert found.tolist() == expected.tolist()
        assert repeated.tolist() == counts.tolist()
        marked, flags = np.zeros(-(-rows // 64), np.uint64), np.zeros(rows, bool)
        postings.mark(range(number, number + 1), marked)
        flags[expected] = True
        np.testing.assert_array_equal(marked, words_of(flags))
        flags &= np.random.default_rng(seed).random(rows) < 0.5
        assert postings.count(number, words_of(flags)) == flags.sum()


def test_gaps_and_counts_of_any_width():
    rows = 300_000
    texts = [""] * rows
    for row in (0, 1, 2, 70_000, 299_999):
        texts[row] = "a " * (row % 7 + 1)
    texts[5] = "a " * 70_000 + "b"
    postings = make_postings(texts, rows, Analyzer(Settings()))
    found, counts = postings.unpack(postings.find(b"a"))
    assert found.tolist() == [0, 1, 2, 5, 70_000, 299_999]
    assert counts.tolist() == [1, 2, 3, 70_000, 1, 299_999 % 7 + 1]
    assert postings.largest_counts[postings.list(postings.find(b"a"))[0]] == LARGEST
    query = place(postings, [0], [1e9], NO_BITMAPS, [])
    scores, best, _ = rank(postings, query, (1.2, 0.0), words_of(np.ones(rows, bool)), 2)
    assert best.tolist() == [5, 2]
    assert scores[0] > scores[1]


@settings(max_examples=60)
@given(seed=SEEDS, share=st.sampled_from([1.0, 0.5, 0.01]), k=st.sampled_from([1, 3, 20, 5000]))
def test_the_best_rows_are_those_of_all_sums(seed, share, k):
    rng = np.random.default_rng(seed)
    rows = int(rng.choice([1, 100, 2047, 2048, 6000]))
    texts = texts_of(rng, rows, 30)
    postings = make_postings(texts, rows, Analyzer(Settings()))
    numbers = rng.permutation(postings.terms)[: rng.integers(1, 8)]
    weights = rng.choice([1.0, 5e5, 3e9], len(numbers))
    norms = (0.3, 0.05)
    constants = rng.integers(1, 10**9, rng.integers(0, 3))
    flags = rng.random((len(constants), rows)) < 0.02
    bitmaps = np.array([words_of(one) for one in flags], np.uint64).reshape(len(constants), -(-rows // 64))
    extras = []
    for _ in range(rng.integers(0, 3)):
        with_phrase = np.flatnonzero(rng.random(rows) < 0.05)
        extras.append((with_phrase, rng.integers(1, 10**9, len(with_phrase))))
    allowed = rng.random(rows) < share
    query = place(postings, numbers, weights, bitmaps, constants, extras)
    mask = None if share == 1.0 else words_of(allowed)
    scores, best, _ = rank(postings, query, norms, mask, k, span=int(rng.choice([1 << 40, 2048])))
    sums = sum(
        (gains_of(postings, number, weight, *norms) for number, weight in zip(numbers, weights, strict=True)),
        constants @ flags if len(constants) else np.zeros(rows, np.int64),
    )
    for with_phrase, gains in extras:
        sums[with_phrase] += gains
    listed = np.flatnonzero(rng.random(rows) < 0.1)
    workspace = ScoringWorkspace()
    workspace.begin([postings.address], [norms], query)
    assert workspace.score(listed, 0).tolist() == sums[listed].tolist()
    sums[~(allowed if mask is not None else np.ones(rows, bool))] = 0
    order = np.lexsort((np.arange(rows), -sums))[:k]
    order = order[sums[order] > 0]
    assert best.tolist() == order.tolist()
    assert scores.tolist() == sums[order].tolist()


def skewed_postings(rows):
    rng = np.random.default_rng(0)
    texts = ["common " * int(rng.integers(1, 4)) + "filler " * int(rng.integers(0, 9)) for _ in range(rows)]
    for row in (10, 20, 30):
        texts[row] = "rare common"
    return make_postings(texts, rows, Analyzer(Settings()))


def test_whole_windows_are_passed_over():
    postings = skewed_postings(60_000)
    query = place(postings, [postings.find(b"rare"), postings.find(b"common")], [1e9, 1e5], NO_BITMAPS, [])
    assert rank(postings, query, (0.3, 0.05), None, 3)[2] < 3000  # of 60,003 postings


def test_long_lists_are_only_read_for_the_rows_of_short_ones():
    rows = 60_000
    texts = ["common"] * rows
    for row in range(0, rows, 300):
        texts[row] = "seldom common"
    postings = make_postings(texts, rows, Analyzer(Settings()))
    query = place(postings, [postings.find(b"seldom"), postings.find(b"common")], [1e9, 1e5], NO_BITMAPS, [])
    scores, best, scored = rank(postings, query, (0.3, 0.05), None, 5)
    assert best.tolist() == [0, 300, 600, 900, 1200]
    assert scores[0] == sum(gains_of(postings, number, weight, 0.3, 0.05)[0] for number, weight in ((0, 1e5), (1, 1e9)))
    assert scored < 6000  # of 60,200 postings


@pytest.mark.parametrize("rows", [1, 128, 129, 5000])
def test_a_term_in_every_row(rows):
    postings = make_postings(["all"] * rows, rows, Analyzer(Settings()))
    query = place(postings, [0], [1e9], NO_BITMAPS, [])
    assert rank(postings, query, (0.3, 0.05), None, 3)[1].tolist() == list(range(min(3, rows)))
    workspace = ScoringWorkspace()
    workspace.begin([postings.address], [(0.3, 0.05)], query)
    listed = np.arange(0, rows, 7)
    assert workspace.score(listed, 0).tolist() == gains_of(postings, 0, 1e9, 0.3, 0.05)[listed].tolist()


def test_damaged_gaps_are_noticed_by_every_kernel():
    texts = ["a"] * 3 + [""] * 100 + ["a"]
    postings = make_postings(texts, 104, Analyzer(Settings()))
    damaged = replace(postings, packed=np.full_like(postings.packed, 0xFFFFFFFF))
    words = np.zeros(2, np.uint64)
    with pytest.raises(Exception, match="rows that do not exist"):
        damaged.unpack(0)
    with pytest.raises(Exception, match="rows that do not exist"):
        damaged.mark(range(1), words)
    with pytest.raises(Exception, match="rows that do not exist"):
        damaged.count(0, words)
    with pytest.raises(Exception, match="rows that do not exist"):
        rank(damaged, place(damaged, [0], [1e9], NO_BITMAPS, []), (0.3, 0.05), None, 3)


def test_damage_leaves_no_sums_for_the_next_query():
    texts = ["a b" if row % 3 == 0 else "a" for row in range(500)]
    postings = make_postings(texts, len(texts), Analyzer(Settings()))
    damaged = replace(postings, packed=np.full_like(postings.packed, 0xFFFFFFFF))  # the gaps of a take no bits
    with pytest.raises(CorruptIndexError):
        rank(damaged, place(damaged, [0, 1], [1e9, 1e8], NO_BITMAPS, []), (0.3, 0.05), None, 600)
