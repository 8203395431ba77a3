"""Choose how to answer a request: in the coordinator alone, with processors, or with a tree of allocators."""

from __future__ import annotations

from dataclasses import dataclass

from vsearch.errors import InputError
from vsearch.fanout.calls.tree import DEEPEST, LARGEST, depth
from vsearch.storage import Manifest
from vsearch.storage.snapshots.kinds import SCANNED_KINDS, leg_of_kind
from vsearch.storage.snapshots.manifest import manifest_segments


@dataclass(frozen=True)
class PlanSettings:
    """The thresholds of the choice.

    Attributes
    ----------
    alone_bytes : int
        Maximum size (bytes that a scan may read) of an index that the coordinator searches alone.
    alone_queries : int
        Maximum number of queries that it answers alone.
    allocator_queries : int
        Number of queries per allocator.
    branching : int
    allocators : int
        Maximum number of allocators.
    """

    alone_bytes: int = 64 << 20
    alone_queries: int = 64
    allocator_queries: int = 64
    branching: int = 4
    allocators: int = 340


@dataclass(frozen=True)
class Plan:
    """The chosen plan and its reason. `allocators` is 0 unless the mode is "tree"."""

    mode: str
    allocators: int
    branching: int
    reason: str

    def __str__(self) -> str:
        shape = ""
        if self.mode == "tree":
            levels = depth(self.allocators, self.branching)
            shape = f" of {self.allocators} allocators, branching {self.branching}, {levels} levels"
        return f"{self.mode}{shape}: {self.reason}"


def choose_plan(
    manifest: Manifest,
    queries: int,
    settings: PlanSettings,
    *,
    mode: str = "auto",
    allocators: int | None = None,
    branching: int | None = None,
    legs: bool = False,
) -> Plan:
    """Choose how to answer `queries` queries.

    Parameters
    ----------
    mode, allocators, branching
        Requested by the caller; None to choose.
    legs : bool
        Whether legs are searched as well.

    Raises
    ------
    InputError
        The options cannot be combined.
    """
    factor = branching or settings.branching
    if allocators is not None and mode not in ("auto", "tree"):
        raise InputError(f"allocators requires mode 'tree', got {mode!r}")
    if mode == "tree" or allocators is not None:
        requested = allocators or -(-queries // settings.allocator_queries)
        count = max(1, min(requested, queries, LARGEST))
        if depth(count, factor) > DEEPEST:
            raise InputError(
                f"the tree must have at most {DEEPEST} levels, which {count} allocators with branching {factor} exceed; increase branching"
            )
        less = f" ({requested} were requested, but there are {queries} queries)" if count < requested else ""
        return Plan("tree", count, factor, f"requested{less}")
    if mode in ("alone", "flat"):
        return Plan(mode, 0, factor, "requested")
    size = _scanned_bytes(manifest, legs=legs)
    megabytes = f"{size / 1e6:.1f} MB"
    if size <= settings.alone_bytes and queries <= settings.alone_queries:
        return Plan("alone", 0, factor, f"{queries} queries on {megabytes}: the coordinator holds the whole index")
    count = min(-(-queries // settings.allocator_queries), settings.allocators)
    if count <= 1:
        return Plan(
            "flat", 0, factor, f"{queries} queries on {megabytes}: one planner keeps {len(manifest.shards)} shards busy"
        )
    return Plan(
        "tree", count, factor, f"{queries} queries on {megabytes}: {settings.allocator_queries} for each allocator"
    )


def _scanned_bytes(manifest: Manifest, *, legs: bool) -> int:
    """Return the number of bytes that a scan may read; bundles count completely."""
    files = [
        entry
        for shard in manifest.shards
        for kind, entry in shard.files.items()
        if kind in SCANNED_KINDS or (legs and leg_of_kind(kind) is not None)
    ]
    return sum(entry.bytes for entry in files) + sum(run.bundle.bytes for run in manifest_segments(manifest))
