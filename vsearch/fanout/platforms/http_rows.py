"""Changes over HTTP: ``POST``, ``PATCH`` and ``DELETE /rows``, passed on to the stack's writer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import parse_qs
from uuid import uuid4

import msgspec

from vsearch.errors import InputError, MissingDependencyError
from vsearch.fanout.calls.bill import Usage, Usages, make_bill
from vsearch.fanout.calls.invoker import Names
from vsearch.fanout.calls.retries import CallError, Deadline, ErrorKind
from vsearch.fanout.calls.telemetry import traceparent
from vsearch.fanout.platforms.aws_lambda import LAMBDA
from vsearch.fanout.roles.calling import call
from vsearch.fanout.roles.worker import Worker
from vsearch.fanout.wire.change_messages import (
    LONGEST_TOKEN,
    BadRows,
    Committed,
    Form,
    Operation,
    WriteRequest,
    counted,
)
from vsearch.fanout.wire.where import encode_where

OPERATIONS: dict[str, Operation] = {"POST": "append", "PATCH": "update", "DELETE": "delete"}

TOKEN_HEADER = "idempotency-key"  # noqa: S105 (no secret)

SHOWN = {ErrorKind.PREDICATE: ErrorKind.REFUSED, ErrorKind.SNAPSHOT: ErrorKind.MISSING}
"""Error kinds that HTTP clients see under another name."""

REFUSED = {"error": "refused"}


class RowsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The query string of a change."""

    upsert: bool = False
    dry_run: bool = False
    if_snapshot: Annotated[int, msgspec.Meta(ge=0, le=2**62)] | None = None
    timeout: Annotated[float, msgspec.Meta(gt=0, le=900)] | None = None


class RowBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row to append or upsert. Times and decimals are strings, times without a zone in UTC; attributes that are left out are NULL."""

    vector: list[float]
    id: int | str | None = None
    columns: dict[str, Any] = {}


class RowsBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The JSON body of ``POST /rows``."""

    rows: list[RowBody]


class ChangeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The JSON body of ``PATCH`` and ``DELETE /rows``: `ids` or `where`, and the `values` of an update.

    With `where`, a value is for all rows; with `ids`, a list with one value for each.
    """

    ids: list[int | str] | None = None
    where: str | dict[str, Any] | None = None
    values: dict[str, Any] = {}


def answer_rows(
    worker: Worker, method: str, query: str, headers: Mapping[str, str], body: bytes, deadline: Deadline
) -> tuple[int, dict[str, Any]]:
    """Answer a request whose write key was checked with a status and a JSON document."""
    if method not in OPERATIONS:
        return 405, {**REFUSED, "message": f"requests to /rows must be POST, PATCH or DELETE, got {method[:20]}"}
    arrived = time.perf_counter()
    try:
        request, timeout = read_request(method, query, headers, body)
    except (InputError, MissingDependencyError) as error:
        return 400, {**REFUSED, "message": str(error)}
    names = worker.names or Names("vsearch")
    try:
        reply, wasted = call(
            worker, names.writer, request, deadline.sooner(timeout), "writer", _require_change, traceparent()
        )
    except CallError as error:
        kind = SHOWN.get(error.kind, error.kind)
        return STATUS.get(kind, 500), {"error": str(kind), "message": str(error)}
    if isinstance(reply, BadRows):
        rows = [{"position": fault.position, "message": fault.message} for fault in reply.faults]
        message = f"{counted(reply.count)} invalid; nothing was changed"
        return 400, {"error": "bad rows", "message": message, "count": reply.count, "rows": rows}
    seconds = time.perf_counter() - arrived
    usage = Usage(1, 0, 0, seconds, seconds * worker.memory / 1024)
    usages = reply.usages + wasted + Usages.of("coordinator", usage)
    return 200, {
        "snapshot": reply.snapshot,
        "added": reply.added,
        "replaced": reply.replaced,
        "deleted": reply.deleted,
        "bill": make_bill(usages, LAMBDA.prices_of(reply.arch)).to_dict(),
    }


STATUS = {
    ErrorKind.REFUSED: 400,
    ErrorKind.CONFLICT: 409,
    ErrorKind.TOO_LARGE: 413,
    ErrorKind.ABSENT: 404,
    ErrorKind.DEADLINE: 504,
    ErrorKind.TIMEOUT: 504,
    ErrorKind.THROTTLED: 503,
    ErrorKind.UNREACHABLE: 502,
    ErrorKind.MISSING: 502,
    ErrorKind.SNAPSHOT: 502,
    ErrorKind.CORRUPT: 502,
    ErrorKind.STORE: 502,
}


def read_request(method: str, query: str, headers: Mapping[str, str], body: bytes) -> tuple[WriteRequest, float | None]:
    """Read a change; returns the message to the writer and the timeout in seconds.

    Rows are passed on unchanged: the writer checks them.

    Raises
    ------
    InputError
        The method, a header, a parameter or the body is invalid.
    """
    options = _read_query(query)
    if options.upsert and method != "POST":
        raise InputError(f"upsert is only allowed with POST, got {method}")
    operation: Operation = "upsert" if options.upsert else OPERATIONS[method]
    token = headers.get(TOKEN_HEADER) or uuid4().hex
    if len(token) > LONGEST_TOKEN:
        raise InputError(f"Idempotency-Key must have at most {LONGEST_TOKEN} characters, got {len(token)}")
    form: Form = "arrow" if "arrow" in headers.get("content-type", "").lower() else "json"
    where = None
    if method != "POST" and form == "json":
        try:
            change = msgspec.json.decode(body or b"{}", type=ChangeBody)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InputError(f"the body is not a change of rows: {str(error)[:300]}") from None
        if (change.ids is None) == (change.where is None):
            raise InputError("pass either ids or where")
        if change.where is not None:
            from vsearch.predicates.parsing import parse_selection

            parse_selection(change.where)
        where = encode_where(change.where)
        ids = {} if change.ids is None else {"ids": change.ids}
        body = msgspec.json.encode({**ids, "values": change.values}) if ids or change.values else b""
    request = WriteRequest(
        operation=operation,
        token=token,
        form=form,
        body=body,
        where=where,
        if_snapshot=options.if_snapshot,
        dry_run=options.dry_run,
    )
    return request, options.timeout


def _read_query(query: str) -> RowsQuery:
    try:
        values = {name: texts[-1] for name, texts in parse_qs(query, keep_blank_values=True, max_num_fields=10).items()}
        return msgspec.convert(values, RowsQuery, strict=False)
    except (ValueError, msgspec.ValidationError) as error:
        raise InputError(f"the query string is invalid: {str(error)[:300]}") from None


def _require_change(reply: Any) -> None:
    if not isinstance(reply, Committed | BadRows):
        raise InputError(f"the reply is a {type(reply).__name__}, not a change")


def describe_schemas() -> dict[str, Any]:
    """Schemas of the OpenAPI description by name."""
    _, schemas = msgspec.json.schema_components([RowsBody, ChangeBody], ref_template="#/components/schemas/{name}")
    counts = {name: {"type": "integer"} for name in ("snapshot", "added", "replaced", "deleted")}
    fault = {
        "type": "object",
        "required": ["position", "message"],
        "properties": {"position": {"type": "integer"}, "message": {"type": "string"}},
    }
    return {
        **schemas,
        "Change": {
            "type": "object",
            "required": list(counts),
            "properties": {**counts, "bill": {"type": "object"}},
            "description": "`snapshot` contains the change; pass it as `at_least` so that a search sees the change.",
        },
        "BadRows": {
            "type": "object",
            "required": ["error", "message"],
            "properties": {
                "error": {"type": "string"},
                "message": {"type": "string"},
                "count": {"type": "integer", "description": "Number of invalid rows that were found."},
                "rows": {"type": "array", "items": fault, "description": "The first invalid rows."},
            },
        },
    }


def describe_paths(failed: dict[str, Any]) -> dict[str, Any]:
    """The path ``/rows`` of the OpenAPI description.

    Parameters
    ----------
    failed : dict
        Content of an error.
    """
    texts = {
        "401": "The write key is missing or wrong",
        "404": "The stack has no writer",
        "409": "`if_snapshot` is not the newest, or the index was rebuilt in the meantime",
        "413": "The request is too large",
        "500": "An error in vsearch",
        "502": "The index or the writer cannot be reached",
        "503": "Too many concurrent requests",
        "504": "The time ran out; repeat the request with the same key",
    }
    bad = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/BadRows"}}}}
    answers = {
        "200": {
            "description": "The change is committed",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Change"}}},
        },
        "400": {"description": "Invalid; nothing was changed", **bad},
        **{status: {"description": text, **failed} for status, text in texts.items()},
    }
    token = {
        "name": "Idempotency-Key",
        "in": "header",
        "schema": {"type": "string", "maxLength": LONGEST_TOKEN},
        "description": "A request that is repeated with the same key takes effect only once.",
    }
    query = {
        "if_snapshot": ({"type": "integer"}, "Commit only if this is the newest snapshot."),
        "timeout": ({"type": "number"}, "Timeout in seconds."),
    }
    upsert = {"upsert": ({"type": "boolean"}, "Replace rows with the same ids.")}
    dry_run = {"dry_run": ({"type": "boolean"}, "Count the rows without deleting any.")}

    def operation(name: str, summary: str, schema: str, parameters: dict[str, Any]) -> dict[str, Any]:
        reference = {"schema": {"$ref": f"#/components/schemas/{schema}"}}
        arrow = {"schema": {"type": "string", "format": "binary"}}
        return {
            "operationId": name,
            "summary": summary,
            "security": [{"write-key": []}],
            "parameters": [
                token,
                *(
                    {"name": parameter, "in": "query", "schema": kind, "description": text}
                    for parameter, (kind, text) in parameters.items()
                ),
            ],
            "requestBody": {
                "required": True,
                "content": {"application/json": reference, "application/vnd.apache.arrow.stream": arrow},
            },
            "responses": answers,
        }

    return {
        "post": operation("append", "Append or upsert rows", "RowsBody", upsert | query),
        "patch": operation("update", "Change attributes of rows", "ChangeBody", query),
        "delete": operation("delete", "Delete rows", "ChangeBody", dry_run | query),
    }
