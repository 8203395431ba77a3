"""Hedged calls: right answers, bounded repetition, and a bill that has both calls."""

from __future__ import annotations

import threading
import time

import pytest

from vsearch.errors import InputError
from vsearch.fanout.calls.hedging import Hedging, hedge
from vsearch.fanout.calls.retries import CallError, ErrorKind
from vsearch.fanout.platforms.hosting import open_worker


class Scripted:
    """Makes calls of which each waits for an event or fails, in the order in which they are started."""

    def __init__(self, *outcomes):
        self.outcomes, self.started, self.lock = list(outcomes), 0, threading.Lock()
        self.release = threading.Event()

    def __call__(self):
        with self.lock:
            outcome = self.outcomes[self.started]
            self.started += 1
            number = self.started
        if outcome == "slow" and not self.release.wait(30):
            raise CallError(ErrorKind.TIMEOUT, "never released")
        if isinstance(outcome, BaseException):
            raise outcome
        return number


def refused(kind=ErrorKind.CRASH):
    return CallError(kind, f"injected: {kind}")


def test_quick_calls_are_not_repeated():
    send = Scripted("quick")
    race = hedge(send, Hedging(after=30))
    assert (race.reply, race.errors, race.unfinished, send.started) == (1, [], None, 1)


def test_the_first_reply_counts():
    send = Scripted("slow", "quick")
    race = hedge(send, Hedging(after=0.01))
    send.release.set()
    assert (race.reply, race.errors, send.started) == (2, [], 2)
    assert race.unfinished >= 0.01


def test_an_error_of_the_second_call_leaves_the_first():
    send = Scripted("slow", refused())
    threading.Timer(0.2, send.release.set).start()
    race = hedge(send, Hedging(after=0.01))
    assert race.reply == 1
    assert [error.kind for error, _ in race.errors] == [ErrorKind.CRASH]
    assert race.unfinished is None


def test_an_early_error_is_not_hedged():
    send = Scripted(refused(ErrorKind.THROTTLED), "quick")
    race = hedge(send, Hedging(after=30))
    assert (race.reply, send.started) == (None, 1)
    assert [error.kind for error, _ in race.errors] == [ErrorKind.THROTTLED]


def test_both_calls_may_fail():
    class Late(Scripted):
        def __call__(self):
            number = self.started
            try:
                return super().__call__()
            finally:
                if number == 0:
                    time.sleep(0.1)

    send = Late(refused(ErrorKind.TIMEOUT), refused(ErrorKind.CRASH))
    race = hedge(send, Hedging(after=0.01))
    assert race.reply is None
    assert [error.kind for error, _ in race.errors] == [ErrorKind.CRASH, ErrorKind.TIMEOUT]
    assert race.unfinished is None


def test_unexpected_errors_are_raised():
    with pytest.raises(ZeroDivisionError):
        hedge(Scripted(ZeroDivisionError()), Hedging(after=30))


def test_the_share_of_repeated_calls_is_bounded():
    hedging = Hedging(after=1e-6, share=0.1, burst=3)

    def slow():
        time.sleep(0.002)
        return 1

    started = []
    for _ in range(100):
        hedge(lambda: started.append(1) or slow(), hedging)
    time.sleep(0.05)
    assert 100 + 3 <= len(started) <= 100 + 3 + 10


class Straggling:
    """Delays the first calls of a function until they are released."""

    def __init__(self, inner, function, times):
        self.inner, self.function, self.left = inner, function, times
        self.lock, self.release, self.calls = threading.Lock(), threading.Event(), {}

    def invoke(self, function, payload, timeout):
        with self.lock:
            straggles = function == self.function and self.left > 0
            self.left -= straggles
            self.calls[function] = self.calls.get(function, 0) + 1
        if straggles:
            self.release.wait(30)
        return self.inner.invoke(function, payload, timeout)


@pytest.mark.parametrize("mode", ["flat", "tree"])
def test_a_straggling_processor_does_not_hold_up_the_answer(stack, mode):
    expected = stack.search(mode=mode, allow_partial=False)
    stack.reset()
    stack.hedging = Hedging(after=0.02)
    stack.invoker = slow = Straggling(stack.local, "t-processor-1", 1)
    answer = stack.search(mode=mode, allow_partial=False)
    slow.release.set()
    assert (answer.rows, answer.scores, answer.outcomes) == (expected.rows, expected.scores, ())
    processors = sum(calls for function, calls in slow.calls.items() if "processor" in function)
    assert answer.usages.processor.invocations == processors > expected.usages.processor.invocations
    assert answer.usages.processor.failures == 0
    assert answer.usages.processor.seconds > 0.02


def test_allocators_are_not_hedged(stack):
    stack.hedging = Hedging(after=0.01)
    stack.invoker = slow = Straggling(stack.local, "t-allocator", 1)
    threading.Timer(0.3, slow.release.set).start()
    answer = stack.search(mode="tree", allow_partial=False)
    assert answer.usages.allocator.invocations == slow.calls["t-allocator"] == 1


def environment(index, **more):
    url = "http://127.0.0.1:9/{function}"
    return {"VSEARCH_INDEX": str(index), "VSEARCH_STACK": "s", "VSEARCH_INVOKER": url, **more}


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "soon", "0x10", " "])
def test_the_variable_is_checked(text, tmp_path):
    with pytest.raises(InputError, match="VSEARCH_HEDGE must be a positive number of seconds, got"):
        open_worker("coordinator", environment(tmp_path, VSEARCH_HEDGE=text))


def test_the_variable_is_read(tmp_path):
    assert open_worker("coordinator", environment(tmp_path, VSEARCH_HEDGE="0.25")).hedging.after == 0.25
    assert open_worker("coordinator", environment(tmp_path)).hedging is None
