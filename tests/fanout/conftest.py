from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.apart import search_apart
from vsearch.fanout.calls.invoker import Names
from vsearch.fanout.calls.retries import RetryPolicy
from vsearch.fanout.platforms.in_process import LocalInvoker
from vsearch.fanout.roles.keeper import keep
from vsearch.fanout.roles.worker import Worker
from vsearch.fanout.roles.writer import Writer
from vsearch.fanout.wire import codec as wire
from vsearch.fanout.wire.envelope import Envelope
from vsearch.fanout.wire.messages import Answer, Options, SearchRequest
from vsearch.fanout.wire.replies import open_reply
from vsearch.fanout.wire.where import encode_where
from vsearch.storage import open_store

QUICK = RetryPolicy(first_wait=0.001, longest_wait=0.002)


def make_sample(rows, dimensions, seed):
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(12, dimensions))
    vectors = (centers[rng.integers(0, 12, rows)] + rng.normal(size=(rows, dimensions)) * 0.6).astype(np.float32)
    words = [f"w{i % 7}" if i % 11 else None for i in range(rows)]
    attributes = pa.table(
        {
            "price": pa.array(rng.normal(50, 20, rows)),
            "year": pa.array(rng.integers(1990, 2025, rows)),
            "word": pa.array(words),
            "tags": pa.array([[f"t{i % 3}", None] if i % 5 else [] for i in range(rows)], pa.list_(pa.string())),
            "day": pa.array(rng.integers(0, 9000, rows), pa.int32()).cast(pa.date32()),
            "ok": pa.array([bool(i % 2) if i % 9 else None for i in range(rows)]),
        }
    )
    return (
        vectors,
        attributes,
        (centers[rng.integers(0, 12, 24)] + rng.normal(size=(24, dimensions))).astype(np.float32),
    )


def run_of(role):
    """The answer of a role that does not search."""
    return {"writer": Writer().answer, "keeper": keep}.get(role)


@dataclass
class Stack:
    """An index in a store that counts requests, its functions in this process, and the same opened directly."""

    url: str
    index: vsearch.Index
    queries: np.ndarray
    names: Names = field(default_factory=lambda: Names("t"))
    expected: dict = field(default_factory=dict)

    def __post_init__(self):
        self.reset()

    def reset(self):
        """All functions cold again, no faults."""
        self.local = LocalInvoker(self.make)
        self.invoker, self.hedging = self.local, None

    def hits(self, where=None, **options):
        """The index's own answers to the queries, computed once for all plans."""
        key = (where, *options.items())
        if key not in self.expected:
            self.expected[key] = self.index.search(self.queries, where=where, **options)
        return self.expected[key]

    def make(self, function):
        store = open_store(self.url)
        stack = self

        class Through:
            def invoke(self, function, payload, timeout):
                return stack.invoker.invoke(function, payload, timeout)

        role = self.names.role(function)
        more = {"policy": QUICK, "hedging": self.hedging, "run": run_of(role)}
        return Worker.open(role, store, function, invoker=Through(), names=self.names, **more)

    def with_overflow(self, spill):
        """The functions of a platform with a message limit of 4 kB, and an overflow store."""

        def make(function):
            role, store = self.names.role(function), open_store(self.url)
            envelope, run = Envelope(4096, spill), run_of(role)
            return Worker.open(role, store, function, invoker=local, names=self.names, envelope=envelope, run=run)

        local = LocalInvoker(make)
        return local

    def request(self, queries=None, where=None, allow_partial=False, snapshot=None, remaining=None, **options):
        chosen = {name: options.pop(name) for name in ("mode", "allocators", "branching") if name in options}
        vectors = np.ascontiguousarray(self.queries if queries is None else queries, "<f4")
        return SearchRequest(
            count=len(vectors),
            dimensions=vectors.shape[1],
            queries=vectors.tobytes(),
            options=Options(**{"k": 10, **options}, where=encode_where(where)),
            snapshot=snapshot,
            remaining=remaining,
            allow_partial=allow_partial,
            **chosen,
        )

    def search(self, **asked) -> Answer:
        payload = wire.encode(self.request(**asked))
        return open_reply(Envelope(), self.local.invoke(self.names.coordinator, payload, 60), "coordinator")


KINDS = {
    "cosine": {"metric": "cosine", "bits": 1.0},
    "l2": {"metric": "l2", "bits": 2.0},
    "cells": {"metric": "l2", "quantizer": "osq-lloyd", "bits": 4.0},
    "projected": {"metric": "cosine", "quantizer": "osq-projected"},
    "trained": {"metric": "cosine", "quantizer": vsearch.PQ(16, rotation=False)},
}


@pytest.fixture(autouse=True)
def _apart(monkeypatch):
    """Tests compare functions with an index that is searched shard by shard."""
    search_apart(monkeypatch)


@pytest.fixture(scope="session")
def stacks(tmp_path_factory):
    made = {}

    def get(kind):
        if kind not in made:
            vectors, attributes, queries = make_sample(1500, 32, 5)
            ids = [f"row-{i}" for i in range(len(vectors))] if kind == "l2" else None
            url = f"memory://fanout-{kind}/index"
            index = vsearch.build(vectors, url, attributes, ids, shards=3, partitions=30, **KINDS[kind])
            if kind == "trained":  # other centroids, and queries that are adapted
                index = vsearch.jpq.train(index, vectors[:300] ** 3, np.arange(300), epochs=1, batch=64, depth=20)
            made[kind] = Stack(url, index, queries)
        return made[kind]

    return get


@pytest.fixture(params=sorted(KINDS))
def any_stack(request, stacks):
    stack = stacks(request.param)
    if stack.invoker is not stack.local:  # a test put a fault there
        stack.reset()
    return stack


@pytest.fixture
def stack(stacks):
    found = stacks("cosine")
    found.reset()
    return found
