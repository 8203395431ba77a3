"""Judging an index by what is relevant, not by what is near: rankings against relevance judgements, by ir_measures."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
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
DEPTH = 1000  # rows of a ranking where a metric names no cut

Qrels = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` measured.

    Attributes
    ----------
    metrics : dict
        Mean of each metric over the queries, by the names that were asked for.
    queries : int
        Queries that were given and judged; the others do not count.
    per_query : dict
        Each metric's value of each of them, by query id.
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
    """Measure how well an index ranks what is relevant.

    Parameters
    ----------
    index : Index
    queries : array (m, d)
    qrels : path or mapping
        A file of judgements, TREC's (query 0 document grade) or BEIR's (query document grade, after a line of names), or
        ``{query id: {document id: grade}}``.
    metrics : sequence of str
        ``ndcg@k``, ``mrr@k``, ``recall@k``, ``precision@k``, ``map``, or any name that ir_measures knows.
    query_ids : sequence, optional
        Id of each query as the judgements have it; its row number by default.
    where : optional
        A predicate, as `Index.search` takes it.
    exact : bool
        Score every row, so that routing plays no part.

    Raises
    ------
    InputError
        Judgements or metrics that cannot be read, ids that are not one for each query, or no query that is judged.
    MissingDependencyError
        ir_measures is not installed.
    """
    measures = _parse(metrics)
    names = (
        [str(number) for number in range(len(np.atleast_2d(queries)))] if query_ids is None else [*map(str, query_ids)]
    )
    if len(names) != len(np.atleast_2d(queries)) or len(set(names)) != len(names):
        raise InputError(
            f"query_ids must name each of the {len(np.atleast_2d(queries))} queries once; got {len(names)}"
        )
    judged = qrels if isinstance(qrels, Mapping) else read_qrels(qrels)
    known = {str(query): {str(row): int(grade) for row, grade in of.items()} for query, of in judged.items()}
    chosen = [position for position, name in enumerate(names) if name in known]
    if not chosen:
        raise InputError(
            f"none of the queries is judged: they are called {names[0]!r}..., the judged ones {_some(known)}"
        )
    depth = min(max((m.params.get("cutoff") or DEPTH for m in measures.values()), default=DEPTH), 10_000)
    hits = index.search(np.atleast_2d(queries)[chosen], k=int(depth), where=where, exact=exact)
    import ir_measures

    # its measures are written in C, where a string ends at a NUL: numbers stand for ids
    numbers: dict[str, str] = {}

    def number(name: str) -> str:
        return numbers.setdefault(name, str(len(numbers)))

    run = {
        str(position): {number(str(row)): float(-rank) for rank, row in enumerate(ids) if row is not None and row != -1}
        for position, ids in zip(chosen, hits.ids.tolist(), strict=True)
    }
    asked = {
        str(position): {number(row): grade for row, grade in known[names[position]].items()} for position in chosen
    }
    per_query: dict[str, dict[str, float]] = {
        name: dict.fromkeys((names[position] for position in chosen), 0.0) for name in measures
    }
    labels = {measure: name for name, measure in measures.items()}
    for found in ir_measures.iter_calc(list(labels), asked, run):
        per_query[labels[found.measure]][names[int(found.query_id)]] = float(found.value)
    means = {name: float(np.mean([*values.values()])) for name, values in per_query.items()}
    return Evaluation(means, len(asked), per_query)


def read_qrels(path: str | os.PathLike[str]) -> dict[str, dict[str, int]]:
    """Read a TREC or BEIR file of judgements.

    Raises
    ------
    InputError
        There is none, or a line is neither; names the line.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: no file of judgements that can be read ({error})") from error
    judged: dict[str, dict[str, int]] = {}
    for number, line in enumerate(text.split("\n"), 1):
        fields = _fields(line)
        if not fields or (number == 1 and len(fields) == 3 and not re.fullmatch(r"-?\d+", fields[2])):
            continue  # BEIR's line of names
        try:
            query, document, grade = (fields[0], *fields[2:]) if len(fields) == 4 else fields
            judged.setdefault(query, {})[document] = int(grade)
        except ValueError:
            raise InputError(
                f"{path}, line {number}: neither TREC's 'query 0 document grade' nor BEIR's 'query document grade'"
            ) from None
    if not judged:
        raise InputError(f"{path}: there are no judgements in it")
    return judged


def _fields(line: str) -> list[str]:
    """Fields between tabs, which may hold spaces as BEIR's ids do, or else between spaces and tabs alone."""
    between_tabs = line.strip("\r\n").split("\t")
    if len(between_tabs) in (3, 4):
        return [field.strip(" ") for field in between_tabs]
    return [field for field in re.split(r"[ \t\r]+", line) if field]


def _parse(metrics: Sequence[str]) -> dict[str, Any]:
    """Measures of ir_measures by the names given."""
    try:
        import ir_measures
    except ImportError as error:
        raise MissingDependencyError("evaluating needs ir_measures: pip install 'vsearch[evaluate]'") from error
    if isinstance(metrics, str) or not metrics:
        raise InputError("metrics must be a sequence of names, such as ['ndcg@10']")
    parsed = {}
    for name in metrics:
        stem, at, cut = str(name).partition("@")
        try:
            parsed[str(name)] = ir_measures.parse_measure(f"{NAMES.get(stem.lower(), stem)}{at}{cut}")
        except (NameError, ValueError, SyntaxError) as error:
            raise InputError(
                f"the metric {name!r} is not known: give ndcg@10, mrr@10, recall@100 or the like"
            ) from error
    return parsed


def _some(known: Mapping[str, object]) -> str:
    return ", ".join(repr(name) for name in list(known)[:3]) + ("..." if len(known) > 3 else "")
