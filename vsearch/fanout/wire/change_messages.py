"""Messages to the functions that change an index, the writer and the keeper, and their replies."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec

from vsearch.fanout.calls.bill import Usages
from vsearch.fanout.wire.messages import LARGEST_WHERE, Message, Seconds, Snapshot, Tally, Trace

LONGEST_TOKEN = 200
MOST_FAULTS = 100
"""Maximum number of rows that a reply names."""

LONGEST_FAULT = 1000

ATTRIBUTE = "attribute."
"""Prefix of the attributes ``id`` and ``vector`` in an Arrow table, where the plain names are the rows' ids and vectors."""

_RESERVED = re.compile(rf"({re.escape(ATTRIBUTE)})*(id|vector)")

Operation = Literal["append", "upsert", "update", "delete"]
Form = Literal["arrow", "json"]


def column_of_attribute(name: str) -> str:
    """The column of an attribute in an Arrow table."""
    return f"{ATTRIBUTE}{name}" if _RESERVED.fullmatch(name) else name


def attribute_of_column(column: str) -> str:
    """The attribute in a column of an Arrow table other than ``id`` and ``vector``."""
    return column.removeprefix(ATTRIBUTE) if _RESERVED.fullmatch(column) else column


class WriteRequest(Message, frozen=True, tag="write"):
    """To the writer: make one change.

    Attributes
    ----------
    operation : {"append", "upsert", "update", "delete"}
    token : str
        Idempotency key, so that the request can be repeated: a change with the same token takes effect once.
    form : {"arrow", "json"}
        Encoding of `body`: an Arrow IPC stream or file, or JSON. See `vsearch.fanout.roles.row_bodies`.
    body : bytes
        Rows to append or upsert; ids and values to update; ids to delete.
    where : bytes or None
        An encoded expression that selects the rows to update or delete, if `body` has no ids.
    if_snapshot : int or None
        Commit only if this is the newest snapshot.
    dry_run : bool
        Count the rows that a deletion would remove, and change nothing.
    """

    operation: Operation
    token: Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_TOKEN)]
    form: Form = "json"
    body: bytes = b""
    where: Annotated[bytes, msgspec.Meta(max_length=LARGEST_WHERE)] | None = None
    if_snapshot: Snapshot | None = None
    dry_run: bool = False
    remaining: Seconds | None = None
    trace: Trace = ""


class KeepRequest(Message, frozen=True, tag="keep"):
    """To the keeper: run pending maintenance; see `vsearch.Index.optimize`.

    Attributes
    ----------
    budget : float or None
        Seconds after which no further step is started; by default half of the time that the function has.
    """

    force: bool = False
    retune: bool | Literal["auto"] = "auto"
    budget: Seconds | None = None
    remaining: Seconds | None = None
    trace: Trace = ""


class Committed(Message, frozen=True, tag="committed"):
    """From the writer: the snapshot that contains the change, and the number of rows by what happened to them."""

    snapshot: Snapshot
    added: Tally = 0
    replaced: Tally = 0
    deleted: Tally = 0
    usages: Usages = Usages()
    arch: Annotated[str, msgspec.Meta(max_length=100)] = ""


class RowFault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Error message for the row at a position of the request."""

    position: Tally
    message: Annotated[str, msgspec.Meta(max_length=LONGEST_FAULT)]


def counted(rows: int) -> str:
    """The subject of a message about invalid rows."""
    return "1 row is" if rows == 1 else f"{rows} rows are"


def abbreviated(text: str) -> str:
    """The message of a `RowFault`: names of attributes can make it too long."""
    return text if len(text) <= LONGEST_FAULT else f"{text[: LONGEST_FAULT - 3]}..."


class BadRows(Message, frozen=True, tag="bad rows"):
    """From the writer: nothing was changed, since some rows are invalid.

    Attributes
    ----------
    count : int
        Number of invalid rows that were found; the values of an attribute are checked until 100 do not fit.
    faults : tuple of RowFault
        The first of them.
    """

    count: Tally
    faults: Annotated[tuple[RowFault, ...], msgspec.Meta(min_length=1, max_length=MOST_FAULTS)]
    usages: Usages = Usages()
    arch: Annotated[str, msgspec.Meta(max_length=100)] = ""


class Kept(Message, frozen=True, tag="kept"):
    """From the keeper: `vsearch.live.optimizing.OptimizeReport` as JSON."""

    report: Annotated[bytes, msgspec.Meta(max_length=4 << 20)]
    usages: Usages = Usages()
    arch: Annotated[str, msgspec.Meta(max_length=100)] = ""
