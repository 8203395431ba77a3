"""Opening the place that a URL names: a folder, S3 or memory."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from vsearch.errors import InputError
from vsearch.storage.stores.urls import redacted, split_url

if TYPE_CHECKING:
    from vsearch.storage.stores.base import Store

_ONE_SLASH = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+:/(?!/)|(s3|file|memory|lambda|local-faas):(?!//)", re.IGNORECASE)
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+)://")


def open_store(url: str | os.PathLike[str], **options: Any) -> Store:
    """Open the place where an index is, or shall be, kept. Nothing is read or made yet.

    Parameters
    ----------
    url
        A folder, ``file://...``, ``s3://bucket/prefix`` or, for tests, ``memory://name/prefix``.
    **options
        For S3 only: ``endpoint``, ``region``, ``profile``, ``anonymous`` (do not sign), ``allow_http`` (for an endpoint
        that is not on this machine), ``access_key_id``, ``secret_access_key``, ``session_token``. What is not given comes
        from the usual AWS environment variables and files.

    Raises
    ------
    InputError
        The URL or an option is not usable.
    """
    text: Any = os.fspath(url) if isinstance(url, os.PathLike) else url
    if not isinstance(text, str):
        raise InputError(f"give the folder or s3:// URL of the index as text or a path, got {type(url).__name__}")
    if not text.strip() or "\0" in text:
        raise InputError("give the folder or s3:// URL of the index; it is empty")
    if text != text.strip() and _SCHEME.match(text.strip()):
        raise InputError(f"{redacted(text)!r} begins or ends with white space, which no URL does; leave it out")
    match = _SCHEME.match(text)
    scheme = match.group(1).lower() if match else ""
    if scheme == "s3":
        from vsearch.storage.stores.s3 import open_s3

        return open_s3(text, **options)
    given = sorted(name for name, value in options.items() if value not in (None, False))
    if given:
        raise InputError(f"{', '.join(given)}: these options are for s3:// URLs only, not for {redacted(text)!r}")
    if scheme == "memory":
        from vsearch.storage.stores.object_store import open_memory

        return open_memory(text)
    from vsearch.storage.stores.folder import FolderStore

    if scheme == "file":
        from urllib.parse import unquote

        parts = split_url(text)
        if parts.netloc not in ("", "localhost") or not parts.path:
            raise InputError(f"{redacted(text)!r} names no folder; write file:///path/to/folder")
        return FolderStore(unquote(parts.path))
    if scheme:
        raise InputError(
            f"{redacted(text)!r}: {scheme}:// is not supported; give a folder, file://, s3:// or memory://"
        )
    if _ONE_SLASH.match(text) and not os.path.lexists(text):
        raise InputError(
            f"{redacted(text)!r} is no URL: two slashes follow the colon; a folder of such a name is ./name"
        )
    return FolderStore(text)
