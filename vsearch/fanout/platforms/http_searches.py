"""The JSON of a search over HTTP: the body of a request, and the document of an answer."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.checks import LARGEST_DEPTH, LARGEST_K, check_offset
from vsearch.encoders.queries import as_texts, check_hybrid
from vsearch.errors import InputError
from vsearch.fanout.calls.bill import make_bill
from vsearch.fanout.platforms.aws_lambda import LAMBDA, LIMITS
from vsearch.fanout.wire.legs import LegQueries
from vsearch.fanout.wire.messages import Answer, Documents, Options, SearchRequest, floats, int32s
from vsearch.fanout.wire.texts import MOST_TEXTS, text_bytes
from vsearch.fanout.wire.values import to_values
from vsearch.fanout.wire.where import encode_where
from vsearch.search.state.model import check_queries

LARGEST_BODY = LIMITS.request_bytes
MOST_HITS = 1_000_000
"""Maximum number of queries times k: a small body could otherwise ask for gigabytes."""


class SearchBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The JSON body of a search: `vector`, `vectors` or `text`, with or without `words` or `leg`, or one of these alone; for multi-vector
    documents, `query_vectors` or `queries`.
    """

    text: (
        Annotated[
            str | list[str], msgspec.Meta(description="One text or several, for an index that holds a text encoder.")
        ]
        | None
    ) = None
    words: (
        Annotated[
            str | dict[str, Any] | list[str | dict[str, Any]],
            msgspec.Meta(
                description=(
                    'Words for the text columns: word +must -not prefix* "phrase" column:word; one text per query. Or objects with the '
                    "clauses must, should and not."
                )
            ),
        ]
        | None
    ) = None
    leg: Annotated[
        dict[str, Any] | None,
        msgspec.Meta(
            description="Queries of another leg of the index, by its name: one per query; `words` are the leg text."
        ),
    ] = None
    hybrid: Annotated[bool, msgspec.Meta(description="Search the words of `text` as well.")] = False
    fusion: Annotated[
        Literal["rrf", "weighted"] | None,
        msgspec.Meta(description="How rankings by vectors and by words or a leg are fused."),
    ] = None
    weights: Annotated[
        tuple[float, float] | None, msgspec.Meta(description="Weights of vectors and of words or a leg.")
    ] = None
    depth: Annotated[
        int | None, msgspec.Meta(description="Number of candidates by vectors, and by words or a leg.")
    ] = None
    vector: list[float] | None = None
    vectors: list[list[float]] | None = None
    query_vectors: list[list[float]] | None = None
    queries: list[list[list[float]]] | None = None
    k: Annotated[int, msgspec.Meta(ge=1, le=LARGEST_K)] = 10
    offset: Annotated[int, msgspec.Meta(ge=0, lt=LARGEST_DEPTH)] = 0
    where: str | dict[str, Any] | None = None
    columns: tuple[str, ...] = ()
    nprobe: Annotated[int, msgspec.Meta(ge=1, le=2**31)] | None = None
    exact: bool = False
    min_score: float | None = None
    timeout: Annotated[float, msgspec.Meta(gt=0, le=900)] | None = None
    allow_partial: bool = False
    snapshot: Annotated[int, msgspec.Meta(ge=0, le=2**62)] | None = None
    at_least: Annotated[
        int, msgspec.Meta(ge=0, le=2**62, description="The minimum snapshot number, such as that of a preceding write.")
    ] = 0
    freshness: Annotated[
        float, msgspec.Meta(ge=0, le=86_400, description="Maximum staleness of the newest snapshot in seconds.")
    ] = 0.0
    candidates: Annotated[int, msgspec.Meta(ge=1)] | Literal["all"] | None = None
    matches: bool = False


