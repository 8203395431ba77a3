"""The time limit of a keeper: time spent on training counts when the other steps are planned."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from vsearch.fanout.roles import keeper
from vsearch.fanout.wire.change_messages import KeepRequest
from vsearch.live.optimizing import OptimizeReport


@dataclass
class Clock:
    """A deadline and a clock that only move when a step takes time."""

    now: float = 0.0
    end: float | None = None

    def monotonic(self):
        return self.now

    def remaining(self):
        return None if self.end is None else self.end - self.now


class Worker:
    meter = None


@pytest.mark.parametrize(
    ("end", "budget", "expected"),
    [(900, None, 150), (900, 700, 100), (500, 1000, 0), (None, 650, 50), (None, None, None)],
)
def test_training_counts(monkeypatch, end, budget, expected):
    clock, planned, limits = Clock(end=end), [], []

    def train(snapshot, *, keep_shards, limit):
        limits.append(limit.until)
        clock.now += 600
        return snapshot

    def maintain(snapshot, seconds, **options):
        planned.append(seconds)
        return OptimizeReport(1), snapshot

    monkeypatch.setattr(keeper, "time", clock)
    monkeypatch.setattr(keeper, "open_snapshot", lambda store, manifest: None)
    monkeypatch.setattr(keeper, "read_manifest", lambda store, number: None)
    monkeypatch.setattr(keeper, "train_if_due", train)
    monkeypatch.setattr(keeper, "maintain", maintain)
    keeper.keep(Worker(), KeepRequest(budget=budget), clock)
    assert planned == [expected]
    assert (limits == [None]) == (expected is None)  # training has a limit of its own
