"""Candidates from the inverted lists of the centroids nearest to each query vector."""

from __future__ import annotations

from vsearch.kernels.toolchain.compiling import kernel


@kernel
def collect_lists(offsets, documents, probes, probe_scores, missing, seen, totals):
    """Sum the best centroid score of each query vector for every document in the probed lists.

    If a document is in none of the lists of a query vector, that vector contributes the most that the document could score
    for it (`missing`), as imputed by WARP. O(length of the probed lists).

    Parameters
    ----------
    offsets, documents : int64 (centroids + 1,), uint32 (entries,)
        The inverted lists: documents of each centroid.
    probes : int64 (queries, probes)
        Centroids of each query vector, best first.
    probe_scores : float32 (queries, probes)
    missing : float32 (queries,)
        At most the last probe's score.
    seen : int64 (documents,), initially -1
        Scratch; stays -1 for documents in no probed list.
    totals : float32 (documents,), initially the sum of `missing`
        Output.
    """
    for query in range(probes.shape[0]):
        for probe in range(probes.shape[1]):
            centroid = probes[query, probe]
            gain = probe_scores[query, probe] - missing[query]
            for entry in range(offsets[centroid], offsets[centroid + 1]):
                document = documents[entry]
                if seen[document] != query:  # lists are ordered best first, so the first one is the best
                    seen[document] = query
                    totals[document] += gain
