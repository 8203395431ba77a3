"""Inverted lists over centroids: candidates from the lists of the centroids nearest to each query vector."""

from __future__ import annotations

from vsearch.kernels.toolchain.compiling import kernel


@kernel
def collect_lists(offsets, documents, probes, probe_scores, missing, seen, totals):
    """Add up, for every document met in a probed list, the best centroid score of each query vector.

    A query vector that finds a document in none of its lists adds what a document could score there at most (`missing`),
    as WARP imputes it. O(length of the probed lists).

    Parameters
    ----------
    offsets, documents : int64 (centroids + 1,), uint32 (entries,)
        The lists: documents of each centroid.
    probes : int64 (queries, probes)
        Centroids of each query vector, best first.
    probe_scores : float32 (queries, probes)
    missing : float32 (queries,)
        Not above the last probe's score.
    seen : int64 (documents,), -1
        Scratch; stays -1 for documents in no probed list.
    totals : float32 (documents,), the sum of `missing`
        Output.
    """
    for query in range(probes.shape[0]):
        for probe in range(probes.shape[1]):
            centroid = probes[query, probe]
            gain = probe_scores[query, probe] - missing[query]
            for entry in range(offsets[centroid], offsets[centroid + 1]):
                document = documents[entry]
                if seen[document] != query:  # lists come best first, so the first one is the best
                    seen[document] = query
                    totals[document] += gain
