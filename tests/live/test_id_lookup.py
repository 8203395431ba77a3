"""Rows by id: as positions and as addresses, among rows that are removed, replaced and in several segments."""

from __future__ import annotations

import numpy as np
import pytest

from bench.fuzzers.live_model import remote
from tests.live.troubles import on
from vsearch.search.state.id_lookup import _matches, find_addresses, find_ids

EXTREMES = [np.iinfo(np.int64).min, np.iinfo(np.int64).max, -1, 0, 1]


@pytest.mark.parametrize("dtype", [np.int64, np.uint32])
@pytest.mark.parametrize("step", [1, 7, 1 << 12, 1 << 20])
@pytest.mark.parametrize("many", [1, 50, 3000])
def test_numbers_against_a_dict(dtype, step, many):
    rng = np.random.default_rng(many)
    limit = (1 << 32) // step if dtype == np.uint32 else 10_000_000
    pool = rng.choice(min(limit, 1 << 20), min(limit, 9000), replace=False).astype(np.int64) * step
    stored = pool[: len(pool) // 2]
    if dtype == np.int64:
        stored = np.concatenate([-stored - 5, EXTREMES])
        pool = np.concatenate([-pool - 5, EXTREMES])
    wanted = np.unique(rng.choice(pool, min(many, len(pool)), replace=False))
    at = {int(one): row for row, one in enumerate(stored)}
    places, rows = _matches(stored.astype(dtype), wanted)
    assert dict(zip(wanted[places].tolist(), rows.tolist(), strict=True)) == {
        one: at[one] for one in wanted.tolist() if one in at
    }
    assert len(places) == len(set(places.tolist()))


@pytest.mark.parametrize("id_type", ["int", "string"])
def test_positions_and_addresses_say_the_same(begin, id_type):
    text = id_type == "string"

    def named(ids):
        return np.array([f"id {one}" for one in ids], object) if text else np.array(ids, np.int64)

    store, _ = begin(id_type, shards=3, store=remote())
    index = on(store)
    vectors = np.random.default_rng(1).standard_normal((30, 8)).astype(np.float32)
    index.append(vectors, None, named(range(900, 930)).tolist())
    index.optimize(force=True)
    index.append(vectors, None, named(range(950, 980)).tolist())
    index.upsert(vectors[:4], None, named([900, 901, 950, 2000]).tolist())
    index.delete(named([902, 951, 2000]).tolist())
    snapshot = index.snapshot
    asked = named([*range(890, 990), 2000, 902, 900, 900, 5])
    rows, found = find_ids(snapshot, asked), find_addresses(snapshot, asked)
    there = {one: row for one, row in zip(asked.tolist(), rows.tolist(), strict=True) if row >= 0}
    expected = {*range(900, 930), *range(950, 980)} - {902, 951}
    assert set(there) - set(named([5]).tolist()) == set(named(sorted(expected)).tolist())
    where = snapshot.addresses(np.array([there[one] for one in asked[found.places].tolist()], np.int64))
    np.testing.assert_array_equal(found.addresses.segments, where.segments)
    np.testing.assert_array_equal(found.addresses.rows, where.rows)
    assert len(set(asked[found.places].tolist())) == len(found) == len(there)
    assert len(find_addresses(snapshot, asked[:0])) == 0


def test_ids_at_the_bounds_of_segments(begin):
    """Segments whose ids are all less or greater are passed over; the others are not."""
    store, _ = begin()
    index = on(store)
    vectors = np.random.default_rng(2).standard_normal((3, 8)).astype(np.float32)
    low, high = EXTREMES[:2]
    index.append(vectors, None, [100, 300, 200])
    index.append(vectors, None, [low, high, 250])
    snapshot = index.snapshot
    for one in (0, 59, 100, 200, 250, 300, low, high):
        assert len(find_addresses(snapshot, np.array([one]))) == 1, one
        assert find_ids(snapshot, np.array([one]))[0] >= 0, one
    for one in (-1, 60, 99, 101, 301, low + 1, high - 1):
        assert len(find_addresses(snapshot, np.array([one]))) == 0, one
        assert find_ids(snapshot, np.array([one])).tolist() == [-1], one
    assert len(find_addresses(snapshot, np.array([low, 59, 60, 100, 300, high]))) == 5
