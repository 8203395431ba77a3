"""Failures between any two roles: the right answer or an explicit error, never a wrong or silently partial one."""

from __future__ import annotations

import threading
import time

import msgspec
import numpy as np
import pytest

from vsearch.api.remote_index import RemoteIndex
from vsearch.fanout.calls.retries import CallError, Deadline, ErrorKind, RetryPolicy, call_with_retries
from vsearch.fanout.roles.processor import process
from vsearch.fanout.wire import codec as wire
from vsearch.fanout.wire import messages
from vsearch.fanout.wire.envelope import Envelope
from vsearch.fanout.wire.messages import floats, int32s, int64s
from vsearch.fanout.wire.replies import open_reply
from vsearch.storage.stores.metered import MeteredStore


class Faulty:
    """Fails the first calls of some functions."""

    def __init__(self, inner, function, fault, times):
        self.inner, self.function, self.fault, self.left = inner, function, fault, times
        self.lock = threading.Lock()

    def invoke(self, function, payload, timeout):
        with self.lock:
            fails = function == self.function and self.left > 0
            self.left -= fails
        if not fails:
            return self.inner.invoke(function, payload, timeout)
        if isinstance(self.fault, ErrorKind):
            raise CallError(self.fault, "injected")
        return self.fault(self.inner.invoke(function, payload, timeout))


def other_rows(reply):
    answer = wire.decode(reply)
    return wire.encode(msgspec.structs.replace(answer, rows=(int64s(answer.rows) + 10**6).tobytes()))


def flip(reply):
    return bytes([reply[0] ^ 0x40]) + reply[1:]


