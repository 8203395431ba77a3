"""Errors of function calls, retries per error kind, and deadlines."""

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
    """Why a call failed. Each kind has its own number of retries; see `RetryPolicy`."""

    THROTTLED = "throttled"  # the platform had no capacity
    TIMEOUT = "timeout"  # the function reached its time limit
    MEMORY = "memory"  # the function was killed for its memory
    CRASH = "crash"  # the process ended or failed unexpectedly
    MALFORMED = "malformed"  # the reply is invalid
    MISSING = "missing"  # an object of the index does not exist
    SNAPSHOT = "snapshot"  # the snapshot does not exist, or no longer
    CORRUPT = "corrupt"  # an object of the index is damaged
    STORE = "store"  # the object store failed
    UNREACHABLE = "unreachable"  # the function could not be called
    DENIED = "denied"  # the caller is not allowed to call the function
    ABSENT = "absent"  # the function does not exist
    INIT = "init"  # the function does not start, for example because of its package
    TOO_LARGE = "too large"  # the message exceeds the platform's limit
    DEADLINE = "deadline"  # the deadline passed
    REFUSED = "refused"  # the request is invalid
    PREDICATE = "predicate"  # its predicate is invalid
    CONFLICT = "conflict"  # another writer was first, and the change cannot be applied after it
    INTERNAL = "internal"  # a bug in vsearch


class CallError(VsearchError):
    """A call of a function failed.

    Attributes
    ----------
    kind : ErrorKind
    attempts : int
        Number of calls made.
    seconds : float
        Their total duration.
    final : bool
        Whether the part that failed was already retried further down, so that retrying the whole call makes no sense.
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
    """A deadline on this machine's monotonic clock; messages carry the remaining time.

    Attributes
    ----------
    at : float or None
        None for no deadline.
    """

    at: float | None = None

    @classmethod
    def after(cls, seconds: float | None) -> Deadline:
        """Return the deadline `seconds` from now; none for None."""
        return cls(None if seconds is None else time.monotonic() + seconds)

    def remaining(self) -> float | None:
        """Return the seconds left, at least 0."""
        return None if self.at is None else max(0.0, self.at - time.monotonic())

    def check(self, doing: str) -> None:
        """Raise `CallError` of kind DEADLINE if no time is left."""
        if self.at is not None and time.monotonic() >= self.at:
            raise CallError(ErrorKind.DEADLINE, f"the deadline passed while {doing}; increase the timeout")

    def sooner(self, seconds: float | None) -> Deadline:
        """Return the earlier of this deadline and the one `seconds` from now."""
        if seconds is None:
            return self
        other = time.monotonic() + seconds
        return Deadline(other if self.at is None else min(self.at, other))


RETRIES: Mapping[ErrorKind, int] = {
    ErrorKind.THROTTLED: 20,  # nothing ran or was billed, and the deadline limits the retries
    ErrorKind.UNREACHABLE: 4,
    ErrorKind.STORE: 2,
    ErrorKind.CRASH: 2,
    ErrorKind.MALFORMED: 2,
    ErrorKind.CORRUPT: 2,
    ErrorKind.TIMEOUT: 1,
    ErrorKind.MEMORY: 1,
    ErrorKind.MISSING: 1,
    ErrorKind.SNAPSHOT: 1,
}
"""Retries per error kind; other kinds are not retried."""


@dataclass(frozen=True)
class RetryPolicy:
    """How failed calls are retried.

    Attributes
    ----------
    retries : mapping of ErrorKind to int
        Retries per error kind.
    attempts : int
        Maximum number of calls in total.
    first_wait, longest_wait : float
        Seconds; exponential backoff with jitter of up to half the wait.
    """

    retries: Mapping[ErrorKind, int] = field(default_factory=lambda: dict(RETRIES))
    attempts: int = 24
    first_wait: float = 0.05
    longest_wait: float = 2.0

    def wait(self, attempt: int, draw: Callable[[], float] = random.random) -> float:
        """Return the seconds to wait after a call; `attempt` counts from 1."""
        longest = min(self.longest_wait, self.first_wait * 2 ** min(attempt - 1, 30))
        return longest * (0.5 + 0.5 * draw())


def call_with_retries(
    call: Callable[[], T],
    policy: RetryPolicy,
    deadline: Deadline,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Call until there is an answer, the retries of an error kind are used up, or the deadline passes.

    Parameters
    ----------
    call : callable
        Raises `CallError` if it fails.
    sleep : callable
        Takes seconds to wait.

    Raises
    ------
    CallError
        The last error, with the number of attempts.
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
