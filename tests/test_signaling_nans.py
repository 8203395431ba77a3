"""NaN of the signaling kind, as damaged files hold, is refused like any other NaN: NumPy warns when it converts one."""

from __future__ import annotations

import numpy as np
import pytest

import vsearch
from vsearch.errors import InputError
from vsearch.fanout.wire import codec as wire
from vsearch.fanout.wire.messages import Options, SearchRequest
from vsearch.multivector.search import check_query
from vsearch.search.state.model import check_queries

SIGNALING = {np.float32: (np.uint32, 0x7FA00000), np.float64: (np.uint64, 0x7FF4000000000000)}


def spoiled(dtype, rows=3):
    vectors = np.random.default_rng(0).normal(size=(rows, 8)).astype(dtype)
    unsigned, bits = SIGNALING[dtype]
    vectors.view(unsigned)[1, 3] = bits
    assert np.isnan(vectors[1, 3])
    return vectors


@pytest.mark.parametrize("dtype", SIGNALING)
@pytest.mark.parametrize("metric", ["cosine", "l2", "ip", None])
def test_queries(dtype, metric):
    vectors = spoiled(dtype)
    for queries in (vectors, vectors[1], vectors[1:2]):
        with pytest.raises(InputError, match="must be finite"):
            check_queries(queries, 8, metric)


@pytest.mark.parametrize("size", [1e16, 1e25, 3e38])
def test_queries_whose_squares_overflow_are_refused_without_a_warning(size):
    with pytest.raises(InputError, match="at most 1e"):
        check_queries(np.full(8, size, np.float32), 8, "l2")


@pytest.mark.parametrize("dtype", SIGNALING)
def test_vectors_of_an_index(dtype, tmp_path):
    with pytest.raises(InputError, match="row 1 holds NaN"):
        vsearch.build(spoiled(dtype, 50), tmp_path / "index")


@pytest.mark.parametrize("dtype", SIGNALING)
def test_multi_vector_queries(dtype):
    with pytest.raises(InputError, match="contains NaN"):
        check_query(spoiled(dtype), 8, 0)


def test_messages():
    request = SearchRequest(count=3, dimensions=8, queries=spoiled(np.float32).tobytes(), options=Options(3))
    with pytest.raises(InputError, match="must be finite"):
        wire.decode(wire.encode(request))
