"""Files that FAISS wrote come in as FAISS itself decodes them, and damaged ones are refused before anything is allocated."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vsearch
from tests.indexes import clustered
from vsearch.integrations.imports.faiss_files import read_faiss
from vsearch.integrations.imports.importing import import_index

ROWS, WIDTH = 700, 16
VECTORS = clustered(ROWS, WIDTH)


def written(folder, description, metric=faiss.METRIC_L2, ids=None):
    index = faiss.index_factory(WIDTH, description, metric)
    index.train(VECTORS)
    if ids is None:
        index.add(VECTORS)
    else:
        index.add_with_ids(VECTORS, ids)
    path = folder / "index.faiss"
    faiss.write_index(index, str(path))
    return path, index


def rows_of(path):
    table = read_faiss(path).reader().read_all()
    vectors = np.stack(table["vector"].to_numpy())
    return table["id"].to_numpy(), vectors


@pytest.mark.parametrize(
    "description", ["Flat", "PQ4np", "PQ8x6np", "PQ4x4", "IVF8,Flat", "IVF8,PQ4np", "IVF8,PQ8x5np"]
)
@pytest.mark.parametrize("metric", [faiss.METRIC_L2, faiss.METRIC_INNER_PRODUCT])
def test_vectors_are_those_that_faiss_reconstructs(tmp_path, description, metric):
    path, index = written(tmp_path, description, metric)
    if "IVF" in description:
        index.make_direct_map()
    ids, vectors = rows_of(path)
    assert sorted(ids) == list(range(ROWS))
    expected = np.stack([index.reconstruct(int(id_)) for id_ in ids])
    np.testing.assert_allclose(vectors, expected, rtol=1e-6, atol=1e-6)
    assert read_faiss(path).metric == ("l2" if metric == faiss.METRIC_L2 else "ip")


@pytest.mark.parametrize("description", ["IDMap,Flat", "IDMap2,Flat", "IVF8,Flat", "IDMap,PQ4x4np"])
def test_ids_are_kept(tmp_path, description):
    given_ids = np.arange(ROWS, dtype=np.int64)[::-1] * 3 + 10**12
    path, _ = written(tmp_path, description, ids=given_ids)
    ids, vectors = rows_of(path)
    assert sorted(ids) == sorted(given_ids)
    if "Flat" in description:
        place = {id_: row for row, id_ in enumerate(given_ids.tolist())}
        np.testing.assert_array_equal(vectors, VECTORS[[place[id_] for id_ in ids.tolist()]])


def test_lists_of_which_few_are_filled(tmp_path):
    index = faiss.index_factory(WIDTH, "IVF64,Flat")
    index.train(VECTORS)
    index.add(VECTORS[:3])
    faiss.write_index(index, str(tmp_path / "i"))
    ids, vectors = rows_of(tmp_path / "i")
    np.testing.assert_array_equal(vectors, VECTORS[ids])


def test_an_index_of_a_file(tmp_path):
    path, index = written(tmp_path, "IVF8,Flat", faiss.METRIC_INNER_PRODUCT)
    made = import_index("faiss", str(path), str(tmp_path / "v"), rerank="float32")
    assert (len(made), made.info()["metric"]) == (ROWS, "ip")
    index.nprobe = 8
    _, expected = index.search(VECTORS[:5], 3)
    np.testing.assert_array_equal(made.search(VECTORS[:5], 3, exact=True).ids, expected)


@pytest.mark.parametrize("description", ["HNSW8", "SQ8", "IVF8,SQ8", "PCA8,Flat", "LSH", "OPQ4,PQ4x4np"])
def test_other_types_are_refused_by_name(tmp_path, description):
    path, _ = written(tmp_path, description)
    with pytest.raises(vsearch.InputError, match=r"supported are flat indexes|sizes of its lists"):
        read_faiss(path)


FILES = {}


def file_of(description, tmp_path_factory):
    if description not in FILES:
        ids = np.arange(ROWS) if "IDMap" in description else None
        path, _ = written(tmp_path_factory.mktemp("faiss"), description, ids=ids)
        FILES[description] = path.read_bytes()
    return FILES[description]


@pytest.mark.parametrize("description", ["Flat", "IVF8,PQ4x4np", "PQ4x4np", "IDMap,Flat"])
@given(data=st.data())
def test_damaged_files_are_refused_or_read(tmp_path_factory, description, data):
    """No length is believed: 8 bytes anywhere become a huge number, or the file ends early."""
    whole = file_of(description, tmp_path_factory)
    place = data.draw(st.integers(0, min(len(whole) - 8, 600)) | st.integers(0, len(whole) - 8))
    huge = data.draw(st.sampled_from([2**63 - 1, 2**64 - 1, 2**40, 2**32 - 1, 0]))
    cut = data.draw(st.integers(0, len(whole)) | st.none())
    damaged = (whole[:place] + huge.to_bytes(8, "little") + whole[place + 8 :])[:cut]
    path = tmp_path_factory.mktemp("damaged") / "i"
    path.write_bytes(damaged)
    try:
        ids, vectors = rows_of(path)
    except vsearch.InputError:
        pass
    else:
        assert vectors.shape == (len(ids), WIDTH)


@pytest.mark.parametrize("content", [b"", b"Ix", b"<html>" * 20, b"IxF2" + b"\xff" * 60])
def test_files_of_something_else(tmp_path, content):
    (tmp_path / "i").write_bytes(content)
    with pytest.raises(vsearch.InputError, match="not a FAISS file"):
        read_faiss(tmp_path / "i")
    with pytest.raises(vsearch.InputError, match="No such file"):
        read_faiss(tmp_path / "nothing")
