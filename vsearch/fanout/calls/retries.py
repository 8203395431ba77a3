"""What can go wrong with one call of a function, how often it is tried again, and until when."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from vsearch.errors import VsearchError

T = TypeVar("T")


class ErrorKind(StrEnum):
    """Why a call gave no answer. Each has an attempt budget of its own; see `RetryPolicy`."""

    THROTTLED = "throttled"  # the platform had no room
    TIMEOUT = "timeout"  # the function ran into its time limit
    MEMORY = "memory"  # the function was killed for its memory
    CRASH = "crash"  # the process ended, or failed in a way nobody foresaw
    MALFORMED = "malformed"  # the reply is not one
    MISSING = "missing"  # an object of the index is not there
    CORRUPT = "corrupt"  # an object of the index is damaged
    STORE = "store"  # the object store failed
    UNREACHABLE = "unreachable"  # the function could not be called
    DENIED = "denied"  # the caller may not call the function
    ABSENT = "absent"  # there is no such function
    INIT = "init"  # the function does not start: its package is not right
    TOO_LARGE = "too large"  # the message is over the platform's limit
    DEADLINE = "deadline"  # no time was left
    REFUSED = "refused"  # the request is not usable
    PREDICATE = "predicate"  # its condition is not
    CONFLICT = "conflict"  # another writer was first, and the change cannot follow it
    INTERNAL = "internal"  # a defect of vsearch


class CallError(VsearchError):
    """One call of a function gave no answer.

    Attributes
    ----------
    kind : ErrorKind
    attempts : int
        Calls made until it was given up.
    seconds : float
        How long they took, all together.
    final : bool
        Whether what failed was called again already, further down: to repeat the whole would repeat what did not fail.
    """

    def __init__(
        self, kind: ErrorKind, message: str, *, attempts: int = 1, seconds: float = 0.0, final: bool = False
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.attempts = attempts
        self.seconds = seconds
        self.final = final


@dataclass(frozen=True)
class Deadline:
    """A moment of this machine's monotonic clock; what travels is the time that remains.

    Attributes
    ----------
    at : float or None
        None never comes.
    """

    at: float | None = None

    @classmethod
    def after(cls, seconds: float | None) -> Deadline:
        """The moment `seconds` from now, never for None."""
        return cls(None if seconds is None else time.monotonic() + seconds)

    def remaining(self) -> float | None:
        """Seconds left, at least 0."""
        return None if self.at is None else max(0.0, self.at - time.monotonic())

    def check(self, doing: str) -> None:
        """Raise `CallError` of kind DEADLINE if nothing is left."""
        if self.at is not None and time.monotonic() >= self.at:
            raise CallError(ErrorKind.DEADLINE, f"the deadline passed while {doing}; give the search more time")

    def sooner(self, seconds: float | None) -> Deadline:
        """The sooner of this deadline and the one `seconds` from now."""
        if seconds is None:
            return self
        other = time.monotonic() + seconds
        return Deadline(other if self.at is None else min(self.at, other))


RETRIES: Mapping[ErrorKind, int] = {
    ErrorKind.THROTTLED: 20,  # nothing ran and nothing is billed; the deadline bounds it
    ErrorKind.UNREACHABLE: 4,
    ErrorKind.STORE: 2,
    ErrorKind.CRASH: 2,
    ErrorKind.MALFORMED: 2,
    ErrorKind.CORRUPT: 2,
    ErrorKind.TIMEOUT: 1,
    ErrorKind.MEMORY: 1,
    ErrorKind.MISSING: 1,
}
"""So often is a call repeated after a failure of this kind; kinds that are not here are final at once."""


@dataclass(frozen=True)
class RetryPolicy:
    """How failed calls are repeated.

    Attributes
    ----------
    retries : mapping of ErrorKind to int
        Budget of each kind.
    attempts : int
        Calls at most, whatever the kinds.
    first_wait, longest_wait : float
        Seconds; the wait doubles from time to time, and a random part of it (at least half) is waited.
    """

    retries: Mapping[ErrorKind, int] = field(default_factory=lambda: dict(RETRIES))
    attempts: int = 24
    first_wait: float = 0.05
    longest_wait: float = 2.0

    def wait(self, attempt: int, draw: Callable[[], float] = random.random) -> float:
        """Seconds to wait after the `attempt`-th call, counted from 1."""
        longest = min(self.longest_wait, self.first_wait * 2 ** min(attempt - 1, 30))
        return longest * (0.5 + 0.5 * draw())


def call_with_retries(
    call: Callable[[], T],
    policy: RetryPolicy,
    deadline: Deadline,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Call until there is an answer, the budget of a kind of failure is used up, or the deadline comes.

    Parameters
    ----------
    call : callable
        Raises `CallError` where it fails.
    sleep : callable
        Waits some seconds.

    Raises
    ------
    CallError
        The last failure, with the number of attempts.
    """
    start = time.monotonic()
    left = dict(policy.retries)
    attempt = 0
    while True:
        attempt += 1
        try:
            deadline.check("calling a function")
            return call()
        except CallError as error:
            error.attempts, error.seconds = attempt, time.monotonic() - start
            budget = 0 if error.final else left.get(error.kind, 0)
            wait = policy.wait(attempt)
            remaining = deadline.remaining()
            if budget < 1 or attempt >= policy.attempts or (remaining is not None and wait >= remaining):
                raise
            left[error.kind] = budget - 1
        sleep(wait)
