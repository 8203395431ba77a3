"""Messages as a platform carries them: within its size limit, or by way of the overflow store."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from vsearch.errors import InputError, StoreError
from vsearch.fanout.calls.retries import CallError, ErrorKind
from vsearch.fanout.wire import codec as wire
from vsearch.fanout.wire.messages import OVERFLOW, Message, Overflow
from vsearch.storage.files.checksums import crc32c

if TYPE_CHECKING:
    from vsearch.storage import Store


def binary_limit(limit: int) -> int:
    """Bytes of a message that fit a JSON event of `limit` bytes as base64."""
    return (limit - 64) // 4 * 3


@dataclass(frozen=True)
class Envelope:
    """How messages travel.

    Attributes
    ----------
    limit : int or None
        Bytes of a message that the platform carries.
    overflow : Store or None
        Where larger ones are put; they are refused without it. Its objects should expire after a day.
    """

    limit: int | None = None
    overflow: Store | None = None

    def pack(self, message: Message) -> bytes:
        """The bytes to send.

        Raises
        ------
        CallError
            The message is too large, or the overflow store failed.
        """
        data = wire.encode(message)
        if self.limit is None or len(data) <= self.limit:
            return data
        if self.overflow is None:
            raise CallError(
                ErrorKind.TOO_LARGE,
                f"a message of {len(data)} bytes is over the platform's limit of {self.limit}; send fewer queries, ask for "
                "a smaller k or fewer columns, or deploy with an overflow store",
            )
        path = f"{OVERFLOW}/{uuid4().hex}"
        try:
            self.overflow.put(path, data)
        except StoreError as error:
            raise CallError(ErrorKind.STORE, f"the overflow store failed: {error}") from None
        return wire.encode(Overflow(path=path, bytes=len(data), crc32c=crc32c(data)))

    def spills(self, message: Message) -> bool:
        """Whether a message will go by the overflow store."""
        return self.limit is not None and self.overflow is not None and len(wire.encode(message)) > self.limit

    def unpack(self, data: bytes) -> Any:
        """The message that was sent.

        Raises
        ------
        InputError
            These bytes are none.
        CallError
            It lies in the overflow store, which failed.
        """
        message = wire.decode(data)
        if not isinstance(message, Overflow):
            return message
        if self.overflow is None:
            raise InputError(
                "the message lies in the stack's overflow store, which is not known here: name it, as VSEARCH_OVERFLOW of "
                "a function or overflow='s3://...' of vsearch.open"
            )
        try:
            whole = self.overflow.get(message.path, start=0, stop=message.bytes + 1)
        except FileNotFoundError:
            raise CallError(
                ErrorKind.MISSING, f"{message.path}: the message is no longer in the overflow store"
            ) from None
        except StoreError as error:
            raise CallError(ErrorKind.STORE, f"the overflow store failed: {error}") from None
        if len(whole) != message.bytes or crc32c(bytes(whole)) != message.crc32c:
            raise CallError(ErrorKind.MALFORMED, f"{message.path}: the message is not the one that was sent")
        inner = wire.decode(whole)
        if isinstance(inner, Overflow):
            raise InputError("the message in the overflow store only points to another")
        return inner


def to_event(data: bytes) -> dict[str, str]:
    """A message as the JSON event of a platform that takes nothing else."""
    return {"vsearch": base64.b64encode(data).decode("ascii")}


def from_event(event: object) -> bytes:
    """The bytes of a message out of a JSON event.

    Raises
    ------
    InputError
    """
    body = event.get("vsearch") if isinstance(event, dict) else None
    if not isinstance(body, str):
        raise InputError('the event is no vsearch message; it is {"vsearch": "<base64>"}')
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise InputError("the event's message is not valid base64") from None
