"""Batches: queries that are planned several at a time, and searched one after the other on the same workspace.

A query alone reads the whole rotation and all coarse centroids, which do not fit in the nearest cache; here SEVERAL queries
share each read. The products are exact integers, scaled by the same functions, so a query's results do not depend on the
queries that it is sent with.
"""

from __future__ import annotations

from vsearch.kernels.query.centroids import encode_query, score_centroids_of_several
from vsearch.kernels.query.fields import COUNTERS, SEVERAL
from vsearch.kernels.query.plan import center, prepare, rotate, route
from vsearch.kernels.query.query import search_planned
from vsearch.kernels.query.rotation import quantize_words, rotate_several_in_words
from vsearch.kernels.query.views import batch_at, call_at, model_at, runs_at
from vsearch.kernels.toolchain.compiling import inlined, kernel, part


@inlined
def _copy(source, target):
    for j in range(target.shape[0]):
        target[j] = source[j]


@part
def _rotate_several(model, call, batch, first):
    """Normalize or center SEVERAL queries, from `first` on, and rotate them into `BatchField.ROTATED`."""
    queries, rotated, words = batch.queries, batch.rotated, batch.query_words
    if batch.prepared != 0:
        for i in range(SEVERAL):
            _copy(queries[first + i], rotated[i])
        return
    query, steps, in_words = call.query, batch.steps, model.rotation.shape[0] == 0 and model.sign_rounds == 0
    for i in range(SEVERAL):
        _copy(queries[first + i], query)
        center(model, query)
        if in_words:
            steps[i] = quantize_words(query, words[i])
        else:
            rotate(model, call, query, rotated[i])
    if in_words:
        rotate_several_in_words(model.rotation_groups, model.rotation_steps, words, steps, batch.group_sums, rotated)


@part
def _score_several(model, batch):
    """Write the products of SEVERAL rotated queries with all centroids to `BatchField.PRODUCTS`."""
    rotated, codes, steps, totals = batch.rotated, batch.query_codes, batch.steps, batch.totals
    kept = min(rotated.shape[1], codes.shape[1])
    for i in range(SEVERAL):
        steps[i], totals[i] = encode_query(rotated[i, :kept], codes[i])
    score_centroids_of_several(
        model.centroid_groups,
        model.centroid_steps,
        model.centroid_lows,
        codes,
        steps,
        totals,
        batch.group_sums,
        batch.products,
    )


@kernel
def search_batch(model_address, runs_address, call_address, batch_address):
    """`search_runs` for several queries, one after the other on the same workspace, which stays in the cache."""
    model, runs = model_at(model_address), runs_at(runs_address)
    call, batch = call_at(call_address), batch_at(batch_address)
    queries, rotated, products = batch.queries, batch.rotated, batch.products
    scorable = model.regions == 0 and model.exact_centroid_scores == 0 and model.projected == 0
    several = batch.count - batch.count % SEVERAL  # the queries that are planned together
    for i in range(batch.count):
        scored = scorable and i < several
        place = i % SEVERAL
        if i < several:
            if place == 0:
                _rotate_several(model, call, batch, i)
                if scored:
                    _score_several(model, batch)
            _copy(rotated[place], call.rotated)
        else:
            _copy(queries[i], call.rotated if batch.prepared != 0 else call.query)
            prepare(model, call)
        if scored:
            _copy(products[place], call.centroid_scores)
        route(model, call, scored)
        search_planned(model, runs, call)
        if call.unread == 2:  # something is not read
            return
        _copy(call.scores, batch.scores[i])
        _copy(call.rows, batch.rows[i])
        for j in range(COUNTERS):
            batch.counters[i, j] = call.counters[j]
