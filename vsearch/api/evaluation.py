"""Evaluate an index by relevance rather than distance: rankings against relevance judgments, with ir_measures."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vsearch.errors import InputError, MissingDependencyError

if TYPE_CHECKING:
    from vsearch.api.index import Index
    from vsearch.predicates import Where

METRICS = ("ndcg@10", "mrr@10", "recall@100")
NAMES = {"ndcg": "nDCG", "mrr": "RR", "rr": "RR", "recall": "R", "r": "R", "precision": "P", "p": "P", "map": "AP"}
DEPTH = 1000  # rows of a ranking if a metric names no cutoff

Qrels = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class Evaluation:
    """Result of `evaluate`.

    Attributes
    ----------
    metrics : dict
        Mean of each metric over the queries, under the requested names.
    queries : int
        Number of queries that have judgments; others are ignored.
    per_query : dict
        For each metric, its value for each of these queries, by query id.
    """

    metrics: dict[str, float]
    queries: int
    per_query: dict[str, dict[str, float]]

    def to_dict(self) -> dict[str, Any]:
        return {**self.metrics, "queries": self.queries}


def evaluate(
    index: Index,
    queries: Any,
    qrels: Qrels | str | os.PathLike[str],
    metrics: Sequence[str] = METRICS,
    *,
    query_ids: Sequence[Any] | None = None,
    where: Where = None,
    exact: bool = False,
) -> Evaluation:
    """Measure how well an index ranks relevant documents.

    Parameters
    ----------
    index : Index
    queries : array (m, d)
    qrels : path or mapping
        A file of judgments in TREC format (query 0 document grade) or BEIR format (query document grade, after a header
        line), or ``{query id: {document id: grade}}``.
    metrics : sequence of str
        ``ndcg@k``, ``mrr@k``, ``recall@k``, ``precision@k``, ``map``, or any name known to ir_measures.
    query_ids : sequence, optional
        Id of each query in the judgments; its row number by default.
    where : optional
        A predicate, as for `Index.search`.
    exact : bool
        Score every row, so that routing has no influence.

    Raises
    ------
    InputError
        Judgments or metrics cannot be read, query ids do not match the queries, or no query has judgments.
    MissingDependencyError
        ir_measures is not installed.
    """
    measures = _parse(metrics)
    names = (
        [str(number) for number in range(len(np.atleast_2d(queries)))] if query_ids is None else [*map(str, query_ids)]
    )
    if len(names) != len(np.atleast_2d(queries)) or len(set(names)) != len(names):
        raise InputError(
            f"query_ids must be one distinct id for each of the {len(np.atleast_2d(queries))} queries, got {len(names)}"
        )
    judgments = qrels if isinstance(qrels, Mapping) else read_qrels(qrels)
    grades = {
        str(query): {str(row): int(grade) for row, grade in row_grades.items()}
        for query, row_grades in judgments.items()
    }
    positions = [position for position, name in enumerate(names) if name in grades]
    if not positions:
        raise InputError(
            f"none of the queries has judgments: their ids are {names[0]!r}..., those of the judgments {_examples(grades)}"
        )
    depth = min(max((m.params.get("cutoff") or DEPTH for m in measures.values()), default=DEPTH), 10_000)
    hits = index.search(np.atleast_2d(queries)[positions], k=int(depth), where=where, exact=exact)
    import ir_measures

    # ir_measures is written in C, where strings end at a NUL, so numbers stand in for ids
    numbers: dict[str, str] = {}

    def number(name: str) -> str:
        return numbers.setdefault(name, str(len(numbers)))

    run = {
        str(position): {number(str(row)): float(-rank) for rank, row in enumerate(ids) if row is not None and row != -1}
        for position, ids in zip(positions, hits.ids.tolist(), strict=True)
    }
    judged = {
        str(position): {number(row): grade for row, grade in grades[names[position]].items()} for position in positions
    }
    per_query: dict[str, dict[str, float]] = {
        name: dict.fromkeys((names[position] for position in positions), 0.0) for name in measures
    }
    labels: dict[Any, list[str]] = {}
    for name, measure in measures.items():  # several names may mean one measure
        labels.setdefault(measure, []).append(name)
    try:
        for result in ir_measures.iter_calc(list(labels), judged, run):
            for name in labels[result.measure]:
                per_query[name][names[int(result.query_id)]] = float(result.value)
    except ValueError as error:
        raise InputError(f"metrics {', '.join(measures)}: ir_measures cannot compute them ({error})") from error
    means = {name: float(np.mean([*values.values()])) for name, values in per_query.items()}
    return Evaluation(means, len(judged), per_query)


def read_qrels(path: str | os.PathLike[str]) -> dict[str, dict[str, int]]:
    """Read a file of judgments in TREC or BEIR format.

    Raises
    ------
    InputError
        The file cannot be read, or a line is in neither format; the message names the line.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot read judgments ({error})") from error
    judgments: dict[str, dict[str, int]] = {}
    for number, line in enumerate(text.split("\n"), 1):
        fields = _fields(line)
        if not fields or (number == 1 and len(fields) == 3 and not re.fullmatch(r"-?\d+", fields[2])):
            continue  # the header line of BEIR
        try:
            query, document, grade = (fields[0], *fields[2:]) if len(fields) == 4 else fields
            judgments.setdefault(query, {})[document] = int(grade)
        except ValueError:
            raise InputError(
                f"{path}, line {number}: must be TREC 'query 0 document grade' or BEIR 'query document grade'"
            ) from None
    if not judgments:
        raise InputError(f"{path}: contains no judgments")
    return judgments


def _fields(line: str) -> list[str]:
    """Split at tabs, since BEIR ids may contain spaces; if that does not fit, at spaces and tabs."""
    between_tabs = line.strip("\r\n").split("\t")
    if len(between_tabs) in (3, 4):
        return [field.strip(" ") for field in between_tabs]
    return [field for field in re.split(r"[ \t\r]+", line) if field]


def _parse(metrics: Sequence[str]) -> dict[str, Any]:
    """Resolve metric names to measures of ir_measures."""
    try:
        import ir_measures
    except ImportError as error:
        raise MissingDependencyError("evaluate requires ir_measures: pip install 'vsearch[evaluate]'") from error
    if isinstance(metrics, (str, bytes)) or not isinstance(metrics, Iterable) or not (metrics := list(metrics)):
        raise InputError(f"metrics must be a sequence of names, such as ['ndcg@10'], got {metrics!r:.100}")
    parsed = {}
    for name in metrics:
        stem, at, cut = str(name).partition("@")
        known = NAMES.get(stem.lower())
        try:
            if known and not at:
                parsed[str(name)] = getattr(ir_measures, known)
            elif known and re.fullmatch("[1-9][0-9]{0,8}", cut):
                parsed[str(name)] = getattr(ir_measures, known) @ int(cut)
            else:
                parsed[str(name)] = ir_measures.parse_measure(f"{known or stem}{at}{cut}")
            cutoff = parsed[str(name)].params.get("cutoff", 1)
            if type(cutoff) is not int or cutoff < 1:
                raise ValueError("a cutoff must be a positive integer")  # noqa: TRY301
        except (AttributeError, NameError, ValueError, SyntaxError) as error:  # its parser needs Python 3.13 or earlier
            raise InputError(f"unknown metric {name!r}; use ndcg@10, mrr@10, recall@100 or similar") from error
    return parsed


def _examples(grades: Mapping[str, object]) -> str:
    return ", ".join(repr(name) for name in list(grades)[:3]) + ("..." if len(grades) > 3 else "")
