"""Tests for every kind of open index, local or remote."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from vsearch.api.awaitable import AwaitableIndex
from vsearch.api.protocol import SearchableIndex
from vsearch.errors import InputError, PredicateError, VsearchError
from vsearch.testing.collection import Collection, Opened, make_collection
from vsearch.testing.words import WordContract

__all__ = ["Collection", "IndexContract", "Opened", "make_collection"]

METHODS = {**vars(AwaitableIndex), **vars(SearchableIndex)}
"""The interface of an index."""


class IndexContract(WordContract):
    """Tests of a fixture ``opened``, an `Opened`; the index may be the same for all tests."""

    def test_it_is_an_index(self, opened: Opened) -> None:
        for name in (name for name in METHODS if name == "__len__" or not name.startswith("_")):
            assert hasattr(type(opened.index), name), name
        assert opened.index
        assert len(opened.index) == len(opened.vectors)
        info = opened.index.info()
        assert (info["rows"], info["dimensions"]) == opened.vectors.shape
        assert info["metric"] == "l2"
        assert set(info["attributes"]) == set(opened.attributes.column_names)
        assert not opened.index.has_documents
        assert opened.index.has_text

    def test_its_methods_take_the_arguments_of_the_protocol(self, opened: Opened) -> None:
        """With the same names and defaults; it may have further ones."""
        for name, method in METHODS.items():
            if name.startswith("_") or isinstance(method, property) or name in opened.refuses:
                continue
            accepted = inspect.signature(getattr(type(opened.index), name)).parameters
            for parameter in inspect.signature(method).parameters.values():
                assert parameter.name in accepted, f"{name} must take {parameter.name}"
                assert accepted[parameter.name].default == parameter.default, (
                    f"the default of {parameter.name} of {name}"
                )

    def test_exact_search_is_brute_force(self, opened: Opened) -> None:
        hits = opened.index.search(opened.queries, k=5, exact=True)
        true = self.nearest(opened, np.arange(len(opened.vectors)), 5)
        assert np.mean([len(set(a) & set(b)) for a, b in zip(hits.ids.tolist(), true, strict=True)]) > 4.8
        assert hits.scores.shape == (len(opened.queries), 5)
        assert (np.diff(hits.scores, axis=1) >= 0).all()

    def test_filters_are_exact(self, opened: Opened) -> None:
        passing = [
            i for i, row in enumerate(opened.attributes.to_pylist()) if row["word"] == "w2" and row["number"] < 300
        ]
        hits = opened.index.search(opened.queries, k=len(passing) + 5, where="word = 'w2' AND number < 300")
        expected = {opened.ids[i] for i in passing}
        for ids in hits.ids.tolist():
            assert set(ids[: len(passing)]) == expected
            assert set(ids[len(passing) :]) == {None}
        assert np.isnan(hits.scores[:, len(passing) :]).all()

    def test_every_spelling_of_a_filter(self, opened: Opened) -> None:
        from vsearch.predicates import col

        spelled: list[Any] = ["flag AND number >= 100", {"flag": True, "number": {"$gte": 100}}]
        spelled.append(col("flag") & (col("number") >= 100))
        answers = [opened.index.search(opened.queries[0], k=7, where=where).ids.tolist() for where in spelled]
        assert answers[0] == answers[1] == answers[2]

    def test_columns_come_with_the_hits(self, opened: Opened) -> None:
        hits = opened.index.search(opened.queries[:3], k=4, columns=["word", "number"])
        assert hits.columns is not None
        assert hits.columns.column_names == ["word", "number"]
        rows = dict(zip(opened.ids, opened.attributes.to_pylist(), strict=True))
        for name, values in zip(hits.ids.reshape(-1).tolist(), hits.columns.to_pylist(), strict=True):
            assert values == {"word": rows[name]["word"], "number": rows[name]["number"]}

    def test_pages_are_disjoint(self, opened: Opened) -> None:
        pages = [opened.index.search(opened.queries[0], k=10, offset=offset).ids[0].tolist() for offset in (0, 10, 20)]
        names = [name for page in pages for name in page]
        assert len(set(names)) == 30

    def test_pages_one_after_another(self, opened: Opened) -> None:
        where, count = "number >= 3", len(opened.vectors) - 3
        pages = list(opened.index.search_pages(opened.queries[:2], 10_001, where, page=90, columns=["number"]))
        assert [page.offset for page in pages] == list(range(0, count, 90))
        for query in range(2):
            ids = [name for page in pages for name in page.ids[query].tolist() if name is not None]
            assert sorted(ids) == sorted(opened.ids[3:])
        second = opened.index.search(opened.queries[:2], 90, where, offset=90)
        assert pages[1].ids.tolist() == second.ids.tolist()
        assert [page.ids.shape for page in opened.index.search_pages(opened.queries[:2], 100, page=90)] == [
            (2, 90),
            (2, 10),
        ]
        for options in ({"k": 0}, {"k": 10, "page": 0}, {"k": 1_000_001}, {"k": 3, "columns": ["nothing"]}):
            with pytest.raises(InputError):
                opened.index.search_pages(opened.queries, **options)

    def test_a_threshold_only_leaves_out(self, opened: Opened) -> None:
        hits = opened.index.search(opened.queries[0], k=50)
        limit = float(hits.scores[0, 20])
        kept = opened.index.search(opened.queries[0], k=50, min_score=limit)
        inside = hits.scores[0] <= limit
        assert kept.ids[0][~np.isnan(kept.scores[0])].tolist() == hits.ids[0][inside].tolist()

    def test_rows_by_id(self, opened: Opened) -> None:
        ids = [opened.ids[5], opened.ids[0], opened.ids[5]]
        table = opened.index.get(ids)
        assert table.column("id").to_pylist() == ids
        expected = opened.attributes.take([5, 0, 5])
        for name in opened.attributes.column_names:
            assert table.column(name).to_pylist() == expected.column(name).to_pylist()
        assert opened.index.get(ids, columns=["flag"]).column_names == ["id", "flag"]
        with pytest.raises(InputError, match="nobody"):
            opened.index.get([opened.ids[1], "nobody"])
        with pytest.raises(InputError):
            opened.index.get(ids, columns=["no such column"])

    def test_missing_rows_are_skipped_if_asked(self, opened: Opened) -> None:
        present = [opened.ids[5], opened.ids[0], opened.ids[5]]
        ids = ["nobody", *present, "\udc80", "no one"]
        assert opened.index.get(ids, missing="skip").equals(opened.index.get(present))
        with pytest.raises(InputError):
            opened.index.get(ids)
        with pytest.raises(InputError):
            opened.index.get(present, missing="ignore")  # type: ignore[arg-type]

    def test_rows_are_counted(self, opened: Opened) -> None:
        rows = opened.attributes.to_pylist()
        assert opened.index.count() == len(rows)
        assert opened.index.count("number >= 1000000") == 0
        assert opened.index.count({"flag": True}) == sum(row["flag"] for row in rows)
        expected = sum(row["word"] is None or row["number"] < 7 for row in rows)
        assert opened.index.count("word IS NULL OR number < 7") == expected
        with pytest.raises(PredicateError):
            opened.index.count("no_such_column = 1")

    def test_vectors_come_with_the_hits_or_are_refused(self, opened: Opened) -> None:
        if "vectors" in opened.refuses:
            with pytest.raises(InputError, match=r"vectors=True.*by its own URL"):
                opened.index.search(opened.queries, vectors=True)
            return
        hits = opened.index.search(opened.queries, k=3, vectors=True)
        assert hits.vectors is not None
        squares = ((hits.vectors - opened.queries[:, None]) ** 2).sum(axis=2)
        np.testing.assert_allclose(squares, hits.scores, rtol=0.05)  # int8 codes

    def test_the_best_row_of_each_group(self, opened: Opened) -> None:
        hits = opened.index.search_groups(opened.queries[0], "word", 9, "number < 300", exact=True, columns=["number"])
        rows = opened.attributes.to_pylist()[:300]
        squares = ((opened.queries[0] - opened.vectors[:300]) ** 2).sum(axis=1)
        best: dict[str | None, int] = {}
        for row in np.argsort(squares).tolist():
            best.setdefault(rows[row]["word"], row)
        assert hits.columns is not None
        assert hits.columns.column_names == ["word", "number"]
        assert {hit.values["word"] for hit in hits[0]} == set(best)
        assert len(hits[0]) == len(best) == 6
        np.testing.assert_allclose([hit.score for hit in hits[0]], squares[list(best.values())], rtol=0.05)
        with pytest.raises(InputError):
            opened.index.search_groups(opened.queries, "no such column")

    def test_methods_to_await(self, opened: Opened) -> None:
        hits = asyncio.run(opened.index.asearch(opened.queries, k=3))
        assert hits.ids.tolist() == opened.index.search(opened.queries, k=3).ids.tolist()
        assert asyncio.run(opened.index.acount("number < 7")) == 7

    def test_rows_are_listed_or_refused_by_name(self, opened: Opened) -> None:
        index, passing = opened.index, "number < 4"
        words = ["w1", "w2", "w3", None]  # of the first four rows, the first has none
        answers: dict[str, tuple[Callable[[], Any], Any]] = {
            "rows": (
                lambda: list(index.rows(passing, ["word"], order="number DESC", limit=3)["id"].to_pylist()),
                [opened.ids[3], opened.ids[2], opened.ids[1]],
            ),
            "to_batches": (lambda: sorted(index.to_batches(passing, []).read_all()["id"].to_pylist()), opened.ids[:4]),
            "facet": (lambda: list(index.facet("word", passing)["value"].to_pylist()), words),
            "min_max": (lambda: index.min_max("number", passing), (0, 3)),
            "search_diverse": (lambda: index.search_diverse(opened.queries, 4, diversity=0.3).ids.shape, (12, 4)),
            "search_like": (lambda: index.search_like(opened.ids[:2], k=4).ids.shape, (1, 4)),
            "vectors": (lambda: list(index.vectors(opened.ids[:2]).ids.tolist()), opened.ids[:2]),
        }
        for name, (ask, expected) in answers.items():
            if name in opened.refuses:
                with pytest.raises(InputError, match=rf"{name}.*by its own URL"):
                    ask()
            else:
                assert ask() == expected, name

    def test_recall_is_measured(self, opened: Opened) -> None:
        report = opened.index.recall(opened.queries, k=5)
        assert 0.5 < report.recall <= 1.0
        assert (report.queries, report.k) == (len(opened.queries), 5)
        truth = opened.index.search(opened.queries, k=5, exact=True).ids
        by_ids = opened.index.recall(opened.queries, k=5, truth=truth)
        assert by_ids.recall == pytest.approx(report.recall, abs=0.05)

    def test_a_search_is_explained(self, opened: Opened) -> None:
        explanation = opened.index.explain(opened.queries[:2], k=3, where={"number": {"$lt": 50}})
        assert explanation.predicate == "number < 50"
        assert explanation.stats.queries == 2
        assert "number < 50" in str(explanation)

    @pytest.mark.parametrize(
        ("options", "error"),
        [
            ({"k": 0}, InputError),
            ({"k": 10_001}, InputError),
            ({"k": True}, InputError),
            ({"nprobe": 0}, InputError),
            ({"min_score": float("nan")}, InputError),
            ({"timeout": 0}, InputError),
            ({"offset": -1}, InputError),
            ({"columns": ["nothing"]}, InputError),
            ({"columns": "word"}, InputError),
            ({"where": "no_such_column = 1"}, PredicateError),
            ({"where": "number = "}, PredicateError),
            ({"where": "number = 'text'"}, PredicateError),
        ],
    )
    def test_unusable_options_are_refused(
        self, opened: Opened, options: dict[str, Any], error: type[Exception]
    ) -> None:
        with pytest.raises(error):
            opened.index.search(opened.queries[0], **options)

    @pytest.mark.parametrize("queries", [np.zeros((2, 3), np.float32), np.full((1, 16), np.nan), "some text", [], None])
    def test_unusable_queries_are_refused(self, opened: Opened, queries: Any) -> None:
        with pytest.raises(VsearchError):
            opened.index.search(queries)

    def test_no_query_finds_nothing(self, opened: Opened) -> None:
        """Arguments are checked even without queries, and ids and columns have the usual types."""
        nobody = np.zeros((0, opened.vectors.shape[1]), np.float32)
        for options in ({}, {"where": "number < 50", "exact": True}, {"where": "number < 0"}, {"offset": 3}):
            all_options: dict[str, Any] = {"k": 4, "columns": ["word", "number"], **options}
            some, none = (
                opened.index.search(opened.queries[:1], **all_options),
                opened.index.search(nobody, **all_options),
            )
            assert (none.ids.shape, none.scores.shape) == ((0, 4), (0, 4))
            assert (none.ids.dtype, none.scores.dtype) == (some.ids.dtype, some.scores.dtype)
            assert none.columns is not None
            assert none.columns.num_rows == 0
            assert some.columns is not None
            assert none.columns.schema == some.columns.schema
            assert none.stats.queries == none.stats.rows_scanned == 0
        for wrong in (np.zeros((0, 3)), np.zeros((0, 0)), np.zeros((2, 0)), nobody.astype(str)):
            with pytest.raises(InputError):
                opened.index.search(wrong)
        for refused in ({"where": "no_such_column = 1"}, {"columns": ["nothing"]}, {"k": 0}):
            with pytest.raises(VsearchError):
                opened.index.search(nobody, **refused)

    def test_what_it_cannot_do_it_refuses(self, opened: Opened) -> None:
        """Never with an AttributeError, a TypeError or an error of a library."""
        index = opened.index
        with pytest.raises(VsearchError):
            index.search_documents(np.ones((3, 16), np.float32))
        with pytest.raises(VsearchError):
            index.search(["some text"])
        methods: dict[str, Callable[[], Any]] = {
            "snapshots": index.snapshots,
            "tune": lambda: index.tune(0.9, sample=20),
        }
        for name, ask in methods.items():
            if name in opened.refuses:
                with pytest.raises(VsearchError):
                    ask()
            else:
                assert ask()

    def test_changes_are_made_or_refused_by_name(self, opened: Opened) -> None:
        """Changes without effect, since all tests share the index."""
        index, nobody = opened.index, np.zeros((0, opened.vectors.shape[1]), np.float32)
        changes: dict[str, Callable[[], Any]] = {
            "append": lambda: index.append(nobody, ids=[]),
            "upsert": lambda: index.upsert(nobody, ids=[]),
            "update": lambda: index.update({"number": 1}, ids=[]),
            "delete": lambda: index.delete(["nobody"]),
            "optimize": lambda: index.optimize(retune=False),
            "refresh": index.refresh,
            "tags": index.tags,
            "untag": lambda: index.untag("no such tag"),
        }
        impossible: dict[str, Callable[[], Any]] = {
            "add_column": lambda: index.add_column("word", "int64"),
            "drop_column": lambda: index.drop_column("no such column"),
            "rename_column": lambda: index.rename_column("word", "flag"),
            "retrain": lambda: index.retrain(bits=-1),
            "with_encoder": lambda: index.with_encoder("no encoder"),  # type: ignore[arg-type]
            "add_text": lambda: index.add_text("no such column"),
            "drop_text": lambda: index.drop_text("word"),
            "add_sparse": lambda: index.add_sparse("no such column"),
            "search_text": lambda: index.search_text("-w1"),
            "search_leg": lambda: index.search_leg("no such leg", 1),
            "tag": lambda: index.tag("first", snapshot=10_000),
            "restore": lambda: index.restore(snapshot=10_000),
            "changes": lambda: index.changes(since=10_000),
        }
        for name, ask in {**changes, **impossible}.items():
            if name in opened.refuses:
                with pytest.raises(InputError, match=rf"{name}.*by its own URL"):
                    ask()
            elif name in impossible:
                with pytest.raises(VsearchError):
                    ask()
            else:
                ask()
        assert len(index) == len(opened.vectors)

    @staticmethod
    def nearest(opened: Opened, rows: npt.NDArray[np.int64], k: int) -> list[list[str]]:
        """Ids of the k nearest of some rows to each query, by brute force."""
        squares = ((opened.queries[:, None, :] - opened.vectors[rows]) ** 2).sum(axis=2)
        return [[opened.ids[rows[place]] for place in order[:k]] for order in np.argsort(squares, axis=1)]
