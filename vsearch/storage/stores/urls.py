"""URLs as people give them: taken apart without a library's errors, and shown without their secrets."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

from vsearch.errors import InputError


def redacted(url: str) -> str:
    """A URL as an error may show it: without user and password, and without its query, which may be a signature."""
    match = re.match(r"([a-zA-Z][a-zA-Z0-9+.-]+:/{1,2})(.*)", url, re.DOTALL)
    scheme, rest = (match[1], match[2]) if match else ("", url)
    mark = re.search(r"[?#]", rest)
    rest, query = (rest[: mark.start()], f"{mark[0]}***") if mark and scheme else (rest, "")
    if "@" in rest and (scheme or ":" in rest):  # a secret key may hold slashes, so up to the last
        rest = "***@" + rest.rpartition("@")[2]
    elif scheme and re.match(r"[^/\[]*:(?!\d*(?:/|$))", rest):  # no port, so perhaps a key and a secret
        rest = re.sub(r":[^/]*", ":***", rest, count=1)
    elif query and "@" in url:
        rest = "***"  # the mark may have been part of a secret
    return scheme + rest + query


def without_secrets(text: str) -> str:
    """A text with every URL in it redacted."""
    return re.sub(r"[a-zA-Z][a-zA-Z0-9+.-]+://[^\s()<>\"']+", lambda match: redacted(match[0]), text)


def split_url(url: str) -> SplitResult:
    """`urllib.parse.urlsplit`, whose errors are ours.

    Raises
    ------
    InputError
    """
    try:
        parts = urlsplit(url)
        _ = parts.port  # is checked when it is asked for
    except ValueError as error:
        reason = str(error).split("'")[0].strip().lower()
        raise InputError(f"{redacted(url)!r} is no valid URL ({reason})") from None
    return parts
