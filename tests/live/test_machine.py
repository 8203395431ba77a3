"""Random sequences of changes by several writers, each with its own handle, compared with a dict after every step."""

from __future__ import annotations

import copy
import random

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, precondition, rule

from bench.fuzzers.live import small_measures
from bench.fuzzers.live_model import (
    CONDITIONS,
    ID_TYPES,
    ROWS,
    Ask,
    beginning,
    carry_out,
    changes,
    check,
    draw_row,
    mapped,
    named,
    open_here,
    outcome,
    remote,
)
from vsearch.errors import ConflictError, InputError
from vsearch.storage import prune, read_manifest, verify

HANDLES = st.integers(0, 2)
OLD = st.integers(0, 5)
NEW = st.integers(ROWS, ROWS + 5)
WHERE = st.sampled_from(sorted(CONDITIONS))
NUMBERS = st.lists(OLD | NEW, min_size=1, max_size=4, unique=True)
TOKENS = st.booleans()
VALUES = st.none() | st.integers(0, 6)


class LiveIndex(RuleBasedStateMachine):
    tokens = Bundle("tokens")

    @initialize(
        id_type=st.sampled_from(ID_TYPES),
        shards=st.sampled_from((1, 2)),
        rerank=st.sampled_from(("float32", "int8", None)),
        store=st.sampled_from((mapped, remote)),
        spill=st.booleans(),
    )
    def build(self, id_type, shards, rerank, store, spill):
        self.measures = small_measures()
        self.measures.__enter__()
        begun = beginning(id_type, shards, rerank, spill=spill and rerank is not None)
        self.id_type, self.state, self.rerank = id_type, begun.state, rerank
        self.store = begun.copy(store())
        self.handles = [open_here(self.store) for _ in range(3)]
        self.views, self.scores = [], {}
        self.draw, self.snapshot = random.Random(5), 1

    def ids(self, numbers):
        return [named(self.id_type, number) for number in numbers]

    def change(self, handle, ask, *, token=False):
        """Ask for a change by a handle, which may be behind; it is judged by the newest snapshot."""
        ask.token = f"token {self.snapshot} {handle}" if token else None
        made, index = outcome(self.state, ask), self.handles[handle]
        before = index.snapshot.manifest.snapshot
        try:
            done = carry_out(index, ask)
        except InputError:
            assert made is None
            assert index.snapshot.manifest.snapshot == before
            return None
        assert made is not None
        if ask.kind not in {"fold", "optimize"}:
            assert (done.added, done.replaced, done.deleted) == made.counts
            assert done.snapshot == self.snapshot + changes(made)
        self.state, self.snapshot = made.state, read_manifest(self.store).snapshot
        assert index.snapshot.manifest.snapshot == self.snapshot
        self.compare(index)
        return (ask, done) if token and changes(made) else None

    def compare(self, index):
        """Compare a handle, and a newly opened index, with the dict."""
        fresh = open_here(self.store)
        self.check(fresh, self.state)
        assert len(index) == len(fresh)
        assert fresh.snapshot.rows == index.snapshot.rows
        query = np.linspace(-1, 1, 8, dtype=np.float32)
        hits, again = (one.search(query, k=len(self.state.rows) + 1, exact=True) for one in (index, fresh))
        np.testing.assert_array_equal(hits.ids, again.ids)
        np.testing.assert_array_equal(hits.scores, again.scores)
        for name, score in zip(hits.ids[0].tolist(), hits.scores[0].tolist(), strict=True):
            row = self.state.rows.get(name)
            if row is not None:  # codes are copied, but for splits: whatever became of a row, its score is what it was
                first = self.scores.setdefault((name, id(row.vector)), (score, row.vector))[0]
                assert np.isclose(score, first, rtol=1e-3, atol=0.3 if self.rerank == "int8" else 1e-3)

    def check(self, index, state):
        check(index, state, self.draw, scores=self.rerank == "float32")

    def rows(self, many):
        return [draw_row(self.draw) for _ in range(many)]

    @rule(target=tokens, handle=HANDLES, numbers=NUMBERS, token=TOKENS)
    def append(self, handle, numbers, token):
        ids = None if self.id_type == "row" else self.ids(numbers)
        return self.change(handle, Ask("append", ids, self.rows(len(numbers))), token=token)

    @rule(target=tokens, handle=HANDLES, numbers=NUMBERS, token=TOKENS)
    def upsert(self, handle, numbers, token):
        if self.id_type == "row":
            numbers = [number for number in numbers if number < self.state.next_row]
        if not numbers:
            return None
        return self.change(handle, Ask("upsert", self.ids(numbers), self.rows(len(numbers))), token=token)

    @rule(numbers=NUMBERS)
    def two_upsert_the_same(self, numbers):
        numbers = [number for number in numbers if self.id_type != "row" or number < ROWS]
        for handle in (0, 1) if numbers else ():
            self.change(handle, Ask("upsert", self.ids(numbers), self.rows(len(numbers))))

    @rule(target=tokens, handle=HANDLES, numbers=NUMBERS, value=VALUES, token=TOKENS)
    def update_ids(self, handle, numbers, value, token):
        return self.change(handle, Ask("update", self.ids(numbers), value=value), token=token)

    @rule(target=tokens, handle=HANDLES, where=WHERE, value=VALUES, token=TOKENS)
    def update_where(self, handle, where, value, token):
        return self.change(handle, Ask("update", where=where, value=value), token=token)

    @rule(target=tokens, handle=HANDLES, numbers=NUMBERS, token=TOKENS)
    def delete_ids(self, handle, numbers, token):
        return self.change(handle, Ask("delete", self.ids(numbers)), token=token)

    @rule(target=tokens, handle=HANDLES, where=WHERE, token=TOKENS)
    def delete_where(self, handle, where, token):
        return self.change(handle, Ask("delete", where=where), token=token)

    @rule(handle=HANDLES, said=consumes(tokens))
    def say_again(self, handle, said):
        if said is None:
            return
        ask, done = said
        assert carry_out(self.handles[handle], ask) == done
        assert read_manifest(self.store).snapshot == self.snapshot

    @rule(handle=HANDLES, value=VALUES)
    def change_a_snapshot_only(self, handle, value):
        index = self.handles[handle]
        asked = index.snapshot.manifest.snapshot
        ask = Ask("update", where="n IS NULL OR n IS NOT NULL", value=value, if_snapshot=asked)
        if asked == self.snapshot:
            self.change(handle, ask)
            return
        try:
            carry_out(index, ask)
        except ConflictError:
            return
        raise AssertionError("another snapshot was changed")

    @rule(handle=HANDLES)
    def refresh(self, handle):
        index = self.handles[handle]
        behind = index.snapshot.manifest.snapshot < self.snapshot
        assert index.refresh() == behind
        self.compare(index)

    @rule(handle=HANDLES)
    def open_again(self, handle):
        self.handles[handle] = open_here(self.store)

    @rule(handle=HANDLES, force=st.booleans())
    def fold(self, handle, force):
        self.change(handle, Ask("fold", force=force))

    @rule(handle=HANDLES, force=st.booleans())
    def optimize(self, handle, force):
        self.change(handle, Ask("optimize", force=force))  # of what the handle knows
        self.change(handle, Ask("optimize", force=force))
        before = self.snapshot
        self.change(handle, Ask("optimize", force=force))
        assert self.snapshot == before, "there was nothing left to do"

    @rule()
    def look(self):
        """Keep the newest snapshot open."""
        index = open_here(self.store)
        self.check(index, self.state)
        self.views.append((index, self.state))

    @precondition(lambda self: self.views)
    @rule(number=st.integers(0, 9))
    def look_again(self, number):
        index, state = self.views[number % len(self.views)]
        self.check(copy.copy(index), state)

    @rule()
    def verify(self):
        assert verify(self.store).ok

    def teardown(self):
        if not hasattr(self, "handles"):
            return
        try:
            for index, state in self.views:
                self.check(index, state)
            prune(self.store, 1, grace=0, older_than=0)
            assert verify(self.store).ok
            for handle in range(3):  # also those that are behind by files that are gone
                self.change(
                    handle, Ask("append", None if self.id_type == "row" else self.ids([99 + handle]), self.rows(1))
                )
        finally:
            self.measures.__exit__(None, None, None)


TestLiveIndex = LiveIndex.TestCase
TestLiveIndex.settings = settings(max_examples=10, stateful_step_count=12)
