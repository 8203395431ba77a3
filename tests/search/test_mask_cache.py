"""A repeated predicate is not evaluated again, even if it is spelled differently; column names are case-insensitive."""

from __future__ import annotations

import numpy as np
import pytest

import vsearch
from vsearch.errors import InputError
from vsearch.search import where as where_module
from vsearch.search.engine.masks import MaskCache
from vsearch.search.where import masks_of

ROWS = 200


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    vectors = np.random.default_rng(0).normal(size=(ROWS, 8)).astype(np.float32)
    columns = {"Price": np.arange(ROWS), "on_sale": np.arange(ROWS) % 2 == 0, "a": [1] * ROWS, "A": [2] * ROWS}
    return vsearch.build(vectors, str(tmp_path_factory.mktemp("masks") / "index"), attributes=columns)


def test_all_spellings_share_a_mask(index, monkeypatch) -> None:
    evaluated = []
    plain = where_module.evaluate_mask
    monkeypatch.setattr(where_module, "evaluate_mask", lambda *given: evaluated.append(1) or plain(*given))
    same = ["price < 50", "PRICE<50 ", {"Price": {"$lt": 50}}, vsearch.col("price") < 50, ~(vsearch.col("Price") >= 50)]
    found = [index.search(np.ones(8, np.float32), k=ROWS, where=where).ids.tolist() for where in same + same]
    assert all(each == found[0] for each in found)
    assert len(evaluated) == 1
    # what Python holds for equal is not the same predicate
    for where in (vsearch.col("on_sale") == True, vsearch.col("a") == 1, vsearch.col("a") == 1.0):  # noqa: E712
        index.search(np.ones(8, np.float32), where=where)
    assert len(evaluated) == 3


def test_a_mask_under_two_keys_counts_once_and_leaves_with_the_last(index) -> None:
    cache = MaskCache(budget=10_000)
    index.search(np.ones(8, np.float32), where="price < 3")
    mask = masks_of(index.snapshot).find("price < 3")
    assert mask is not None
    cache.keep("one", mask)
    once = cache._bytes
    cache.keep(("two",), mask)
    assert cache._bytes == once
    for number in range(10_000 // mask.bytes + 3):
        index.search(np.ones(8, np.float32), where=f"price < {number}")
        other = masks_of(index.snapshot).find(f"price < {number}")
        cache.keep(f"other {number}", other)
    assert cache.find("one") is None
    assert 0 < cache._bytes <= 10_000


def test_columns_are_found_in_any_case_and_called_as_asked(index) -> None:
    hits = index.search(np.ones(8, np.float32), k=3, columns=["PRICE", "price", "a"])
    assert hits.columns.column_names == ["PRICE", "price", "a"]
    assert hits.columns["PRICE"].to_pylist() == hits.ids[0].tolist()
    assert index.get([5], columns=["pricE"])["pricE"].to_pylist() == [5]
    assert index.get([5], columns=["A"])["A"].to_pylist() == [2]
    with pytest.raises(InputError, match="the index has no attribute column 'prices'"):
        index.search(np.ones(8, np.float32), columns=["prices"])