DAMAGE = {
    "truncated": lambda reply: reply[: len(reply) // 2],
    "empty": lambda _: b"",
    "text": lambda _: b"<html>502</html>",
    "flipped": flip,
    "rows of another shard": other_rows,
    "another message": lambda _: wire.encode(messages.WarmRequest()),
}
PASSING = [
    ErrorKind.THROTTLED,
    ErrorKind.TIMEOUT,
    ErrorKind.MEMORY,
    ErrorKind.CRASH,
    ErrorKind.UNREACHABLE,
    ErrorKind.STORE,
    ErrorKind.CORRUPT,
    ErrorKind.MISSING,
    ErrorKind.SNAPSHOT,
]
FINAL = [
    ErrorKind.DENIED,
    ErrorKind.ABSENT,
    ErrorKind.INIT,
    ErrorKind.REFUSED,
    ErrorKind.PREDICATE,
    ErrorKind.INTERNAL,
]


@pytest.mark.parametrize("function", ["t-processor-1", "t-allocator"])
@pytest.mark.parametrize("fault", [*PASSING, *DAMAGE.values()], ids=[*PASSING, *DAMAGE])
def test_one_failure_is_repeated(stack, function, fault):
    expected = stack.search(allocators=4)
    stack.reset()
    stack.invoker = Faulty(stack.local, function, fault, 1)
    answer = stack.search(allocators=4)
    assert stack.invoker.left == 0
    assert (answer.rows, answer.scores, answer.found) == (expected.rows, expected.scores, expected.found)
    assert answer.outcomes == ()
    assert answer.usages.total.failures == 1
    assert answer.usages.total.invocations > expected.usages.total.invocations


@pytest.mark.parametrize("fault", [*PASSING, *FINAL, *DAMAGE.values()], ids=[*PASSING, *FINAL, *DAMAGE])
def test_a_shard_that_stays_away_is_an_error_that_names_it(stack, fault):
    stack.invoker = Faulty(stack.local, "t-processor-1", fault, 10**6)
    with pytest.raises(CallError, match="no complete answer: shards 1 failed") as caught:
        stack.search(mode="flat")
    assert caught.value.kind == (fault if isinstance(fault, ErrorKind) else ErrorKind.MALFORMED)


@pytest.mark.parametrize("plan", [{"mode": "flat"}, {"allocators": 4}])
def test_a_partial_answer_says_so(stack, plan):
    whole = stack.search(k=1000, exact=True, mode="flat")
    stack.invoker = Faulty(stack.local, "t-processor-1", ErrorKind.CRASH, 10**6)
    answer = stack.search(allow_partial=True, k=1000, exact=True, **plan)
    assert {outcome.shard for outcome in answer.outcomes} == {1}
    assert {outcome.error for outcome in answer.outcomes} == {"crash"}
    covered = np.concatenate([np.arange(o.first, o.first + o.count) for o in answer.outcomes])
    assert sorted(covered) == list(range(24))
    assert set(int64s(answer.rows)) < set(int64s(whole.rows))


def test_an_allocator_that_stays_away(stack):
    stack.invoker = Faulty(stack.local, "t-allocator", ErrorKind.CRASH, 10**6)
    with pytest.raises(CallError, match="an allocator failed"):
        stack.search(allocators=4)
    answer = stack.search(allocators=4, allow_partial=True)
    assert int32s(answer.found).sum() == 0
    assert sum(outcome.count for outcome in answer.outcomes) == 24
    assert {outcome.shard for outcome in answer.outcomes} == {None}


def test_only_the_failed_are_repeated(stack):
    calls = []

    class Counting(Faulty):
        def invoke(self, function, payload, timeout):
            calls.append(function)
            return super().invoke(function, payload, timeout)

    stack.invoker = Counting(stack.local, "t-processor-2", ErrorKind.THROTTLED, 3)
    stack.search(mode="flat")
    assert sorted(calls) == ["t-processor-0", "t-processor-1", *["t-processor-2"] * 4]


@pytest.mark.parametrize("how", ["refuse", "truncate", "flip"])
def test_damaged_object_reads(stack, monkeypatch, how):
    expected = stack.search(mode="flat")
    stack.reset()
    real, left, lock = MeteredStore.read_into, [2], threading.Lock()

    def read_into(self, path, starts, stops, out):
        with lock:
            fails = left[0] > 0 and path.startswith("segments/")
            left[0] -= fails
        if not fails:
            real(self, path, starts, stops, out)
        elif how == "refuse":
            raise FileNotFoundError(path)
        elif how == "truncate":
            raise EOFError(path)
        else:
            real(self, path, starts, stops, out)
            out[starts[0]] ^= 1

    monkeypatch.setattr(MeteredStore, "read_into", read_into)
    try:
        answer = stack.search(mode="flat")
    except CallError as error:
        assert error.kind in (ErrorKind.CORRUPT, ErrorKind.MISSING, ErrorKind.STORE)  # noqa: PT017 (either is right)
        answer = stack.search(mode="flat")
    assert left == [0]
    assert (answer.rows, answer.scores) == (expected.rows, expected.scores)


@pytest.mark.parametrize("kind", ["codes", "rerank", "rows", "ids", "partitions", "cells", "column", "attributes"])
def test_damage_on_the_way_does_not_stay(stack, monkeypatch, kind):
    asked = {"mode": "flat", "where": "price < 43.21 AND word = 'w3'", "columns": ("day",), "k": 10}
    remote = RemoteIndex("test://t", stack.names, stack.local, Envelope())
    expected = remote.search(stack.queries, **asked)
    stack.reset()
    remote = RemoteIndex("test://t", stack.names, stack.local, Envelope())
    real, left, lock = MeteredStore.read_into, [2], threading.Lock()

    def read_into(self, path, starts, stops, out):
        real(self, path, starts, stops, out)
        with lock:
            if left[0] > 0 and kind in path.rpartition("/")[2]:
                left[0] -= 1
                out[starts[0]] ^= 1

    monkeypatch.setattr(MeteredStore, "read_into", read_into)
    hits = remote.search(stack.queries, **asked)
    assert left == [0]
    assert hits.to_arrow().equals(expected.to_arrow())


def test_deadlines_travel_down(stack):
    seen = []

    class Slow:
        def __init__(self, inner):
            self.inner = inner

        def invoke(self, function, payload, timeout):
            seen.append((function, wire.decode(payload).remaining))
            time.sleep(0.05)
            return self.inner.invoke(function, payload, timeout)

    stack.invoker = Slow(stack.local)
    stack.search(allocators=2, branching=1, remaining=20.0)
    left = dict(seen)
    assert 19 < left["t-allocator"] < 20
    assert left["t-processor-0"] < left["t-allocator"]


def test_a_deadline_that_passed_is_an_error(stack):
    with pytest.raises(CallError) as caught:
        stack.search(mode="flat", remaining=0.0)
    assert caught.value.kind is ErrorKind.DEADLINE


def test_the_unforeseen_is_logged_and_not_told(stack, monkeypatch, capsys):
    def fail(*_, **__):
        raise ZeroDivisionError("secret/path.py")

    monkeypatch.setattr("vsearch.fanout.roles.worker.process", fail)
    with pytest.raises(CallError) as caught:
        stack.search(mode="flat")
    assert caught.value.kind is ErrorKind.INTERNAL
    assert "secret" not in str(caught.value)
    assert "secret" in capsys.readouterr().err


REQUESTS = {
    "dimensions": {"queries": np.zeros((2, 31))},
    "columns": {"columns": ("nothing",)},
    "where": {"where": "nothing = 1"},
    "where on a type": {"where": "tags > 3"},
    "snapshot": {"snapshot": 99},
    "plan": {"mode": "flat", "allocators": 3},
}


@pytest.mark.parametrize("asked", REQUESTS.values(), ids=REQUESTS)
def test_unusable_requests_are_refused(stack, asked):
    with pytest.raises(CallError) as caught:
        stack.search(**asked)
    assert caught.value.kind in (ErrorKind.REFUSED, ErrorKind.PREDICATE, ErrorKind.SNAPSHOT)


def test_every_role_refuses_the_messages_of_others(stack):
    payload = wire.encode(stack.request())
    for function in ("t-allocator", "t-processor-0"):
        with pytest.raises(CallError, match="does not accept a SearchRequest"):
            open_reply(Envelope(), stack.local.invoke(function, payload, None), function)


@pytest.mark.parametrize("seed", range(40))
def test_any_bytes_get_a_reply(stack, seed):
    rng = np.random.default_rng(seed)
    payload = bytearray(wire.encode(stack.request(where="year > 2000", columns=("year",))))
    for _ in range(rng.integers(1, 6)):
        payload[rng.integers(0, min(len(payload), 300) if seed % 2 else len(payload))] = rng.integers(0, 256)
    if seed > 3:
        payload = wire.seal(bytes(payload[8:]))  # else the checksum would refuse it at once
    for function in ("t-coordinator", "t-allocator", "t-processor-0"):
        reply = wire.decode(stack.local.invoke(function, bytes(payload), 30))
        assert isinstance(reply, messages.Answer | messages.Failure)
        if isinstance(reply, messages.Failure):
            assert reply.error != "internal", reply.message
            assert "Traceback" not in reply.message


def test_a_processor_checks_its_visits_and_columns(stack):
    part = stack.local.worker("t-processor-0").loader.shard(stack.index.info()["snapshot"], 0)
    request = messages.ProcessRequest(
        snapshot=1,
        shard=0,
        count=1,
        dimensions=32,
        queries=bytes(128),
        options=messages.Options(k=3),
        visits=np.array([2], "<i4").tobytes(),
        minimums=bytes(4),
        partitions=np.array([0, 0], "<i4").tobytes(),
        bases=bytes(8),
        bounds=bytes(8),
    )
    for partitions, reason in (
        ([0, 0], "at most once"),
        ([0, 10_000], "partitions to visit must be"),
        ([-1, 0], "partitions to visit must be"),
    ):
        bad = msgspec.structs.replace(request, partitions=np.array(partitions, "<i4").tobytes())
        with pytest.raises(ValueError, match=reason):
            process(part.snapshot, part.snapshot.groups[0], bad, Deadline())
    good = msgspec.structs.replace(request, partitions=np.array([0, 1], "<i4").tobytes())
    for name in ("pric", "", "price.values", "id"):  # what is no attribute is not looked for in the file
        bad = msgspec.structs.replace(good, options=messages.Options(k=3, columns=(name,)))
        with pytest.raises(ValueError, match="the index has no attribute column"):
            process(part.snapshot, part.snapshot.groups[0], bad, Deadline())
    answer = process(part.snapshot, part.snapshot.groups[0], good, Deadline())
    assert len(floats(answer.scores)) == 3


class TestRetries:
    def failing(self, *kinds):
        left = list(kinds)

        def call():
            if left:
                raise CallError(left.pop(0), "no")
            return "yes"

        return call

    def test_each_kind_has_a_budget_of_its_own(self):
        policy = RetryPolicy({ErrorKind.CRASH: 1, ErrorKind.THROTTLED: 1}, first_wait=0)
        assert call_with_retries(self.failing(ErrorKind.CRASH, ErrorKind.THROTTLED), policy, Deadline()) == "yes"
        with pytest.raises(CallError) as caught:
            call_with_retries(self.failing(ErrorKind.CRASH, ErrorKind.CRASH), policy, Deadline())
        assert caught.value.attempts == 2

    def test_all_attempts_have_a_budget(self):
        policy = RetryPolicy({ErrorKind.THROTTLED: 100}, attempts=3, first_wait=0)
        with pytest.raises(CallError) as caught:
            call_with_retries(self.failing(*[ErrorKind.THROTTLED] * 100), policy, Deadline())
        assert caught.value.attempts == 3

    def test_waits_grow_with_jitter(self):
        policy = RetryPolicy(first_wait=0.1, longest_wait=0.5)
        assert [policy.wait(i, lambda: 1.0) for i in (1, 2, 3, 4, 99)] == [0.1, 0.2, 0.4, 0.5, 0.5]
        assert policy.wait(1, lambda: 0.0) == 0.05

    def test_no_attempt_begins_after_the_deadline(self):
        waits = []
        with pytest.raises(CallError):
            call_with_retries(
                self.failing(*[ErrorKind.THROTTLED] * 9),
                RetryPolicy(first_wait=60, longest_wait=60),
                Deadline.after(1),
                sleep=waits.append,
            )
        assert waits == []
