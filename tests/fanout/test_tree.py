from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsearch.fanout.calls.tree import Subtree, children, children_of_root, depth, split

PUBLISHED = {(10, 1): 10, (4, 2): 20, (4, 3): 84, (5, 3): 155, (6, 3): 258, (4, 4): 340}


def walk(count, branching):
    """(node, level) of all allocators, as they start each other."""
    level, found = 1, []
    nodes = children_of_root(count, branching)
    while nodes:
        found += [(node, level) for node in nodes]
        nodes = [child for node in nodes for child in children(node, branching)]
        level += 1
    return found


@pytest.mark.parametrize(("shape", "size"), PUBLISHED.items())
def test_published_sizes(shape, size):
    assert depth(size, shape[0]) == shape[1]


@pytest.mark.parametrize(("shape", "size"), PUBLISHED.items())
def test_full_trees_are_numbered_as_published(shape, size):
    branching, levels = shape
    jump = [0, -(-size // branching)]
    while len(jump) <= levels + 1:
        jump.append(-(-(jump[-1] - 1) // branching))
    expected, nodes = [], [(-1, 0)]
    while nodes:
        nodes = [
            (node + i * jump[level + 1] + 1, level + 1)
            for node, level in nodes
            if level < levels
            for i in range(branching)
        ]
        expected += nodes
    assert [(node.first, level) for node, level in walk(size, branching)] == expected


@given(st.integers(0, 500), st.integers(1, 12))
def test_every_allocator_is_started_once(count, branching):
    started = walk(count, branching)
    assert sorted(node.first for node, _ in started) == list(range(count))
    assert max((level for _, level in started), default=0) == depth(count, branching)


@given(st.integers(1, 500), st.integers(1, 12))
def test_a_subtree_is_a_run_that_its_children_share(count, branching):
    runs = children(Subtree(7, count), branching)
    assert len(runs) <= branching
    covered = [number for run in runs for number in range(run.first, run.first + run.count)]
    assert covered == list(range(8, 7 + count))


@given(st.integers(0, 10_000), st.integers(1, 500))
def test_shares_are_even(count, parts):
    shares = split(count, parts)
    assert sum(shares) == count
    assert len(shares) == parts
    assert max(shares) - min(shares) <= 1


def test_deep_trees_stay_shallow_for_their_size():
    assert depth(10_000, 4) == 7
