"""Search over HTTP with JSON, ``POST /search``; changes are passed on. ``GET /openapi.json`` describes both."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.checks import check_offset
from vsearch.encoders.queries import as_texts
from vsearch.errors import InputError, MissingDependencyError
from vsearch.fanout.calls.bill import make_bill
from vsearch.fanout.calls.retries import Deadline, ErrorKind
from vsearch.fanout.platforms import http_rows
from vsearch.fanout.platforms.aws_lambda import LAMBDA, LIMITS
from vsearch.fanout.roles.worker import Worker, serve
from vsearch.fanout.wire import codec as wire
from vsearch.fanout.wire.messages import (
    LARGEST_K,
    MOST_TEXTS,
    Answer,
    Documents,
    Failure,
    Options,
    SearchRequest,
    floats,
    int32s,
    text_bytes,
)
from vsearch.fanout.wire.values import to_values
from vsearch.fanout.wire.where import encode_where
from vsearch.search.state.model import check_queries

STATUS = {
    ErrorKind.REFUSED: 400,
    ErrorKind.PREDICATE: 400,
    ErrorKind.TOO_LARGE: 413,
    ErrorKind.DEADLINE: 504,
    ErrorKind.TIMEOUT: 504,
    ErrorKind.THROTTLED: 503,
    ErrorKind.MISSING: 502,
    ErrorKind.SNAPSHOT: 502,  # 404 if the request names it
    ErrorKind.CORRUPT: 502,
    ErrorKind.STORE: 502,
}

LARGEST_BODY = LIMITS.request_bytes

LARGEST_ANSWER = 6_000_000
"""Bytes of a JSON document as a string in the platform's reply, which takes 6 MB with all that is around it."""

TOO_LARGE = {"error": "too large", "message": "the answer is too large; ask for fewer queries or a smaller k"}


class SearchBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The JSON body of a search: `vector`, `vectors` or `text`; for multi-vector documents, `query_vectors` or `queries`."""

    text: (
        Annotated[
            str | list[str], msgspec.Meta(description="One text or several, for an index that holds a text encoder.")
        ]
        | None
    ) = None
    vector: list[float] | None = None
    vectors: list[list[float]] | None = None
    query_vectors: list[list[float]] | None = None
    queries: list[list[list[float]]] | None = None
    k: Annotated[int, msgspec.Meta(ge=1, le=LARGEST_K)] = 10
    offset: Annotated[int, msgspec.Meta(ge=0, lt=LARGEST_K)] = 0
    where: str | dict[str, Any] | None = None
    columns: tuple[str, ...] = ()
    nprobe: Annotated[int, msgspec.Meta(ge=1, le=2**31)] | None = None
    exact: bool = False
    min_score: float | None = None
    timeout: Annotated[float, msgspec.Meta(gt=0, le=900)] | None = None
    allow_partial: bool = False
    snapshot: Annotated[int, msgspec.Meta(ge=0, le=2**62)] | None = None
    at_least: Annotated[
        int, msgspec.Meta(ge=0, le=2**62, description="The least snapshot that will do, such as that of an own write.")
    ] = 0
    freshness: Annotated[
        float, msgspec.Meta(ge=0, le=86_400, description="Seconds by which the newest snapshot may be late.")
    ] = 0.0
    candidates: Annotated[int, msgspec.Meta(ge=1)] | Literal["all"] | None = None
    matches: bool = False


@dataclass(frozen=True)
class KeyHashes:
    """SHA-256 of the keys in hex; where one is empty, nobody is let in.

    Attributes
    ----------
    search : str
        Of the API key, in the header x-api-key.
    write : str
        Of the write key, in the header x-write-key.
    """

    search: str = ""
    write: str = ""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> KeyHashes:
        """Those that a function was deployed with."""
        return cls(environment.get("VSEARCH_API_KEY_SHA256", ""), environment.get("VSEARCH_WRITE_KEY_SHA256", ""))


def answer(
    worker: Worker,
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    keys: KeyHashes,
    deadline: Deadline,
    query: str = "",
) -> tuple[int, dict[str, Any]]:
    """Answer a request with a status and a JSON document.

    Parameters
    ----------
    worker : Worker
        A coordinator.
    headers : mapping
        Names in lower case.
    keys : KeyHashes
    query : str
        The query string, of changes only.
    """
    if method == "GET" and path == "/openapi.json":
        return 200, describe()
    if path == "/rows":
        if not keys.write:
            return 404, {"error": "absent", "message": "this stack has no writer; deploy it with a write key"}
        if not knows_key(headers, "x-write-key", keys.write):
            return 401, {"error": "denied", "message": "send the write key in the header x-write-key"}
        return http_rows.answer_rows(worker, method, query, headers, body, deadline)
    if not knows_key(headers, "x-api-key", keys.search):
        return 401, {"error": "denied", "message": "send the API key in the header x-api-key"}
    if path != "/search":
        return 404, {"error": "absent", "message": f"there is no {path[:100]!r}; POST to /search, or to /rows"}
    if method != "POST":
        return 405, {"error": "refused", "message": "POST to /search"}
    arrived = time.monotonic()
    try:
        request = _request(body)
    except (InputError, MissingDependencyError) as error:
        return 400, {"error": "refused", "message": str(error)}
    if request.remaining is not None:  # counted from when the request came, not from when it was read
        left = arrived + request.remaining - time.monotonic()
        if left <= 0:
            return 504, {"error": str(ErrorKind.DEADLINE), "message": "the time ran out while the request was read"}
        request = msgspec.structs.replace(request, remaining=left)
    reply = wire.decode(serve(worker, wire.encode(request), deadline.sooner(request.remaining)))
    if isinstance(reply, Failure):
        kind = ErrorKind(reply.error)
        named = request.snapshot is not None or request.at_least > 0
        status = 404 if kind is ErrorKind.SNAPSHOT and named else STATUS.get(kind, 500)
        return status, {"error": str(http_rows.SHOWN.get(kind, kind)), "message": reply.message}
    if not isinstance(reply, Answer):
        return 413, TOO_LARGE
    return 200, _document(reply, request)


def answer_event(worker: Worker, event: Any, keys: KeyHashes, deadline: Deadline) -> dict[str, Any]:
    """Answer an event of a Lambda function URL or an HTTP API (payload format 2.0)."""
    status, document = 400, {"error": "refused", "message": "the event is not an HTTP request"}
    if isinstance(event, dict):
        try:
            method = str(event["requestContext"]["http"]["method"]).upper()
            path = _path(event)
            headers = {str(name).lower(): str(value) for name, value in (event.get("headers") or {}).items()}
            body, query = _body(event), str(event.get("rawQueryString") or "")
        except (KeyError, TypeError, AttributeError, binascii.Error, ValueError):
            pass
        else:
            status, document = answer(worker, method, path, headers, body, keys, deadline, query)
    text = json.dumps(document, allow_nan=False)
    if len(text) + text.count('"') + text.count("\\") > LARGEST_ANSWER:  # the platform's JSON escapes these
        status, text = 413, json.dumps(TOO_LARGE)
    return {
        "statusCode": status,
        "headers": {"content-type": "application/json"},
        "body": text,
        "isBase64Encoded": False,
    }


def describe() -> dict[str, Any]:
    """Return the OpenAPI description."""
    schemas, components = msgspec.json.schema_components([SearchBody], ref_template="#/components/schemas/{name}")
    failed = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
    match = {
        "type": "object",
        "required": ["position", "score"],
        "properties": {
            "position": {"type": "integer", "description": "Place in the document as it was given."},
            "score": {"type": "number"},
        },
    }
    hit = {
        "type": "object",
        "required": ["id", "score", "columns"],
        "properties": {
            "id": {"type": ["integer", "string"]},
            "score": {"type": "number"},
            "columns": {"type": "object", "description": "The attributes that were asked for."},
            "matches": {
                "type": "array",
                "items": match,
                "description": "Where asked for: for each query vector the document's vector that it met.",
            },
        },
    }
    reply = {
        "type": "object",
        "required": ["hits", "complete", "snapshot"],
        "properties": {
            "hits": {"type": "array", "items": {"type": "array", "items": hit}, "description": "One list a query."},
            "complete": {"type": "boolean"},
            "snapshot": {"type": "integer"},
            "plan": {"type": "string"},
            "bill": {"type": "object"},
            "failed": {"type": "array", "items": {"type": "object"}},
        },
    }
    error = {
        "type": "object",
        "required": ["error", "message"],
        "properties": {"error": {"type": "string"}, "message": {"type": "string"}},
    }
    statuses = {
        "400": "The request is invalid",
        "401": "No or a wrong API key",
        "404": "No such snapshot, or none so new yet",
        "413": "Too large",
        "500": "An error in vsearch",
    }
    statuses |= {"502": "The index cannot be read", "503": "Too many concurrent requests", "504": "Out of time"}
    document = {
        "openapi": "3.1.0",
        "info": {"title": "vsearch", "version": "1", "description": "Nearest rows that satisfy a predicate."},
        "paths": {
            "/search": {
                "post": {
                    "operationId": "search",
                    "security": [{"key": []}],
                    "requestBody": {"required": True, "content": {"application/json": {"schema": schemas[0]}}},
                    "responses": {
                        "200": {
                            "description": "The nearest rows, best first",
                            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Answer"}}},
                        },
                        **{status: {"description": text, **failed} for status, text in statuses.items()},
                    },
                }
            },
            "/rows": http_rows.describe_paths(failed),
        },
        "components": {
            "schemas": {**components, **http_rows.describe_schemas(), "Answer": reply, "Error": error},
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                "write-key": {"type": "apiKey", "in": "header", "name": "x-write-key"},
            },
        },
    }
    described: dict[str, Any] = json.loads(json.dumps(document))  # defaults may be tuples
    return described


def knows_key(headers: Mapping[str, str], header: str, key_hash: str) -> bool:
    """Whether a header holds the key of a hash; compared in constant time."""
    received = hashlib.sha256(headers.get(header, "").encode("utf-8", "surrogatepass")).hexdigest()
    return bool(key_hash) and hmac.compare_digest(received, key_hash.lower())


def _path(event: Mapping[str, Any]) -> str:
    """Return the path without the stage of an HTTP API, which function URLs do not have."""
    path, stage = str(event.get("rawPath") or "/"), str(event["requestContext"].get("stage") or "$default")
    return path.removeprefix(f"/{stage}") if path.startswith(f"/{stage}/") else path


def _body(event: Mapping[str, Any]) -> bytes:
    text = event.get("body") or ""
    if event.get("isBase64Encoded"):
        return base64.b64decode(text, validate=True)
    return str(text).encode()


def _request(body: bytes) -> SearchRequest:
    if len(body) > LARGEST_BODY:
        raise InputError(f"the body is too large ({len(body)} bytes); send fewer vectors")
    try:
        search = msgspec.json.decode(body, type=SearchBody)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"the body is not a valid search: {str(error)[:300]}") from None
    if [search.text, search.vector, search.vectors, search.query_vectors, search.queries].count(None) != 4:
        raise InputError("exactly one of text, vector, vectors, query_vectors and queries is required")
    check_offset(search.offset, search.k)
    queries = _queries(search)
    return SearchRequest(
        options=Options(
            k=search.k,
            where=encode_where(search.where),
            nprobe=search.nprobe,
            exact=search.exact and "documents" not in queries,
            min_score=search.min_score,
            columns=search.columns,
            offset=search.offset,
        ),
        snapshot=search.snapshot,
        at_least=search.at_least,
        freshness=search.freshness,
        remaining=search.timeout,
        allow_partial=search.allow_partial,
        **queries,
    )


def _queries(search: SearchBody) -> dict[str, Any]:
    """Return the fields of a message with the queries of a body."""
    if search.text is not None:
        texts = as_texts(search.text)
        if texts is None or len(texts) > MOST_TEXTS:
            raise InputError(f"text must be a string or a list of 1 to {MOST_TEXTS} strings, got {len(search.text)}")
        _documents(search, np.empty((0, 0), np.float32), [])
        return {"count": len(texts), "dimensions": 0, "queries": b"", "texts": tuple(map(text_bytes, texts))}
    several = search.queries or ([search.query_vectors] if search.query_vectors else [])
    lists = (
        search.vectors
        or ([search.vector] if search.vector else [])
        or [vector for query in several for vector in query]
    )
    if not lists or not lists[0] or any(len(one) != len(lists[0]) for one in lists) or not all(several):
        raise InputError("vectors must be one or more nonempty lists of the same length")
    vectors = check_queries(np.array(lists, np.float64), len(lists[0]))
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
    from vsearch.fanout.roles.multivector import pack_documents  # MaxSim is only loaded if it is needed
    from vsearch.multivector.queries import check_request

    request = check_request(None, search.k, search.candidates, exact=search.exact, deadline=None)
    return pack_documents(np.split(vectors, np.cumsum(lengths)[:-1]), request, matches=search.matches)


def _document(reply: Answer, request: SearchRequest) -> dict[str, Any]:
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
    }
