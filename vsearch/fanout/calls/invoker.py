"""The protocol for calling functions on any platform, and the names of a stack's functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from vsearch.fanout.calls.retries import CallError, ErrorKind

LIVE = "live"
"""Alias by which deployed functions are called; it points to the live version."""


class Invoker(Protocol):
    """Calls a function by name and waits for its reply."""

    def invoke(self, function: str, payload: bytes, timeout: float | None) -> bytes:
        """Send a message and return the payload of the reply.

        Parameters
        ----------
        timeout : float or None
            Seconds to wait for the reply.

        Raises
        ------
        CallError
            There is no reply; the kind of the error is the reason.
        """


@dataclass(frozen=True)
class Names:
    """The names of the functions of a stack. Each shard has its own function, so that warm processes hold its data."""

    stack: str

    @property
    def coordinator(self) -> str:
        """Name of the coordinator's function."""
        return f"{self.stack}-coordinator"

    @property
    def allocator(self) -> str:
        """Name of the allocators' function."""
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
        """Return the name of a shard's function."""
        return f"{self.stack}-processor-{shard}"

    def role(self, function: str) -> str:
        """Return the role of a function.

        Raises
        ------
        CallError
            The function does not belong to this stack.
        """
        suffix = function.removeprefix(f"{self.stack}-")
        if suffix in ("coordinator", "allocator", "writer", "keeper"):
            return suffix
        if suffix.startswith("processor-") and suffix != function:
            return "processor"
        raise CallError(ErrorKind.ABSENT, f"there is no function {function!r}")
