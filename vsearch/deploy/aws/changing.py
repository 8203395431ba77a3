"""The part of a stack that changes the index: the writer, and the keeper with its schedule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vsearch.errors import InputError
from vsearch.fanout.platforms.aws_lambda import LIMITS

LONGEST_PAUSE = 7 * 24 * 60
"""Maximum number of minutes between two runs of a keeper."""


@dataclass(frozen=True)
class ChangingSpec:
    """Functions that change the index.

    Attributes
    ----------
    code : str
        ``s3://bucket/key`` of their package.
    writer : bool
        Whether there is a writer.
    write_key_sha256 : str, optional
        If set, the stack's URL takes changes with this key.
    write_concurrency : int
        Concurrent invocations of the writer, reserved from the account's concurrency; 0 reserves none. Writers that commit at
        the same time have to follow each other's commits, so few are faster than many.
    keep_minutes : int, optional
        If set, there is a keeper, which runs at this interval.
    keeper_memory : int
        Memory of the keeper in MB; it holds the rows of a shard while it merges them.
    """

    code: str
    writer: bool = False
    write_key_sha256: str | None = None
    write_concurrency: int = 2
    keep_minutes: int | None = None
    keeper_memory: int = 3008

    def __post_init__(self) -> None:
        if self.write_key_sha256 is not None and not self.writer:
            raise InputError("a write key requires a writer")
        if self.write_concurrency < 0:
            raise InputError(f"write_concurrency must be at least 0, got {self.write_concurrency}")
        if self.keep_minutes is not None and not 1 <= self.keep_minutes <= LONGEST_PAUSE:
            raise InputError(
                f"a keeper must run every 1 to {LONGEST_PAUSE} minutes, got {self.keep_minutes}: merging takes minutes itself"
            )
        if not LIMITS.least_memory <= self.keeper_memory <= LIMITS.most_memory:
            raise InputError(
                f"keeper_memory must be {LIMITS.least_memory} to {LIMITS.most_memory} MB, got {self.keeper_memory}"
            )


def writer_properties(spec: ChangingSpec) -> dict[str, Any]:
    """Properties of the writer besides those that all functions share."""
    reserved = {"ReservedConcurrentExecutions": spec.write_concurrency} if spec.write_concurrency else {}
    return {"CodeUri": spec.code, **reserved}


def keeper_properties(spec: ChangingSpec) -> dict[str, Any]:
    """Properties of the keeper besides those that all functions share."""
    unit = "minute" if spec.keep_minutes == 1 else "minutes"
    schedule = {"Type": "Schedule", "Properties": {"Schedule": f"rate({spec.keep_minutes} {unit})"}}
    return {
        "CodeUri": spec.code,
        "MemorySize": spec.keeper_memory,
        "Timeout": LIMITS.seconds,
        "Events": {"Schedule": schedule},
    }
