"""Tests for every invoker, on any platform."""

from __future__ import annotations

import os
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from vsearch.fanout.calls.invoker import Invoker
from vsearch.fanout.calls.retries import RETRIES, CallError, Deadline, ErrorKind, RetryPolicy, call_with_retries

PATIENCE = 60.0
"""Timeout in seconds of calls that must be answered, even if the platform starts functions slowly."""

LATE = 10.0
"""Seconds by which a call may exceed its timeout, on a busy machine."""


@dataclass(frozen=True, eq=False)
class Called:
    """An invoker, and functions that it can call.

    Attributes
    ----------
    invoker : Invoker
    function : str
        Answers every request at once.
    request : callable
        Returns the request with a number, 0 to 999.
    number : callable
        Returns the number of the request that a reply answers; raises `CallError` if the reply is a refusal.
    failing : mapping of ErrorKind to str
        Functions that fail, by the kind reported to the caller: as many kinds as the platform can produce. ABSENT is
        the name of a function that does not exist.
    slow : str
        A function that takes `seconds` to answer.
    seconds : float
        At least 1.
    padded : callable or None
        Returns request 0, padded to a number of bytes.
    limit : int or None
        Maximum size of a request on the platform, in bytes.
    """

    invoker: Invoker
    function: str
    request: Callable[[int], bytes]
    number: Callable[[bytes], int]
    failing: Mapping[ErrorKind, str] = field(default_factory=dict)
    slow: str = ""
    seconds: float = 1.0
    padded: Callable[[int], bytes] | None = None
    limit: int | None = None

    def ask(self, number: int, function: str = "", timeout: float | None = PATIENCE) -> int:
        """Call a function; return the number of the request that it answered."""
        return self.number(self.invoker.invoke(function or self.function, self.request(number), timeout))


class InvokerContract:
    """Tests of a fixture ``called``, a `Called`; it may be the same for all tests."""

    def test_a_call_is_answered(self, called: Called) -> None:
        reply = called.invoker.invoke(called.function, called.request(7), PATIENCE)
        assert isinstance(reply, bytes)
        assert called.number(reply) == 7
        assert [called.ask(number, timeout=None) for number in range(3)] == [0, 1, 2]

    def test_an_unknown_function_is_absent(self, called: Called) -> None:
        with pytest.raises(CallError) as caught:
            called.ask(0, called.failing[ErrorKind.ABSENT])
        assert caught.value.kind is ErrorKind.ABSENT

    def test_failures_have_their_kind(self, called: Called) -> None:
        for kind, function in called.failing.items():
            with pytest.raises(CallError) as caught:
                called.ask(0, function)
            assert caught.value.kind is kind, str(caught.value)
            assert str(caught.value)
            assert called.ask(1) == 1  # a failing call does not affect the others

    def test_retries_go_by_the_kind(self, called: Called) -> None:
        """Transient errors are retried as often as their kind allows, others are final at once."""
        for kind, function in called.failing.items():
            policy = RetryPolicy({kind: 1} if kind in RETRIES else RETRIES, first_wait=0.001, longest_wait=0.002)
            with pytest.raises(CallError) as caught:
                call_with_retries(
                    lambda function=function: called.ask(0, function),  # type: ignore[misc]
                    policy,
                    Deadline.after(PATIENCE),
                )
            assert (caught.value.kind, caught.value.attempts) == (kind, 2 if kind in RETRIES else 1)

    def test_nobody_waits_longer_than_wanted(self, called: Called) -> None:
        if not called.slow:
            pytest.skip("no function of this platform is slow")
        started = time.monotonic()
        with pytest.raises(CallError) as caught:
            called.ask(0, called.slow, timeout=called.seconds / 4)
        assert caught.value.kind in (ErrorKind.TIMEOUT, ErrorKind.DEADLINE)
        assert time.monotonic() - started < called.seconds + LATE
        assert called.ask(3) == 3  # and no late reply is returned for another request
        assert called.ask(4, called.slow) == 4

    def test_the_largest_request_is_carried_and_a_larger_one_refused(self, called: Called) -> None:
        if called.padded is None:
            pytest.skip("this platform does not measure requests")
        size = called.limit or 8_000_000
        reply = called.invoker.invoke(called.function, called.padded(size), PATIENCE)
        assert called.number(reply) == 0
        if called.limit is not None:
            with pytest.raises(CallError) as caught:
                called.invoker.invoke(called.function, called.padded(size + 1024), PATIENCE)
            assert caught.value.kind is ErrorKind.TOO_LARGE
            assert called.ask(5) == 5

    def test_calls_side_by_side_get_their_own_replies(self, called: Called) -> None:
        numbers = list(range(64))
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(called.ask, numbers)) == numbers

    def test_a_closed_invoker_opens_again(self, called: Called) -> None:
        close = getattr(called.invoker, "close", None)
        if close is None:
            pytest.skip("it holds nothing that could be closed")
        assert called.ask(1) == 1
        close()
        close()
        assert called.ask(2) == 2

    def test_a_forked_child_calls_for_itself(self, called: Called) -> None:
        """Parent and child do not receive each other's replies, regardless of connections that were open before the fork."""
        assert called.ask(1) == 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and later warn about threads
            child = os.fork()
        if child == 0:  # pytest must not run here
            try:
                fine = [called.ask(number) for number in range(100, 120)] == list(range(100, 120))
                os._exit(0 if fine else 1)
            except BaseException:
                os.write(2, traceback.format_exc().encode())
                os._exit(2)
        try:
            assert [called.ask(number) for number in range(200, 220)] == list(range(200, 220))
        finally:
            status = _wait(child)
        assert status == 0, "the child got wrong replies (1), failed (2) or hung (-9)"


def _wait(child: int) -> int:
    """The exit status of a child, which is killed if it takes too long."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, 9)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
