"""Queries from files, answers in Parquet files: those that a search of all queries gives."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import vsearch
from tests.cli.conftest import invoke
from tests.indexes import clustered
from vsearch.api import searching_many
from vsearch.storage import open_store

QUERIES = clustered(70, 8, seed=5)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many") / "index"
    numbers = np.arange(600)
    vsearch.build(clustered(600, 8), folder, {"n": numbers}, [f"row {i}" for i in numbers], partitions=6)
    return folder


@pytest.fixture
def queries(tmp_path, monkeypatch):
    monkeypatch.setattr(searching_many, "CHUNK_QUERIES", 16)
    (tmp_path / "queries").mkdir()
    np.save(tmp_path / "queries" / "0.npy", QUERIES[:33])
    np.save(tmp_path / "queries" / "1.npy", QUERIES[33:])
    return tmp_path / "queries"


def check(out, index, k, where=None):
    answers = pq.read_table(out)
    expected = vsearch.open(index).search(QUERIES, k, where)
    query, rank = np.nonzero(~np.isnan(expected.scores))
    assert answers.column("query").to_pylist() == query.tolist()
    assert answers.column("rank").to_pylist() == rank.tolist()
    assert answers.column("id").to_pylist() == expected.ids[query, rank].tolist()
    np.testing.assert_array_equal(answers.column("score").to_numpy(), expected.scores[query, rank])


def test_answers_are_those_of_a_search(index, queries, tmp_path) -> None:
    assert vsearch.search_many(index, queries, tmp_path / "out", 5) == 70
    check(tmp_path / "out", index, 5)
    assert len(list((tmp_path / "out").glob("part-*.parquet"))) == 5


def test_fewer_rows_match_than_are_asked_for(index, queries, tmp_path) -> None:
    vsearch.search_many(index, queries, tmp_path / "out", 5, {"n": {"$lt": 3}})
    check(tmp_path / "out", index, 5, "n < 3")
    assert pq.read_table(tmp_path / "out").num_rows == 70 * 3


def test_an_interrupted_search_goes_on_with_the_same_snapshot(index, queries, tmp_path) -> None:
    import shutil

    shutil.copytree(index, tmp_path / "index")
    done = []

    def interrupt(_, parts, total):
        done.append(parts)
        if parts == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        vsearch.search_many(tmp_path / "index", queries, tmp_path / "out", 5, progress=interrupt)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("part-*")}
    assert len(times) == 2
    vsearch.open(tmp_path / "index").delete([f"row {i}" for i in range(300)])
    vsearch.search_many(tmp_path / "index", queries, tmp_path / "out", 5)
    check(tmp_path / "out", index, 5)
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    with pytest.raises(vsearch.InputError, match="another search"):
        vsearch.search_many(tmp_path / "index", queries, tmp_path / "out", 6)
    with pytest.raises(vsearch.InputError, match="another search"):
        vsearch.search_many(tmp_path / "index", queries, tmp_path / "out", 5, snapshot=2)


def test_queries_that_do_not_fit_are_refused(index, queries, tmp_path) -> None:
    np.save(tmp_path / "narrow.npy", QUERIES[:, :4])
    with pytest.raises(vsearch.InputError, match="queries"):
        vsearch.search_many(index, tmp_path / "narrow.npy", tmp_path / "out")
    with pytest.raises(vsearch.InputError, match="where"):
        vsearch.search_many(index, queries, tmp_path / "out", where=3)
    with pytest.raises(vsearch.InputError, match="k must be"):
        vsearch.search_many(index, queries, tmp_path / "out", 0)


def test_tasks_on_a_cluster(index, queries, tmp_path) -> None:
    distributed = pytest.importorskip("distributed")
    with distributed.Client(processes=False, n_workers=1, dashboard_address=":0") as client:
        vsearch.search_many(index, queries, tmp_path / "out", 5, client=client)
    check(tmp_path / "out", index, 5)
    assert open_store(tmp_path / "out").head("_SUCCESS").bytes == 0


def test_predicates_of_every_form_go_on_after_an_interruption(index, queries, tmp_path) -> None:
    from datetime import date

    dated = tmp_path / "dated"
    days = [date(2024, 1, 1 + i % 28) for i in range(600)]
    vsearch.build(clustered(600, 8), dated, {"n": np.arange(600), "day": pa.array(days)}, partitions=6)
    forms = [{"n": {"$in": (1, 2, 300)}}, vsearch.col("n") < 50, "n < 50", {"day": {"$gt": date(2024, 1, 20)}}]

    def interrupt(_, parts, __):
        if parts == 1:
            raise KeyboardInterrupt

    for number, where in enumerate(forms):
        out = tmp_path / f"out{number}"
        with pytest.raises(KeyboardInterrupt):
            vsearch.search_many(dated, queries, out, np.int64(5), where, progress=interrupt)
        vsearch.search_many(dated, queries, out, 5, where)
        check(out, dated, 5, where)


def test_a_search_that_is_refused_does_not_occupy_the_place_of_its_answers(index, queries, tmp_path) -> None:
    with pytest.raises(vsearch.PredicateError, match="nothing"):
        vsearch.search_many(index, queries, tmp_path / "out", where="nothing = 1")
    np.save(tmp_path / "narrow.npy", QUERIES[:, :4])
    with pytest.raises(vsearch.InputError, match="queries"):
        vsearch.search_many(index, tmp_path / "narrow.npy", tmp_path / "out")
    vsearch.search_many(index, queries, tmp_path / "out", 5)
    check(tmp_path / "out", index, 5)


@pytest.mark.parametrize("place", [".", "answers"])
def test_answers_among_the_queries_are_refused(index, queries, place) -> None:
    with pytest.raises(vsearch.InputError, match="lies among the queries"):
        vsearch.search_many(index, queries, queries / place)


def test_queries_that_change_meanwhile_are_noticed(index, queries, tmp_path) -> None:
    def change(_, parts, __):
        if parts == 1:
            np.save(queries / "1.npy", -QUERIES[33:])

    with pytest.raises(vsearch.InputError, match=r"1.npy: changed while it was read"):
        vsearch.search_many(index, queries, tmp_path / "out", 5, progress=change)
    assert not (tmp_path / "out" / "_SUCCESS").exists()


def test_from_the_command_line(index, queries, tmp_path) -> None:
    told = invoke("search-many", index, queries, tmp_path / "out", "-k", "3", "--where", "n < 300", "--json")
    assert told.status == 0, told.errors
    assert told.json["queries"] == len(QUERIES)
    check(tmp_path / "out", index, 3, "n < 300")
    again = invoke("search-many", index, queries, tmp_path / "out", "-k", "4")
    assert again.status == 2
    assert "answers of another search" in again.errors
    assert "client must be" in invoke("search-many", index, queries, tmp_path / "more", "--cluster", "nowhere").errors
