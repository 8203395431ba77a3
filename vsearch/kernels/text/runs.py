"""A query of terms on all runs of an index: the lists of every run, and the best rows of all, in one call."""

from __future__ import annotations

import numpy as np

from vsearch.kernels.text.fields import ListField, RunColumn, TermColumn
from vsearch.kernels.text.heap import scale_heap, sort_heap
from vsearch.kernels.text.ranking import rank_span
from vsearch.kernels.text.rescoring import score_listed
from vsearch.kernels.text.views import rank_at, rank_numbers_at, terms_at, terms_numbers_at
from vsearch.kernels.toolchain.compiling import inlined, kernel, part
from vsearch.kernels.toolchain.memory import int64s, uint32s

ROWS, FIRST_ROW, ADDRESSES, MASK, IDS, ID_BYTES = (int(field) for field in RunColumn)
WEIGHT, COLUMN = (int(field) for field in TermColumn)
LIST_COLUMN, FIRST_BLOCK, STOP_BLOCK, POSTINGS = (int(field) for field in ListField)
PLACES = len(TermColumn)
SMALL_ID = 4
MANTISSA = np.int64(52)
"""Bits of a float64 after its exponent."""


@inlined
def _scale(call):
    """Set the scale of weights: the largest power of two with which their sum is at most LARGEST. List terms by descending weight."""
    weights, order = call.weights, call.order
    for i in range(call.terms):
        weight, place = weights[i, WEIGHT], i
        while place > 0 and weights[order[place - 1], WEIGHT] < weight:
            order[place] = order[place - 1]
            place -= 1
        order[place] = i
    total = 0.0
    for i in range(call.terms):
        total += weights[order[i], WEIGHT]
    bits = np.float64(call.largest[0] / total).view(np.int64)
    call.scales[0] = np.int64((bits >> MANTISSA) << MANTISSA).view(np.float64)


@part
def _place(call, run):
    """Set the lists of a run, best first; return their number."""
    rank = rank_at(call.rank)
    table, weights, order, scale = call.table, call.weights, call.order, call.scales[0]
    lists, scaled = rank.table, rank.weights
    count, first = np.int64(0), PLACES + 3 * run
    for i in range(call.terms):
        term = order[i]
        if table[term, first + 2] > 0:
            lists[count, LIST_COLUMN] = table[term, COLUMN]
            lists[count, FIRST_BLOCK], lists[count, STOP_BLOCK] = table[term, first], table[term, first + 1]
            lists[count, POSTINGS] = table[term, first + 2]
            scaled[count] = weights[term, WEIGHT] * scale
            count += 1
    rank.lists = count
    numbers, runs = rank_numbers_at(call.rank), call.run_table
    numbers.addresses, numbers.base = runs[run, ADDRESSES], runs[run, FIRST_ROW]
    return count


@part
def _take_ids(call):
    """Set the ids of the best rows."""
    rank, runs, ids = rank_at(call.rank), call.run_table, call.ids
    rows = rank.heap_rows
    for place in range(rank.k):
        row, run = rows[place], np.int64(0)
        if row < 0:
            ids[place] = -1
            continue
        while row >= runs[run, FIRST_ROW] + runs[run, ROWS]:
            run += 1
        row -= runs[run, FIRST_ROW]
        if runs[run, ID_BYTES] == SMALL_ID:
            ids[place] = np.int64(uint32s(runs[run, IDS], runs[run, ROWS])[row])
        else:
            ids[place] = int64s(runs[run, IDS], runs[run, ROWS])[row]


@kernel
def rank_runs(address):
    """Find the best rows of all runs: their scores and rows are in the heap of the block `RANK`, their float32 scores as well.

    Parameters
    ----------
    address : int
        Address of a block of `TermsField`.
    """
    call = terms_at(address)
    rank, numbers, runs = rank_at(call.rank), rank_numbers_at(call.rank), call.run_table
    _scale(call)
    rank.size = rank.scored = rank.damaged = call.damaged = 0
    for run in range(call.runs):
        if _place(call, run) == 0:
            continue
        rank.first, rank.stop = 0, runs[run, ROWS]
        numbers.mask = runs[run, MASK] if call.masks.shape[0] == 0 else call.masks[run]
        numbers.words = (runs[run, ROWS] + 63) >> 6
        if not rank_span(rank):
            call.damaged = run + 1
            return
    if call.ordered != 0:
        sort_heap(rank)
    scale_heap(rank, call.scales[0])
    if call.ids.shape[0] > 0:
        _take_ids(call)


@kernel
def score_runs(address):
    """Compute the scores of listed rows, whether they are in a mask or not; 0 for rows without any of the terms.

    Parameters
    ----------
    address : int
        Address of a block of `TermsField`.
    """
    call = terms_at(address)
    places, numbers = terms_numbers_at(address), rank_numbers_at(call.rank)
    runs, rows, sums = call.run_table, call.listed_rows, call.sums
    _scale(call)
    start = np.int64(0)
    for run in range(call.runs):
        stop, end = start, runs[run, FIRST_ROW] + runs[run, ROWS]
        while stop < call.listed and rows[stop] < end:
            stop += 1
        if stop == start:
            continue
        for i in range(start, stop):
            sums[i] = 0
        if _place(call, run) > 0:
            numbers.listed = stop - start
            numbers.listed_rows, numbers.listed_scores = places.listed_rows + 8 * start, places.sums + 8 * start
            score_listed(rank_at(call.rank))
        start = stop
    for i in range(call.listed):
        call.scores[i] = np.float32(np.float64(sums[i]) / call.scales[0])
