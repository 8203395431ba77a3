"""Calling functions: one small protocol, whatever the platform, and what the functions of a stack are called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from vsearch.fanout.calls.retries import CallError, ErrorKind

LIVE = "live"
"""Alias by which deployed functions are called: it names the version that answers."""


class Invoker(Protocol):
    """Calls a function by name and waits for its reply."""

    def invoke(self, function: str, payload: bytes, timeout: float | None) -> bytes:
        """Send a message and return the reply's.

        Parameters
        ----------
        timeout : float or None
            Seconds that the caller waits.

        Raises
        ------
        CallError
            There is no reply; its kind says why.
        """


@dataclass(frozen=True)
class Names:
    """What the functions of a stack are called. Each shard has a function of its own, so that a warm one holds it."""

    stack: str

    @property
    def coordinator(self) -> str:
        """The coordinator's function."""
        return f"{self.stack}-coordinator"

    @property
    def allocator(self) -> str:
        """The allocators' function."""
        return f"{self.stack}-allocator"

    @property
    def writer(self) -> str:
        """The function that changes the index."""
        return f"{self.stack}-writer"

    @property
    def keeper(self) -> str:
        """The function that maintains the index."""
        return f"{self.stack}-keeper"

    def processor(self, shard: int) -> str:
        """The function of a shard."""
        return f"{self.stack}-processor-{shard}"

    def role(self, function: str) -> str:
        """Which role a function plays.

        Raises
        ------
        CallError
            It is not one of this stack.
        """
        rest = function.removeprefix(f"{self.stack}-")
        if rest in ("coordinator", "allocator", "writer", "keeper"):
            return rest
        if rest.startswith("processor-") and rest != function:
            return "processor"
        raise CallError(ErrorKind.ABSENT, f"there is no function {function!r}")
