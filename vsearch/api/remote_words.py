"""Searches for words by functions, alone or together with vectors."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from vsearch.api.hybrid_hits import HybridHits
from vsearch.api.remote_client import MOST_QUERIES, Client, answered, search_options
from vsearch.api.remote_execution import ExecutionOptions
from vsearch.api.remote_hits import RemoteHits, make_hits, without_queries
from vsearch.api.remote_queries import TEXTS_TOGETHER, check_vectors
from vsearch.encoders.queries import as_texts
from vsearch.errors import InputError
from vsearch.fanout.roles.merging import append
from vsearch.fanout.wire.messages import Answer, Options, SearchRequest, floats, int32s, int64s
from vsearch.fanout.wire.texts import LARGEST_TEXTS, text_bytes
from vsearch.fanout.wire.words import Words
from vsearch.text.fusing import FusionOptions
from vsearch.text.query import as_words

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vsearch.fanout.calls.bill import Prices
    from vsearch.predicates import Where

LEG_BYTES = 24
"""Of the scores and ranks of both parts, per hit."""


@dataclass(frozen=True, eq=False, repr=False)
class RemoteHybridHits(RemoteHits, HybridHits):
    """Rows found by functions by vectors and words; see `vsearch.HybridHits`."""


class RemoteWords:
    """Search for words, in an index with text columns."""

    _client: Client

    @abstractmethod
    def _answers(self, requests: Iterable[SearchRequest], execution: ExecutionOptions) -> list[Answer]:
        """Run one search that takes several requests."""

    @abstractmethod
    def _prices_of(self, arch: str) -> Prices:
        """Return the prices for an architecture."""

    def search_text(
        self,
        queries: str | Sequence[str],
        k: int = 10,
        where: Where = None,
        columns: Sequence[str] = (),
        *,
        timeout: float | None = None,
        allow_partial: bool = False,
        mode: str = "auto",
        allocators: int | None = None,
        branching: int | None = None,
        offset: int = 0,
        at_least: int = 0,
        freshness: float = 0.0,
    ) -> RemoteHits:
        """Find the rows that fit words best, by BM25; see `vsearch.Index.search_text`.

        Parameters
        ----------
        allow_partial, mode, allocators, branching, offset, at_least, freshness
            As for `search`.

        Raises
        ------
        InputError, IncompleteAnswerError, SearchTimeoutError, RemoteError
            As for `search`.
        """
        execution = ExecutionOptions.of(
            timeout, mode, allocators, branching, at_least, freshness, allow_partial=allow_partial
        )
        texts = as_words(queries)
        options = search_options(k, where, None, columns, exact=False, min_score=None, offset=offset)
        words = list(map(text_bytes, texts or [""]))
        requests = (
            SearchRequest(
                count=len(words[part]),
                dimensions=0,
                queries=b"",
                options=options,
                words=Words(texts=tuple(words[part])),
            )
            for part in _batches(self._client, [len(text) for text in words], answered(options), options)
        )
        answers = self._answers(requests, execution)
        if not texts:
            answers = [without_queries(answers[0])]
        return make_hits(RemoteHits, answers, options, self._prices_of)

    def _search_both(
        self,
        queries: Any,
        text: Any,
        fusing: tuple[str | Callable[[Any, Any], Any] | None, Any, Any],
        options: Options,
        execution: ExecutionOptions,
    ) -> RemoteHybridHits:
        """Search by vectors and words; `fusing` are the options of the fusion."""
        words = list(map(text_bytes, as_words(text, fusing)))
        if options.min_score is not None:
            raise InputError("min_score cannot be combined with text: fused scores have no scale of their own")
        fusion = FusionOptions.of(*fusing, options.k + options.offset)
        if not isinstance(fusion.fusion, str):
            raise InputError(
                "fusion must be 'rrf' or 'weighted' through functions, which cannot run a function of this process: fuse "
                "vector_scores and text_scores of the hits, or open the index by its own URL"
            )
        form = Words(depth=fusion.depth, fusion=fusion.fusion, weights=fusion.weights)  # type: ignore[arg-type]
        encoded = as_texts(queries)
        points = check_vectors(queries) if encoded is None else None
        texts = list(map(text_bytes, encoded or ()))
        count = len(texts) if points is None else len(points)
        if count != len(words):
            raise InputError(f"there must be one text for each of the {count} queries, got {len(words)}")
        if points is not None and not len(points):
            probe = _request(np.eye(1, points.shape[1], dtype=np.float32), [], [b""], slice(0, 1), form, options)
            answers = [without_queries(self._answers([probe], execution)[0])]
        else:
            taken = [4 * points.shape[1]] * count if points is not None else list(map(len, texts))
            sizes = [len(word) + size for word, size in zip(words, taken, strict=True)]
            most = MOST_QUERIES if points is not None else TEXTS_TOGETHER
            parts = _batches(self._client, sizes, answered(options) + LEG_BYTES * options.k, options, most)
            requests = (_request(points, texts, words, part, form, options) for part in parts)
            answers = self._answers(requests, execution)
        return make_hits(RemoteHybridHits, answers, options, self._prices_of, **_parts(answers, options))


def _request(
    points: NDArray[np.float32] | None,
    texts: Sequence[bytes],
    words: Sequence[bytes],
    part: slice,
    form: Words,
    options: Options,
) -> SearchRequest:
    own = words[part]
    return SearchRequest(
        count=len(own),
        dimensions=0 if points is None else points.shape[1],
        queries=b"" if points is None else points[part].astype("<f4").tobytes(),
        options=options,
        texts=tuple(texts[part]) if points is None else (),
        words=msgspec.structs.replace(form, texts=tuple(own)),
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
    for place, name in enumerate(("vector_scores", "vector_ranks", "text_scores", "text_ranks")):
        ranks = place % 2 == 1
        values: NDArray[Any] = (
            np.zeros(present.shape, np.int64) if ranks else np.full(present.shape, np.nan, np.float32)
        )
        if present.any():
            values[present] = int64s(columns[place].values) if ranks else floats(columns[place].values)
        fields[name] = values
    return fields
