"""The tree of allocators: who starts whom, for any number of them.

Allocators are numbered 0..n-1 in preorder below the coordinator, which is no allocator. The subtree of a node is a run of
numbers that begins with its own; a node hands the rest of its run to at most `branching` children, in runs as even as can
be. For full trees (n = F + F^2 + ... + F^L) these are the numbers that SQUASH gives by its jump sizes.
"""

from __future__ import annotations

from dataclasses import dataclass

LARGEST = 10_000
DEEPEST = 16


@dataclass(frozen=True)
class Subtree:
    """A run of allocators: `count` of them from `first` on; `first` is the root of them."""

    first: int
    count: int


def split(count: int, parts: int) -> list[int]:
    """Sizes of `parts` shares of `count`, as even as can be, larger ones first; shares may be 0."""
    each, rest = divmod(count, parts)
    return [each + (i < rest) for i in range(parts)]


def children_of_root(count: int, branching: int) -> list[Subtree]:
    """Subtrees that the coordinator starts."""
    return _runs(0, count, branching)


def children(node: Subtree, branching: int) -> list[Subtree]:
    """Subtrees that the root of a subtree starts."""
    return _runs(node.first + 1, node.count - 1, branching)


def depth(count: int, branching: int) -> int:
    """Levels of a tree of `count` allocators."""
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
