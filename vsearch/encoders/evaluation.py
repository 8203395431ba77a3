"""Compare a compressed encoder with the original model: vectors, nearest neighbors, and ranking of relevant rows."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vsearch.encoders.encoder import TextEncoder, check_texts
from vsearch.encoders.loading import load
from vsearch.encoders.report import WORST, cosines
from vsearch.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEPTH = 10
"""Number of rows of a ranking that are evaluated."""


class Searchable(Protocol):
    """An index that is searched by vectors."""

    def search(self, queries: Any, k: int = 10, *, exact: bool = False) -> Any: ...


@dataclass(frozen=True)
class Ranking:
    """Mean reciprocal rank and mean normalized discounted cumulative gain of the first ten rows."""

    mrr: float
    ndcg: float


@dataclass(frozen=True)
class EncoderEvaluation:
    """Result of `evaluate`.

    Attributes
    ----------
    texts : int
        Number of texts for `cosine`, `worst_cosine` and `recall`.
    cosine, worst_cosine : float or None
        Mean and first percentile of the cosine similarities to the vectors of the model. None without a model.
    recall : float or None
        Fraction of the ten rows nearest to the model's vector that are among the ten nearest to the encoder's, both by
        exhaustive search. None without a model or an index.
    pairs : int
        Number of queries for `ranking` and `model_ranking`.
    ranking, model_ranking : Ranking or None
        With the vectors of the encoder, and with those of the model. None without pairs.
    """

    texts: int
    cosine: float | None = None
    worst_cosine: float | None = None
    recall: float | None = None
    pairs: int = 0
    ranking: Ranking | None = None
    model_ranking: Ranking | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def evaluate(
    encoder: TextEncoder | str | Path,
    texts: Sequence[str],
    *,
    model: TextEncoder | str | Path | None = None,
    index: Searchable | None = None,
    pairs: Iterable[tuple[str, Hashable]] | None = None,
) -> EncoderEvaluation:
    """Evaluate an encoder on texts that resemble queries.

    Parameters
    ----------
    encoder, model : TextEncoder or path
        The compressed encoder, and the original model. Paths are opened with `load`.
    texts : sequence of str
        Should not include texts that the encoder was calibrated with.
    index : Index, optional
        An index with vectors of the model.
    pairs : iterable of (str, id), optional
        Queries, each with the id of a row of the index that is relevant to it; a query may occur several times.

    Raises
    ------
    InputError
        There are no texts, the dimensions differ, or pairs are passed without an index.
    """
    compressed, original = _open(encoder), None if model is None else _open(model)
    checked = check_texts(texts)
    if not checked:
        raise InputError("texts must contain at least one text")
    if original is not None and original.dimensions != compressed.dimensions:
        raise InputError(
            f"the encoder must have the model's {original.dimensions} dimensions, got {compressed.dimensions}"
        )
    if pairs is not None and index is None:
        raise InputError("pairs require an index")
    cosine = worst = recall = None
    if original is not None:
        expected, vectors = original.encode(checked), compressed.encode(checked)
        near = cosines(expected, vectors)
        cosine, worst = float(near.mean()), float(np.percentile(near, WORST))
        if index is not None:
            recall = _overlap(_nearest(index, expected), _nearest(index, vectors))
    relevant = {} if pairs is None else _by_query(pairs)
    ranking = model_ranking = None
    if relevant and index is not None:
        ranking = _rank(compressed, index, relevant)
        model_ranking = None if original is None else _rank(original, index, relevant)
    return EncoderEvaluation(len(checked), cosine, worst, recall, len(relevant), ranking, model_ranking)


def _open(encoder: TextEncoder | str | Path) -> TextEncoder:
    return encoder if isinstance(encoder, TextEncoder) else load(encoder)


def _nearest(index: Searchable, vectors: NDArray[np.float32]) -> list[list[Any]]:
    """Return the ids of the rows nearest to each vector, best first."""
    hits = index.search(vectors, k=DEPTH, exact=True)
    return [[id for id in ids if id is not None and id != -1] for ids in hits.ids.tolist()]


def _overlap(expected: Sequence[Sequence[Any]], returned: Sequence[Sequence[Any]]) -> float:
    parts = [
        len({*expected_ids} & {*returned_ids}) / max(1, len(expected_ids))
        for expected_ids, returned_ids in zip(expected, returned, strict=True)
    ]
    return float(np.mean(parts))


def _by_query(pairs: Iterable[tuple[str, Hashable]]) -> dict[str, set[Hashable]]:
    relevant: dict[str, set[Hashable]] = {}
    for number, pair in enumerate(pairs):
        if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not isinstance(pair[0], str):
            raise InputError(f"pair {number} must be a query and an id, got {pair!r:.100}")
        relevant.setdefault(pair[0], set()).add(pair[1])
    if not relevant:
        raise InputError("pairs must contain at least one pair")
    return relevant


def _rank(encoder: TextEncoder, index: Searchable, relevant: Mapping[str, set[Hashable]]) -> Ranking:
    discounts = 1 / np.log2(np.arange(2, DEPTH + 2))
    ranks, gains = [], []
    for ids, relevant_ids in zip(_nearest(index, encoder.encode([*relevant])), relevant.values(), strict=True):
        hits = np.array([id in relevant_ids for id in ids] + [False] * (DEPTH - len(ids)))
        ranks.append(1 / (1 + int(hits.argmax())) if hits.any() else 0.0)
        gains.append(float(discounts[hits].sum() / discounts[: min(DEPTH, len(relevant_ids))].sum()))
    return Ranking(float(np.mean(ranks)), float(np.mean(gains)))
