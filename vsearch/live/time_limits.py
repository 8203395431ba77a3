"""Keep maintenance within a time: steps that would take longer are not started, and those that do are abandoned.

A step commits once, at its end, so an abandoned one leaves the index as it was. Whoever calls again with the same limit would
abandon it again; therefore a step starts only if its estimate fits. The estimates are far above what was measured, for functions
with a share of a processor and a store that is reached over a network.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vsearch.errors import VsearchError

if TYPE_CHECKING:
    from collections.abc import Callable

    from vsearch.storage import Manifest, ShardEntry

    Progress = Callable[[str, int, int], None]

logger = logging.getLogger("vsearch")

MERGED_BYTES = 2e7
"""Bytes of runs that are merged per second; measured in a folder: 1.7e8."""

COMPARED_NUMBERS = 1e9
"""Multiplications per second of rows with centroids, to choose second partitions; measured: 4.9e9."""

TUNED_NUMBERS, TRAINED_NUMBERS = 2.5e6, 1e6
"""Vector elements (rows times dimensions) per second of a tuning and of a training; measured: 5.2e6 and 1.6e6."""


class OutOfTimeError(VsearchError):
    """A step was abandoned since its time was over; nothing of it is left."""


@dataclass
class TimeLimit:
    """The time within which maintenance must end.

    Attributes
    ----------
    until : float or None
        By `time.monotonic`; None for no limit.
    postponed : list of str
        For each step that did not fit, its description and how to run it.
    """

    until: float | None = None
    postponed: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, seconds: float | None) -> TimeLimit:
        """Return a limit that begins now."""
        return cls(None if seconds is None else time.monotonic() + seconds)

    @property
    def passed(self) -> bool:
        """Whether the time has run out."""
        return self.until is not None and time.monotonic() >= self.until

    def allows(self, step: str, seconds: float) -> bool:
        """Return whether a step that takes about `seconds` may start; if not, note a recommendation."""
        if self.until is None:
            return True
        left = max(0.0, self.until - time.monotonic())
        if seconds <= left:
            return True
        self._postpone(f"{step} may take {_rounded(seconds)} s, and {_rounded(left)} s are left")
        return False

    def abandoned(self, step: str) -> None:
        """Note that a step took longer than was left."""
        self._postpone(f"{step} took longer than the time that was left, and was abandoned")

    def watch(self, progress: Progress) -> Progress:
        """Return `progress`, but raising `OutOfTimeError` once the time has run out, unless the step is complete."""

        def report(stage: str, done: int, total: int) -> None:
            progress(stage, done, total)
            if done < total and self.passed:
                raise OutOfTimeError(f"{stage}: the time ran out")

        return report

    def _postpone(self, what: str) -> None:
        text = f"{what}: run optimize() with a larger budget_seconds, or without one"
        self.postponed.append(text)
        logger.warning("%s", text)


def _rounded(seconds: float) -> str:
    return f"{seconds:,.0f}" if seconds >= 100 else f"{seconds:.3g}"


def merging_seconds(manifest: Manifest, written: int) -> float:
    """Estimate the duration of a merge that reads runs of so many bytes.

    Copies of rows in second partitions are recomputed: each row is compared with all centroids of its shard.
    """
    seconds = written / MERGED_BYTES
    if manifest.spill is True:
        share = written / max(1, sum(_shard_bytes(shard) for shard in manifest.shards))
        partitions = manifest.partitions / max(1, len(manifest.shards))
        seconds += (
            min(1.0, share)
            * manifest.rows
            * manifest.dimensions
            * (partitions + manifest.dimensions)
            / COMPARED_NUMBERS
        )
    return seconds


def _shard_bytes(shard: ShardEntry) -> int:
    """Return the bytes of the runs of a shard."""
    return sum(entry.bytes for entry in shard.files.values()) + sum(run.bundle.bytes for run in shard.runs)


def tuning_seconds(manifest: Manifest) -> float:
    """Estimate the duration of a tuning."""
    return manifest.rows * manifest.dimensions / TUNED_NUMBERS


def training_seconds(manifest: Manifest) -> float:
    """Estimate the duration of a training."""
    return manifest.rows * manifest.dimensions / TRAINED_NUMBERS
