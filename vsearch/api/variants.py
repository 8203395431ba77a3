"""Searches for groups, for diverse rows, and by example."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from vsearch.api.groups import FixedIndex, GroupSearch
from vsearch.checks import LARGEST_K, check_search, check_whole, is_number
from vsearch.errors import InputError
from vsearch.metrics import HAMMING, smaller_is_better

if TYPE_CHECKING:
    from vsearch.api.hits import Hits
    from vsearch.predicates import Where

CANDIDATES_PER_HIT = 4
"""Rows that diverse ones are chosen from, per hit."""

LEAST_CANDIDATES = 50


class GroupedSearch:
    """Searches for the best row of each group."""

    @abstractmethod
    def _fixed(self) -> FixedIndex:
        """Return the index fixed to one snapshot."""

    @abstractmethod
    def _points(self, queries: Any) -> Any:
        """Return queries that can be sliced one by one."""

    def search_groups(
        self,
        queries: Any,
        per: str,
        k: int = 10,
        where: Where = None,
        *,
        columns: Sequence[str] = (),
        nprobe: int | None = None,
        exact: bool = False,
        min_score: float | None = None,
        timeout: float | None = None,
    ) -> Hits:
        """Find the best row of each of the k best groups: the best passage of each document, for example.

        It searches for several rows per group and, if that is not enough, again without the groups found so far. Rows without
        a group (NULL) are one group.

        Parameters
        ----------
        per : str
            The attribute whose values are the groups, of any type but floats and lists.
        k : int
            1 to 10,000. Returns min(k, number of groups with matching rows) rows.
        columns : sequence of str
            Attributes to return. The group is always the first column of the hits.
        where, nprobe, exact, min_score, timeout
            As for `search`. With `exact`, the rows are the best ones of the best groups.

        Raises
        ------
        InputError
            An option is invalid, or rows cannot be grouped by `per`.
        PredicateError
            `where` is not a valid predicate on the attributes.
        SearchTimeoutError
            The search did not finish in time.
        """
        from vsearch.predicates import parse

        check_search(k=k, nprobe=nprobe, min_score=min_score, timeout=timeout)
        options = {"nprobe": nprobe, "exact": exact, "min_score": min_score}
        group_search = GroupSearch.of(self._fixed(), per, columns, options, timeout)
        return group_search.search(self._points(queries), int(k), None if where is None else parse(where))


class VectorSearch(GroupedSearch):
    """Searches that need the vectors of rows."""

    def search_diverse(
        self,
        queries: Any,
        k: int = 10,
        where: Where = None,
        *,
        diversity: float = 0.5,
        candidates: int | None = None,
        columns: Sequence[str] = (),
        vectors: bool = False,
        **options: Any,
    ) -> Hits:
        """Find rows near the query that are unlike each other, by maximal marginal relevance (MMR).

        Rows are chosen one at a time: each has the largest ``(1 - diversity) * similarity to the query - diversity * similarity
        to the most similar row chosen so far``, where the similarity is that of the metric (l2: the negated squared distance).

        Parameters
        ----------
        k : int
            1 to 10,000.
        diversity : float
            From 0, the order of `search`, to 1, where the query only determines the candidates and the first row.
        candidates : int, optional
            Nearest rows to choose from; by default 4 k, and at least 50.
        columns, vectors, **options
            As for `search`; `offset` is not supported.

        Returns
        -------
        Hits
            In the order of choice, in which the scores need not descend.

        Raises
        ------
        InputError
            An option is invalid.
        PredicateError
            `where` is not a valid predicate on the attributes.
        SearchTimeoutError
            The search did not finish in time.
        """
        from vsearch.search.diversity import choose_diverse

        check_search(k=k)
        if not (is_number(diversity) and 0 <= diversity <= 1):
            raise InputError(f"diversity must be a number from 0 to 1, got {diversity!r:.100}")
        if candidates is None:
            candidates = min(LARGEST_K, max(LEAST_CANDIDATES, CANDIDATES_PER_HIT * k))
        check_whole("candidates", candidates, LARGEST_K)
        if candidates < k:
            raise InputError(f"candidates must be at least k, which is {k}, got {candidates}")
        if options.get("offset"):
            raise InputError("offset is not supported: each choice depends on those before; use a larger k")
        fixed = self._fixed()
        hits = fixed.index.search(self._points(queries), candidates, where, columns=columns, vectors=True, **options)
        squared = smaller_is_better(fixed.metric)
        places = np.full((len(hits), k), -1, np.int64)
        for query, scores in enumerate(hits.scores):
            matching = int((~np.isnan(scores)).sum())
            relevance = -scores[:matching] if squared else scores[:matching]
            assert hits.vectors is not None  # noqa: S101  they were requested
            chosen = choose_diverse(relevance, hits.vectors[query, :matching], k, float(diversity), squared=squared)
            places[query, : len(chosen)] = chosen
        chosen_hits = hits.choose(places)
        return chosen_hits if vectors else replace(chosen_hits, vectors=None)

    def search_like(
        self,
        like: Any,
        unlike: Any = (),
        k: int = 10,
        where: Where = None,
        *,
        columns: Sequence[str] = (),
        **options: Any,
    ) -> Hits:
        """Find rows that are like some rows of the index and unlike others. The examples themselves are left out.

        The query is the mean of the positive examples, plus its difference from the mean of the negative ones if there are any.

        Parameters
        ----------
        like, unlike : ids
            At least one positive example.
        k, where, columns, **options
            As for `search`; `offset` is not supported. k and the number of examples are together at most 10,000.

        Raises
        ------
        InputError
            An id is not in the index, or an option is invalid.
        PredicateError
            `where` is not a valid predicate on the attributes.
        SearchTimeoutError
            The search did not finish in time.
        """
        check_search(k=k)
        if options.get("offset"):
            raise InputError("offset is not supported by search_like; use a larger k")
        fixed = self._fixed()
        index = fixed.index
        positive, negative = index.vectors(like), index.vectors(unlike)
        if not len(positive):
            raise InputError("like must have at least one id")
        query = positive.vectors.mean(axis=0, dtype=np.float64)
        if len(negative):
            query += query - negative.vectors.mean(axis=0, dtype=np.float64)
        examples = {*positive.ids.tolist(), *negative.ids.tolist()}
        if k + len(examples) > LARGEST_K:
            raise InputError(
                f"k and the number of examples must be at most {LARGEST_K} together, got {k} and {len(examples)}"
            )
        if fixed.metric == HAMMING:  # bits that more than half of the examples have
            query = (query > 0.5).astype(np.float64)
        hits = index.search(query.astype(np.float32), k + len(examples), where, columns=columns, **options)
        kept = [place for place, id_ in enumerate(hits.ids[0].tolist()) if id_ not in examples]
        return hits.choose(np.array([kept[:k]], np.int64))
