"""Memory limits for the caches of a server's roles."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

SHARE = 4
"""Each role may use one byte in this many of the machine's memory, shared by all indexes and processes of a server."""

LEAST = 256
"""Minimum megabytes of each role."""

UNKNOWN = 4 << 30
"""Bytes of memory that are assumed if the system does not report them."""

LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Files in which Linux reports the memory limit of a container."""


def role_megabytes(indexes: int, processes: int) -> int:
    """Return the megabytes of each role of each index in each process."""
    return max(LEAST, machine_bytes() // (SHARE * indexes * processes * 1_000_000))


def machine_bytes(limits: Sequence[Path] = LIMITS) -> int:
    """Return the memory of this machine, or of the container that this process is in."""
    try:
        sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (AttributeError, OSError, ValueError):  # not on every system
        sizes = [UNKNOWN]
    for path in limits:
        try:
            sizes.append(int(path.read_text()))
        except (OSError, ValueError):  # there is none, or it is "max"
            continue
    return min(size for size in sizes if size > 0)