def read_search(body: bytes) -> SearchRequest:
    """Return the request of a JSON body.

    Raises
    ------
    InputError
        The body is too large or not a valid search.
    MissingDependencyError
        The filter is in SQL, and sqlglot is not installed.
    """
    if len(body) > LARGEST_BODY:
        raise InputError(f"the body is too large ({len(body)} bytes); send fewer vectors")
    try:
        search = msgspec.json.decode(body, type=SearchBody)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"the body is not a valid search: {str(error)[:300]}") from None
    given_queries = 5 - [search.text, search.vector, search.vectors, search.query_vectors, search.queries].count(None)
    if given_queries != 1 and (given_queries or (search.words is None and search.leg is None)):
        raise InputError(
            "exactly one of text, vector, vectors, query_vectors and queries is required, or words or leg alone"
        )
    check_offset(search.offset, search.k)
    fields = _with_leg(search, _queries(search) if given_queries else {"dimensions": 0, "queries": b""})
    if fields["count"] * search.k > MOST_HITS:
        raise InputError(
            f"queries times k must be at most {MOST_HITS:,}, got {fields['count']:,} times {search.k:,}; send fewer queries at a time"
        )
    return SearchRequest(
        options=Options(
            k=search.k,
            where=encode_where(search.where),
            nprobe=search.nprobe,
            exact=search.exact and "documents" not in fields,
            min_score=search.min_score,
            columns=search.columns,
            offset=search.offset,
        ),
        snapshot=search.snapshot,
        at_least=search.at_least,
        freshness=search.freshness,
        remaining=search.timeout,
        allow_partial=search.allow_partial,
        **fields,
    )


def _with_leg(search: SearchBody, fields: dict[str, Any]) -> dict[str, Any]:
    """Add the words of a body, or the queries of another leg, to the fields of a message."""
    chosen = _leg_of(search)
    fusing = search.fusion, search.weights, search.depth
    if chosen is None:
        if fusing != (None, None, None):
            raise InputError("fusion, weights and depth require words, a leg, or text and hybrid")
        return fields
    from vsearch.legs.fusing import FusionOptions
    from vsearch.legs.registry import find_leg

    name, queries, argument = chosen
    leg = find_leg(name)
    encoded = tuple(leg.read(queries, argument))
    if not 1 <= len(encoded) <= MOST_TEXTS:
        raise InputError(f"{argument} must be one {leg.query} or a list of 1 to {MOST_TEXTS}, got {len(encoded)}")
    if search.min_score is not None:
        raise InputError(f"min_score cannot be combined with {argument}")
    if "count" not in fields:
        for option in ("fusion", "weights", "depth", "nprobe", "candidates"):
            if getattr(search, option) is not None:
                raise InputError(f"{option} requires vectors or text, got only {argument}")
        if search.exact or search.matches:
            raise InputError(f"exact and matches require vectors, got only {argument}")
        return fields | {"count": len(encoded), "leg": LegQueries(name, encoded)}
    if "documents" in fields:
        raise InputError(f"{argument} cannot be combined with query_vectors or queries")
    if len(encoded) != fields["count"]:
        raise InputError(
            f"there must be one {leg.query} in {argument} for each of {fields['count']} queries, got {len(encoded)}"
        )
    fusion = FusionOptions.of(*fusing, search.k, search.offset)
    kind: Any = fusion.fusion
    return fields | {"leg": LegQueries(name, encoded, depth=fusion.depth, fusion=kind, weights=fusion.weights)}


def _leg_of(search: SearchBody) -> tuple[str, Any, str] | None:
    """Return the name of the leg of a body, its queries, and what users call these; None without one."""
    words = check_hybrid(search.text, search.words) if search.hybrid else search.words
    if search.leg is None:
        return None if words is None else ("text", words, "words")
    if words is not None or len(search.leg) != 1:
        raise InputError(f"leg must name one leg, without words or hybrid, got {', '.join(search.leg) or 'none':.100}")
    ((name, queries),) = search.leg.items()
    return name, queries, f"the leg {name}"


