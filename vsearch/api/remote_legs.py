"""Searches by a leg through functions, alone or together with vectors."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Unpack

import msgspec
import numpy as np

from vsearch.api.hybrid_hits import HybridHits
from vsearch.api.legs import check_alone, check_counts, read_fused
from vsearch.api.remote_client import MOST_QUERIES, Client, result_bytes, search_options
from vsearch.api.remote_execution import Execution, ExecutionOptions
from vsearch.api.remote_hits import RemoteHits, make_hits, without_queries
from vsearch.api.remote_queries import TEXTS_TOGETHER, check_vectors
from vsearch.encoders.queries import as_texts
from vsearch.errors import InputError
from vsearch.fanout.roles.merging import append
from vsearch.fanout.wire.legs import LegQueries
from vsearch.fanout.wire.messages import Answer, Options, SearchRequest, floats, int32s, int64s
from vsearch.fanout.wire.texts import LARGEST_TEXTS, text_bytes
from vsearch.legs.registry import find_leg

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vsearch.fanout.calls.bill import Prices
    from vsearch.predicates import Where

LEG_BYTES = 24
"""Of the scores and ranks of both parts, per hit."""


@dataclass(frozen=True, eq=False, repr=False)
class RemoteHybridHits(RemoteHits, HybridHits):
    """Rows found by functions by vectors and another leg; see `vsearch.HybridHits`."""


class RemoteLegs:
    """Search by the legs of an index."""

    _client: Client

    @abstractmethod
    def _answers(self, requests: Iterable[SearchRequest], execution: ExecutionOptions) -> list[Answer]:
        """Run one search that takes several requests."""

    @abstractmethod
    def _prices_of(self, arch: str) -> Prices:
        """Return the prices for an architecture."""

    def search_leg(
        self,
        leg: str,
        queries: Any,
        k: int = 10,
        where: Where = None,
        columns: Sequence[str] = (),
        *,
        query_vectors: Any = None,
        fusion: Literal["rrf", "weighted"] | Callable[[Any, Any], Any] | None = None,
        weights: Sequence[float] | None = None,
        depth: int | None = None,
        nprobe: int | None = None,
        exact: bool = False,
        timeout: float | None = None,
        offset: int = 0,
        **execution: Unpack[Execution],
    ) -> RemoteHits:
        """Find the best rows of a leg, alone or together with vectors; see `vsearch.Index.search_leg`.

        Parameters
        ----------
        **execution
            ``allow_partial``, ``mode``, ``allocators``, ``branching``, ``at_least`` and ``freshness``, as for `search`.

        Raises
        ------
        InputError, IncompleteAnswerError, SearchTimeoutError, RemoteError
            As for `search`.
        """
        how = ExecutionOptions.of(timeout, **execution)
        options = search_options(k, where, nprobe, columns, exact=exact, min_score=None, offset=offset)
        if query_vectors is None:
            check_alone(fusion=fusion, weights=weights, depth=depth, nprobe=nprobe, exact=exact or None)
            return self._search_leg(leg, queries, options, how)
        return self._search_both(query_vectors, (leg, queries, "queries"), (fusion, weights, depth), options, how)

    def _search_leg(self, name: str, queries: Any, options: Options, execution: ExecutionOptions) -> RemoteHits:
        """Search a leg alone."""
        leg = find_leg(name)
        encoded, form = leg.read(queries, "queries"), LegQueries(name)
        requests = (
            _request(None, (), encoded or [leg.probe], part, form, options)
            for part in _batches(self._client, list(map(len, encoded or [leg.probe])), result_bytes(options), options)
        )
        answers = self._answers(requests, execution)
        if not encoded:
            answers = [without_queries(answers[0])]
        return make_hits(RemoteHits, answers, options, self._prices_of)

    def _search_both(
        self,
        queries: Any,
        of_leg: tuple[str, Any, str],
        fusing: tuple[str | Callable[[Any, Any], Any] | None, Any, Any],
        options: Options,
        execution: ExecutionOptions,
    ) -> RemoteHybridHits:
        """Search by vectors and a leg: its name, its queries, and what users call these; `fusing` are the options of the fusion."""
        leg, encoded, fusion = read_fused(of_leg, fusing, options.k, options.offset, options.min_score)
        if not isinstance(fusion.fusion, str):
            raise InputError(
                "fusion must be 'rrf' or 'weighted' through functions, which cannot run a function of this process: fuse "
                f"vector_scores and {'text' if leg.name == 'text' else 'leg'}_scores of the hits, or open the index by its own URL"
            )
        form = LegQueries(leg.name, depth=fusion.depth, fusion=fusion.fusion, weights=fusion.weights)  # type: ignore[arg-type]
        strings = as_texts(queries)
        points = check_vectors(queries) if strings is None else None
        texts = list(map(text_bytes, strings or ()))
        count = len(texts) if points is None else len(points)
        check_counts(leg, count, len(encoded))
        if points is not None and not len(points):
            probe = _request(np.eye(1, points.shape[1], dtype=np.float32), [], [leg.probe], slice(0, 1), form, options)
            answers = [without_queries(self._answers([probe], execution)[0])]
        else:
            vector_bytes = [4 * points.shape[1]] * count if points is not None else list(map(len, texts))
            sizes = [len(query) + size for query, size in zip(encoded, vector_bytes, strict=True)]
            most = MOST_QUERIES if points is not None else TEXTS_TOGETHER
            parts = _batches(self._client, sizes, result_bytes(options) + LEG_BYTES * options.k, options, most)
            requests = (_request(points, texts, encoded, part, form, options) for part in parts)
            answers = self._answers(requests, execution)
        return make_hits(RemoteHybridHits, answers, options, self._prices_of, leg=leg.name, **_parts(answers, options))


def _request(
    points: NDArray[np.float32] | None,
    texts: Sequence[bytes],
    queries: Sequence[bytes],
    part: slice,
    form: LegQueries,
    options: Options,
) -> SearchRequest:
    of_part = tuple(queries[part])
    return SearchRequest(
        count=len(of_part),
        dimensions=0 if points is None else points.shape[1],
        queries=b"" if points is None else points[part].astype("<f4").tobytes(),
        options=options,
        texts=tuple(texts[part]) if points is None else (),
        leg=msgspec.structs.replace(form, queries=of_part),
    )


def _batches(
    client: Client, sizes: Sequence[int], reply: int, options: Options, most: int = MOST_QUERIES
) -> Iterator[slice]:
    """Split queries, given their bytes, into batches that fit a message and whose answers usually do."""
    room = client.room(options)
    most = most if room is None else max(1, min(most, room // reply))
    room = LARGEST_TEXTS if room is None else min(room, LARGEST_TEXTS)
    start = total = 0
    for place, size in enumerate(sizes):
        if place > start and (place - start == most or total + size + 8 > room):
            yield slice(start, place)
            start, total = place, 0
        total += size + 8
    yield slice(start, len(sizes))


def _parts(answers: Sequence[Answer], options: Options) -> dict[str, Any]:
    """Return the scores and ranks of both parts, of the shape of the hits, by field."""
    answer = append(answers)
    present = np.arange(options.k) < int32s(answer.found)[:, None]
    columns = answer.columns[len(options.columns) :]
    fields: dict[str, Any] = {}
    for place, name in enumerate(("vector_scores", "vector_ranks", "leg_scores", "leg_ranks")):
        ranks = place % 2 == 1
        values: NDArray[Any] = (
            np.zeros(present.shape, np.int64) if ranks else np.full(present.shape, np.nan, np.float32)
        )
        if present.any():
            values[present] = int64s(columns[place].values) if ranks else floats(columns[place].values)
        fields[name] = values
    return fields
