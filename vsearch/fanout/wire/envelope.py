"""Pack messages for a platform: within its size limit, or through the overflow store."""

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
    """Return the maximum size of a message whose base64 fits a JSON event of `limit` bytes."""
    return (limit - 64) // 4 * 3


@dataclass(frozen=True)
class Envelope:
    """Packs and unpacks messages for a platform.

    Attributes
    ----------
    limit : int or None
        Maximum size of a message in bytes.
    overflow : Store or None
        Store for larger messages, which are refused without it. Its objects should expire after a day.
    """

    limit: int | None = None
    overflow: Store | None = None

    def pack(self, message: Message) -> bytes:
        """Return the bytes to send.

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
                f"messages must have at most {self.limit} bytes on this platform, got {len(data)}; send fewer queries, use a "
                "smaller k or fewer columns, or deploy with an overflow store",
            )
        path = f"{OVERFLOW}/{uuid4().hex}"
        try:
            self.overflow.put(path, data)
        except StoreError as error:
            raise CallError(ErrorKind.STORE, f"the overflow store failed: {error}") from None
        return wire.encode(Overflow(path=path, bytes=len(data), crc32c=crc32c(data)))

    def spills(self, message: Message) -> bool:
        """Whether a message needs the overflow store."""
        return self.limit is not None and self.overflow is not None and len(wire.encode(message)) > self.limit

    def unpack(self, data: bytes) -> Any:
        """Return the message that was sent.

        Raises
        ------
        InputError
            The bytes are not a message.
        CallError
            The message is in the overflow store, which failed.
        """
        message = wire.decode(data)
        if not isinstance(message, Overflow):
            return message
        if self.overflow is None:
            raise InputError(
                "the message is in the stack's overflow store, which is not configured here: set VSEARCH_OVERFLOW of the "
                "function, or pass overflow='s3://...' to vsearch.open"
            )
        try:
            stored = self.overflow.get(message.path, start=0, stop=message.bytes + 1)
        except FileNotFoundError:
            raise CallError(
                ErrorKind.MISSING, f"{message.path}: the message is no longer in the overflow store"
            ) from None
        except StoreError as error:
            raise CallError(ErrorKind.STORE, f"the overflow store failed: {error}") from None
        if len(stored) != message.bytes or crc32c(bytes(stored)) != message.crc32c:
            raise CallError(ErrorKind.MALFORMED, f"{message.path}: the message differs from the one that was sent")
        inner = wire.decode(stored)
        if isinstance(inner, Overflow):
            raise InputError("a message in the overflow store must not refer to another")
        return inner


def to_event(data: bytes) -> dict[str, str]:
    """Wrap a message in a JSON event, for platforms that accept nothing else."""
    return {"vsearch": base64.b64encode(data).decode("ascii")}


def from_event(event: object) -> bytes:
    """Return the bytes of the message in a JSON event.

    Raises
    ------
    InputError
        The event has another form, or its message is not valid base64.
    """
    body = event.get("vsearch") if isinstance(event, dict) else None
    if not isinstance(body, str):
        raise InputError('the event must be {"vsearch": "<base64>"}')
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise InputError("the event's message is not valid base64") from None
