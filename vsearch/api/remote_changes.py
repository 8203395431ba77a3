"""Changes of an index by the functions of its stack: the writer commits them, the keeper maintains the index."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID, uuid4

import msgspec

from vsearch.api.remote_client import Client
from vsearch.api.remote_refusals import RefusesChanges
from vsearch.building.inputs.python_values import python_array
from vsearch.errors import InputError
from vsearch.fanout.calls.retries import Deadline
from vsearch.fanout.wire.change_messages import (
    BadRows,
    Committed,
    KeepRequest,
    Kept,
    Operation,
    WriteRequest,
    column_of_attribute,
    counted,
)
from vsearch.fanout.wire.where import encode_where

if TYPE_CHECKING:
    import pyarrow as pa

    from vsearch.live.commits import Commit
    from vsearch.live.optimizing import OptimizeReport
    from vsearch.predicates import Where

NAMED = 5
"""Number of invalid rows that a message lists."""

ENVELOPE_BYTES = 4096
"""Bytes of a message in addition to its rows."""

LARGEST_PART = 64 << 20
"""Maximum number of bytes of rows in one message."""

NO_WRITER = "the stack has no writer: deploy it with `vsearch deploy --writer`, or open the index by its own URL"
NO_KEEPER = (
    "the stack has no keeper: deploy it with `vsearch deploy --optimize-every`, or open the index by its own URL"
)


class RemoteChanges(RefusesChanges):
    """Changes through a stack with a writer. Each is one commit, unless its rows exceed the platform's limit."""

    _client: Client

    def append(
        self,
        embeddings: object,
        attributes: object | None = None,
        ids: object | None = None,
        *,
        offsets: object | None = None,
        saliency: object | None = None,
        vectors: str | None = None,
        id: str | None = None,
        missing: Literal["error", "skip"] = "error",
        packed: bool = False,
        token: str | None = None,
        if_snapshot: int | None = None,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> Commit:
        """Add rows; see `vsearch.Index.append`.

        Rows over the platform's limit for a message take several commits: on AWS over 4 MB, with an overflow store over 64 MB.
        The result counts all of them, and has the snapshot of the last. If one fails, those before it are kept; a repetition
        with the same `token` does not add them again. An index remembers the 256 newest tokens.

        Raises
        ------
        InputError
            Rows are invalid, or their ids are in the index already.
        ConflictError
            The index was rebuilt or retrained in the meantime, or `if_snapshot` is not the newest snapshot.
        RemoteError
            The stack has no writer, or it failed. The change can be repeated with the same `token`.
        """
        from vsearch.building.inputs.rows import InputArguments

        _check_documents(offsets, saliency)
        arguments = InputArguments(attributes, ids, vectors, id, missing, packed)
        return self._add("append", embeddings, arguments, token, if_snapshot, progress)

    def upsert(
        self,
        embeddings: object,
        attributes: object | None = None,
        ids: object | None = None,
        *,
        offsets: object | None = None,
        saliency: object | None = None,
        vectors: str | None = None,
        id: str | None = None,
        missing: Literal["error", "skip"] = "error",
        packed: bool = False,
        token: str | None = None,
        if_snapshot: int | None = None,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> Commit:
        """Add rows, replacing existing rows with the same ids; see `vsearch.Index.upsert`, and `append` for large batches."""
        from vsearch.building.inputs.rows import InputArguments

        _check_documents(offsets, saliency)
        arguments = InputArguments(attributes, ids, vectors, id, missing, packed)
        return self._add("upsert", embeddings, arguments, token, if_snapshot, progress)

    def update(
        self,
        values: Mapping[str, Any],
        *,
        ids: object | None = None,
        where: Where = None,
        token: str | None = None,
        if_snapshot: int | None = None,
    ) -> Commit:
        """Change attributes of rows; see `vsearch.Index.update`.

        Raises
        ------
        InputError, ConflictError, RemoteError
            As for `append`.
        """
        import pyarrow as pa

        if not isinstance(values, Mapping) or not values:
            raise InputError(f"values must be a dict with a value for at least one attribute, got {values!r:.100}")
        _check_selection(ids, where)
        columns = {}
        try:
            if ids is not None:
                columns["id"] = _id_column(ids)
            for name, value in values.items():
                single = ids is None or isinstance(value, (str, pa.Scalar)) or not isinstance(value, Iterable)
                single = single or (_is_flat(value) and self._holds_lists(name))
                count = 1 if ids is None else len(columns["id"])
                columns[column_of_attribute(name)] = _repeated(value, count) if single else _as_arrow(value)
            table = pa.table(columns)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise InputError(f"values must be one value, or with ids an array with one value per id: {error}") from None
        return self._write("update", _stream(table), where, token, if_snapshot)

    def delete(
        self,
        ids: object | None = None,
        *,
        where: Where = None,
        token: str | None = None,
        if_snapshot: int | None = None,
    ) -> Commit:
        """Remove rows, by id or by predicate; see `vsearch.Index.delete`.

        Raises
        ------
        InputError, ConflictError, RemoteError
            As for `append`.
        """
        import pyarrow as pa

        _check_selection(ids, where)
        body = b"" if ids is None else _stream(pa.table({"id": _id_column(ids)}))
        return self._write("delete", body, where, token, if_snapshot)

    def optimize(
        self,
        budget_seconds: float | None = None,
        retune: bool | str = "auto",
        *,
        force: bool = False,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> OptimizeReport:
        """Let the keeper run pending maintenance; see `vsearch.Index.optimize`.

        Raises
        ------
        InputError
            An option is invalid.
        RemoteError
            The stack has no keeper, or it failed.
        """
        from vsearch.live.maintenance import check_options
        from vsearch.live.optimizing import OptimizeReport

        check_options(budget_seconds, retune)
        request = KeepRequest(
            force=bool(force),
            retune="auto" if retune == "auto" else bool(retune),
            budget=None if budget_seconds is None else float(budget_seconds),
        )
        if progress is not None:
            progress("optimize", 0, 1)
        kept: Kept = self._client.call(self._client.names.keeper, request, Kept, absent=NO_KEEPER)
        if progress is not None:
            progress("optimize", 1, 1)
        report = msgspec.json.decode(kept.report, type=dict[str, Any])
        return OptimizeReport(**report | {name: tuple(report[name]) for name in ("pruned", "postponed")})

    def _holds_lists(self, name: str) -> bool:
        kinds = {known.lower(): kind for known, kind in self.info()["attributes"].items()}
        return str(kinds.get(name.lower(), "")).startswith("list")

    def _add(
        self,
        operation: Operation,
        embeddings: object,
        arguments: Any,
        token: str | None,
        if_snapshot: int | None,
        progress: Callable[[str, int, int], None] | None,
    ) -> Commit:
        from vsearch.live.commits import Commit
        from vsearch.live.inputs import is_empty

        if is_empty(embeddings):
            return Commit(self.info()["snapshot"])
        total: Commit | None = None
        for part, body, done, rows in _bodies(embeddings, arguments, self.info, self._room()):
            part_token = token if token is None or not part else _token_of_part(token, part)
            base = if_snapshot if total is None or if_snapshot is None else total.snapshot
            commit = self._write(operation, body, None, part_token, base)
            if total is not None:
                commit = Commit(
                    commit.snapshot,
                    total.added + commit.added,
                    total.replaced + commit.replaced,
                    total.deleted + commit.deleted,
                )
            total = commit
            if progress is not None:
                progress("write", done, rows)
        if total is None:
            raise InputError("there are no rows; pass at least one")
        return total

    def info(self) -> dict[str, Any]:
        """See `RemoteIndex.info`."""
        raise NotImplementedError

    def _room(self) -> int:
        """Bytes of the rows in one message, limited by the memory of a function even if the platform allows more."""
        envelope = self._client.envelope
        if envelope.limit is None or envelope.overflow is not None:
            return LARGEST_PART
        return envelope.limit - ENVELOPE_BYTES

    def _write(
        self, operation: Operation, body: bytes, where: Where, token: str | None, if_snapshot: int | None
    ) -> Commit:
        from vsearch.live.commits import Commit, check_call

        check_call(token, if_snapshot)
        request = WriteRequest(
            operation=operation,
            token=token or uuid4().hex,
            form="arrow",
            body=body,
            where=encode_where(where),
            if_snapshot=if_snapshot,
        )
        reply = self._client.call(self._client.names.writer, request, Committed | BadRows, Deadline(), absent=NO_WRITER)
        if isinstance(reply, BadRows):
            named = "; ".join(f"row {fault.position}: {fault.message}" for fault in reply.faults[:NAMED])
            more = "" if reply.count <= NAMED else f"; and {reply.count - NAMED} more"
            raise InputError(f"{counted(reply.count)} invalid: {named}{more}")
        return Commit(reply.snapshot, reply.added, reply.replaced, reply.deleted)


def _check_documents(offsets: object | None, saliency: object | None) -> None:
    if offsets is not None or saliency is not None:
        raise InputError(
            "offsets and saliency are for multi-vector documents, which functions do not change: open the index by its own URL"
        )


def _check_selection(ids: object | None, where: Where) -> None:
    if (ids is None) == (where is None):
        raise InputError(f"exactly one of ids and where is required, got {'neither' if ids is None else 'both'}")
    if where is not None:
        from vsearch.predicates.parsing import parse_selection

        parse_selection(where)


def _id_column(ids: Any) -> Any:
    import pyarrow as pa

    from vsearch.search.state.given_ids import refuse_tables

    if isinstance(ids, (pa.Array, pa.ChunkedArray)):
        return ids
    refuse_tables(ids)
    listed = ids.tolist() if hasattr(ids, "tolist") else ids
    listed = [listed] if isinstance(listed, (str, int, UUID)) else list(listed)
    try:
        return pa.array(
            [str(id_) if isinstance(id_, UUID) else id_ for id_ in listed], pa.string() if not listed else None
        )
    except (pa.ArrowException, OverflowError, TypeError) as error:
        raise InputError(f"ids must be integers or strings: {error}") from None


def _is_flat(values: Any) -> bool:
    """Whether a sequence is empty or has an item that is neither NULL nor a list, so that for a list attribute it is one value."""
    return isinstance(values, (list, tuple)) and (
        not values
        or any(
            item is not None and not isinstance(item, (list, tuple)) and not hasattr(item, "__array__")
            for item in values
        )
    )


def _repeated(value: Any, count: int) -> Any:
    import pyarrow as pa

    return pa.repeat(value, count) if isinstance(value, pa.Scalar) else _as_arrow([value] * count)


def _as_arrow(values: Any) -> Any:
    import pyarrow as pa

    try:
        return values if isinstance(values, (pa.Array, pa.ChunkedArray)) else python_array(values)
    except OverflowError:  # Arrow infers no uint64
        return pa.array(values, pa.uint64())


def _stream(table: pa.Table) -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _token_of_part(token: str, part: int) -> str:
    """The token of a part after the first; distinct from those of other changes, however long or similar their tokens are."""
    return f"{hashlib.sha256(token.encode('utf-8', 'surrogatepass')).hexdigest()}/{part}"


def _bodies(
    embeddings: object, arguments: Any, info: Callable[[], dict[str, Any]], room: int
) -> Iterator[tuple[int, bytes, int, int]]:
    """Yield Arrow streams of rows of at most `room` bytes each: the number, the stream, the rows so far, and all rows."""
    import numpy as np
    import pyarrow as pa

    from vsearch.building.inputs.rows import open_inputs
    from vsearch.storage.stores.scratch import scratch_folder

    with scratch_folder() as scratch:
        metric: Any = info()["metric"] if arguments.missing == "skip" else "ip"
        inputs = open_inputs(embeddings, arguments, metric, scratch, known=lambda: info()["attributes"])
        total = inputs.vectors.rows
        start, part = 0, 0
        size = max(1, room // (inputs.vectors.dimensions * inputs.vectors.dtype.itemsize))  # few enough for memory
        while start < total:
            rows = np.arange(start, min(start + size, total))
            columns = {"vector": _vector_column(inputs.vectors.take(rows))}
            if inputs.ids.kind != "row":
                columns["id"] = pa.array(inputs.ids.take(rows))
            attributes = None if inputs.columns is None else inputs.columns.take(rows)
            if attributes is not None:
                columns |= {column_of_attribute(name): attributes.column(name) for name in attributes.column_names}
            body = _stream(pa.table(columns))
            if len(body) > room and len(rows) > 1:
                size = max(1, min(len(rows) // 2, int(0.9 * len(rows) * room / len(body))))
                continue
            start += len(rows)
            yield part, body, start, total
            part += 1


def _vector_column(vectors: Any) -> Any:
    import numpy as np
    import pyarrow as pa

    numbers = vectors.astype(np.float32) if vectors.dtype == np.uint8 else vectors
    return pa.FixedSizeListArray.from_arrays(pa.array(numbers.reshape(-1)), vectors.shape[1])
