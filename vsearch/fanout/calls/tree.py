"""The tree of allocators, for any number of them.

Allocators are numbered 0..n-1 in preorder below the coordinator. The subtree of a node is a range of numbers that starts with
its own; the rest of the range is divided as evenly as possible among at most `branching` children. For full trees
(n = F + F^2 + ... + F^L) the numbers are those of SQUASH's jump sizes.
"""

from __future__ import annotations

from dataclasses import dataclass

LARGEST = 10_000
DEEPEST = 16


@dataclass(frozen=True)
class Subtree:
    """A subtree of `count` allocators numbered from `first`, which is its root."""

    first: int
    count: int


def split(count: int, parts: int) -> list[int]:
    """Divide `count` into `parts` shares as evenly as possible, larger ones first; shares may be 0."""
    size, remainder = divmod(count, parts)
    return [size + (i < remainder) for i in range(parts)]


def children_of_root(count: int, branching: int) -> list[Subtree]:
    """Return the subtrees that the coordinator starts."""
    return _runs(0, count, branching)


def children(node: Subtree, branching: int) -> list[Subtree]:
    """Return the subtrees that the root of a subtree starts."""
    return _runs(node.first + 1, node.count - 1, branching)


def depth(count: int, branching: int) -> int:
    """Return the number of levels of a tree of `count` allocators."""
    levels = 0
    while count > 0:
        count = -(-count // branching) - 1
        levels += 1
    return levels


def _runs(first: int, count: int, branching: int) -> list[Subtree]:
    runs = []
    for size in split(count, branching):
        if size:
            runs.append(Subtree(first, size))
            first += size
    return runs
