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
from typing import Any

import msgspec

from vsearch.errors import InputError, MissingDependencyError
from vsearch.fanout.calls.retries import Deadline, ErrorKind
from vsearch.fanout.platforms import http_rows
from vsearch.fanout.platforms.http_searches import SearchBody, make_document, read_search
from vsearch.fanout.roles.worker import Worker, serve
from vsearch.fanout.wire import codec as wire
from vsearch.fanout.wire.messages import Answer, Failure

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

LARGEST_ANSWER = 6_000_000
"""Maximum bytes of a JSON document as a string in the platform's reply, which may have 6 MB in all."""

TOO_LARGE = {"error": "too large", "message": "the answer is too large; send fewer queries or use a smaller k"}


@dataclass(frozen=True)
class KeyHashes:
    """SHA-256 of the keys in hex; an empty hash matches no key.

    Attributes
    ----------
    search : str
        Hash of the API key, which clients send in the header x-api-key.
    write : str
        Hash of the write key, which clients send in the header x-write-key.
    """

    search: str = ""
    write: str = ""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> KeyHashes:
        """Return the hashes that a function was deployed with."""
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
        return 405, {"error": "refused", "message": f"requests to /search must be POST, got {method[:20]}"}
    arrived = time.monotonic()
    try:
        request = read_search(body)
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
    return 200, make_document(reply, request)


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
            "position": {"type": "integer", "description": "Position in the document as it was passed."},
            "score": {"type": "number"},
        },
    }
    hit = {
        "type": "object",
        "required": ["id", "score", "columns"],
        "properties": {
            "id": {"type": ["integer", "string"]},
            "score": {"type": "number"},
            "columns": {"type": "object", "description": "The requested attributes."},
            "vector_score": {
                "type": "number",
                "description": "Score by vectors, for hits by vectors and words or another leg.",
            },
            "vector_rank": {"type": "integer", "description": "Rank by vectors, from 1."},
            "text_score": {"type": "number", "description": "Score by words; 0 if the row has none of them."},
            "text_rank": {
                "type": "integer",
                "description": "Rank by words, from 1; 0 if the row has none of them. Other legs have <name>_score and <name>_rank.",
            },
            "matches": {
                "type": "array",
                "items": match,
                "description": "If requested: the best matching document vector of each query vector.",
            },
        },
    }
    reply = {
        "type": "object",
        "required": ["hits", "complete", "snapshot"],
        "properties": {
            "hits": {"type": "array", "items": {"type": "array", "items": hit}, "description": "One list per query."},
            "complete": {"type": "boolean"},
            "warnings": {"type": "array", "items": {"type": "string"}, "description": "Warnings about the queries."},
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
        "401": "The API key is missing or wrong",
        "404": "The snapshot does not exist, or not yet",
        "413": "The request or the answer is too large",
        "500": "An error in vsearch",
    }
    statuses |= {"502": "The index cannot be read", "503": "Too many concurrent requests", "504": "The time ran out"}
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
