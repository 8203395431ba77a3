"""URLs as entered by users: parsed with our own errors, and shown without secrets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vsearch.errors import InputError

if TYPE_CHECKING:
    from urllib.parse import SplitResult


def redacted(url: str) -> str:
    """A URL for error messages: without user, password and query, which may be a signature."""
    match = re.match(r"([a-zA-Z][a-zA-Z0-9+.-]+:/{1,2})(.*)", url, re.DOTALL)
    scheme, location = (match[1], match[2]) if match else ("", url)
    mark = re.search(r"[?#]", location)
    location, query = (location[: mark.start()], f"{mark[0]}***") if mark and scheme else (location, "")
    if "@" in location and (scheme or ":" in location):  # a secret key may contain slashes, so up to the last @
        location = "***@" + location.rpartition("@")[2]
    elif scheme and re.match(r"[^/\[]*:(?!\d*(?:/|$))", location):  # not a port, so perhaps a key and a secret
        location = re.sub(r":[^/]*", ":***", location, count=1)
    elif query and "@" in url:
        location = "***"  # the ? or # may have been part of a secret
    return scheme + location + query


def without_secrets(text: str) -> str:
    """Redact every URL in a text."""
    return re.sub(r"[a-zA-Z][a-zA-Z0-9+.-]+://[^\s()<>\"']+", lambda match: redacted(match[0]), text)


def split_url(url: str) -> SplitResult:
    """`urllib.parse.urlsplit` that raises InputError.

    Raises
    ------
    InputError
        The URL is not valid.
    """
    from urllib.parse import urlsplit  # imported late: it takes milliseconds, and readers of files on disk split no URL

    try:
        parts = urlsplit(url)
        _ = parts.port  # validated on access
    except ValueError as error:
        reason = str(error).split("'")[0].strip().lower()
        raise InputError(f"{redacted(url)!r} is not a valid URL ({reason})") from None
    return parts
