"""Hierarchical pooling: Ward clustering of one document's vectors by the nearest-neighbor chain algorithm."""

from __future__ import annotations

import numpy as np

from vsearch.kernels.toolchain.compiling import kernel


@kernel
def merge_chain(distances, sizes, chain, merges, heights):
    """Compute all merges of Ward clustering. O(n^2).

    Parameters
    ----------
    distances : float32 (n, n)
        Squared distances between the vectors; overwritten.
    sizes : int64 (n,), ones
        Overwritten.
    chain : int64 (n,)
        Scratch.
    merges : int64 (n - 1, 2)
        Output: one vector of each of the two merged clusters; not in order of height.
    heights : float32 (n - 1,)
        Output: the squared Ward distance of each merge.
    """
    n = distances.shape[0]
    length = 0
    for merge in range(n - 1):
        if length == 0:
            for i in range(n):
                if sizes[i] > 0:
                    chain[0] = i
                    break
            length = 1
        while True:
            tip = chain[length - 1]
            # the vector before the tip wins ties, so that chains terminate
            nearest = chain[length - 2] if length > 1 else np.int64(-1)
            least = distances[tip, nearest] if length > 1 else np.float32(np.inf)
            for i in range(n):
                if sizes[i] > 0 and i != tip and distances[tip, i] < least:
                    nearest, least = i, distances[tip, i]
            if length > 1 and nearest == chain[length - 2]:
                break
            chain[length] = nearest
            length += 1
        a, b = chain[length - 1], chain[length - 2]
        length -= 2
        merges[merge, 0], merges[merge, 1], heights[merge] = a, b, distances[a, b]
        na, nb, between = np.float32(sizes[a]), np.float32(sizes[b]), distances[a, b]
        for k in range(n):
            if sizes[k] > 0 and k not in (a, b):
                nk = np.float32(sizes[k])
                joined = ((na + nk) * distances[a, k] + (nb + nk) * distances[b, k] - nk * between) / (na + nb + nk)
                distances[b, k] = distances[k, b] = joined
        sizes[b] += sizes[a]
        sizes[a] = 0


@kernel
def cut_merges(merges, order, groups, labels):
    """Assign each vector to a group by stopping the merges at a number of groups.

    Parameters
    ----------
    merges : int64 (n - 1, 2)
    order : int64 (n - 1,)
        Merges in order of height.
    groups : int
        1 to n.
    labels : int64 (n,)
        Output: 0 to groups - 1, numbered by their first vector.
    """
    n = labels.shape[0]
    for i in range(n):
        labels[i] = i
    for position in range(n - groups):
        a, b = merges[order[position], 0], merges[order[position], 1]
        while labels[a] != a:
            a = labels[a]
        while labels[b] != b:
            b = labels[b]
        labels[max(a, b)] = min(a, b)  # so that a root is its group's first vector
    numbered = 0
    for i in range(n):
        if labels[i] == i:
            labels[i] = -1 - numbered
            numbered += 1
        else:
            root = labels[i]
            labels[i] = labels[root]
    for i in range(n):
        labels[i] = -1 - labels[i]
