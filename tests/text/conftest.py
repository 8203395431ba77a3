"""A small index with two text columns, and the same texts for the reference."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from vsearch.text.analyzer import Analyzer, Settings

WORDS = [first + second for first in "abcdefghij" for second in "klmnopqrst"]
WEIGHTS = {"title": 2.0, "body": 1.0}
terms: Callable[[str], list[str]] = Analyzer(Settings()).terms


def make_rows(n: int, seed: int) -> dict[int, dict[str, str | None]]:
    """Texts of skewed words; some are empty or missing."""
    rng = random.Random(seed)

    def text(most: int) -> str | None:
        length = rng.randint(-1, most)
        return None if length < 0 else " ".join(rng.choices(WORDS, [1 / (i + 1) for i in range(len(WORDS))], k=length))

    return {row: {"title": text(4), "body": text(25)} for row in range(n)}


def table(rows: dict[int, dict[str, str | None]]) -> pa.Table:
    """The attributes of rows, with their ids as numbers."""
    columns = {name: pa.array([texts[name] for texts in rows.values()], pa.string()) for name in ("title", "body")}
    return pa.table({**columns, "number": pa.array(list(rows), pa.int64())})


def vectors(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def rows():
    return make_rows(900, 1)


@pytest.fixture(scope="module")
def index(rows):
    return vsearch.build(
        vectors(len(rows)), "memory://text/shared", table(rows), text=WEIGHTS, shards=2, partitions=6, rerank="float32"
    )