def _queries(search: SearchBody) -> dict[str, Any]:
    """Return the fields of a message with the queries of a body."""
    if search.text is not None:
        texts = as_texts(search.text)
        if texts is None or len(texts) > MOST_TEXTS:
            raise InputError(f"text must be a string or a list of 1 to {MOST_TEXTS} strings, got {len(search.text)}")
        _documents(search, np.empty((0, 0), np.float32), [])
        return {"count": len(texts), "dimensions": 0, "queries": b"", "texts": tuple(map(text_bytes, texts))}
    several = search.queries or ([search.query_vectors] if search.query_vectors else [])
    rows = (
        search.vectors
        or ([search.vector] if search.vector else [])
        or [vector for query in several for vector in query]
    )
    if not rows or not rows[0] or any(len(row) != len(rows[0]) for row in rows) or not all(several):
        raise InputError("vectors must be one or more nonempty lists of the same length")
    vectors = check_queries(np.array(rows, np.float64), len(rows[0]))
    fields: dict[str, Any] = {"dimensions": vectors.shape[1]}
    documents = _documents(search, vectors, [len(query) for query in several])
    if documents is not None:
        return fields | {"count": len(several), "queries": b"", "documents": documents}
    return fields | {"count": len(vectors), "queries": vectors.astype("<f4").tobytes()}


def _documents(search: SearchBody, vectors: NDArray[np.float32], lengths: list[int]) -> Documents | None:
    """Return the multi-vector queries of a body, with `lengths` vectors each; None for single vectors."""
    if not lengths:
        if search.matches or search.candidates is not None:
            raise InputError(
                "candidates and matches require query_vectors or queries, on an index of multi-vector documents"
            )
        return None
    if search.nprobe is not None or search.min_score is not None:
        raise InputError("nprobe and min_score cannot be combined with multi-vector queries")
    from vsearch.fanout.roles.multivector import pack_documents  # MaxSim is loaded if it is needed
    from vsearch.multivector.queries import check_request

    request = check_request(None, search.k, search.candidates, exact=search.exact, deadline=None)
    return pack_documents(np.split(vectors, np.cumsum(lengths)[:-1]), request, matches=search.matches)


def make_document(reply: Answer, request: SearchRequest) -> dict[str, Any]:
    """Return the JSON document of an answer."""
    columns = request.options.columns
    scores = floats(reply.scores).tolist()
    ids = to_values(reply.ids) if reply.ids is not None else []
    requested = reply.columns[: len(columns)]
    attributes = zip(*(to_values(column) for column in requested), strict=True) if columns else ((),) * len(ids)
    rows = [
        {"id": id_, "score": score, "columns": dict(zip(columns, values, strict=True))}
        for id_, score, values in zip(ids, scores, attributes, strict=True)
    ]
    if request.documents is not None and request.documents.matches and rows:
        from vsearch.fanout.roles.multivector import read_matches

        for row, positions, values in zip(rows, *read_matches(reply.columns), strict=True):
            pairs = zip(positions.tolist(), values.tolist(), strict=True)
            row["matches"] = [{"position": position, "score": score} for position, score in pairs]
    if request.leg is not None and request.leg.depth is not None:
        names = [f"{part}_{kind}" for part in ("vector", request.leg.name) for kind in ("score", "rank")]
        for name, column in zip(names, reply.columns[len(columns) :], strict=True):
            for row, value in zip(rows, to_values(column), strict=True):
                row[name] = value
    hits, first = [], 0
    for count in int32s(reply.found).tolist():
        hits.append(rows[first : first + count])
        first += count
    return {
        "hits": hits,
        "complete": not reply.outcomes,
        "snapshot": reply.snapshot,
        "plan": reply.plan,
        "bill": make_bill(reply.usages, LAMBDA.prices_of(reply.arch)).to_dict(),
        "failed": [msgspec.to_builtins(outcome) for outcome in reply.outcomes],
        **({"warnings": list(reply.warnings)} if reply.warnings else {}),
    }
