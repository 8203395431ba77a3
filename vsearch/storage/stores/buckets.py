"""Common parts of the stores of cloud providers: bucket and prefix, endpoint, retries."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from vsearch.errors import InputError
from vsearch.storage.stores.base import check_path
from vsearch.storage.stores.loopback import is_loopback
from vsearch.storage.stores.object_store import ObjectStore
from vsearch.storage.stores.retrying import FIRST_WAIT, LONGEST_WAIT, PATIENCE
from vsearch.storage.stores.urls import redacted, split_url

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vsearch.storage.stores.advice import Provider
    from vsearch.storage.stores.object_store import Backend

T = TypeVar("T")

RETRIES = 6
"""Retries for a store that has never answered, with waits from 0.1 s doubling up to 5 s: 6 s in all. A store that has
answered before is retried for minutes (`vsearch.storage.stores.retrying`)."""

PART_RETRIES = 10
"""Retries for a part of an upload before the whole upload is retried."""


def bucket_and_prefix(url: str, provider: Provider) -> tuple[str, str]:
    """Split ``scheme://bucket/prefix``; the prefix may be empty.

    Raises
    ------
    InputError
        The URL has other parts or no bucket.
    """
    bucket, _, prefix = url.split("://", 1)[1].partition("/")
    prefix = prefix.strip("/")
    if not bucket or any(c in bucket for c in "@:?#") or any(c in prefix for c in "?#"):
        hint = f"; pass keys by {provider.ways}" if "@" in url else ""
        raise InputError(f"{redacted(url)!r} is not a {provider.bucket} URL; use {provider.example}{hint}")
    return bucket, check_path(prefix) if prefix else ""


def http_is_fine(endpoint: str | None, allowed: bool, provider: Provider) -> bool:
    """Whether to use plain HTTP: the endpoint asks for it, and is on this machine or trusted.

    Raises
    ------
    InputError
        It is not an endpoint, or secrets would be sent unencrypted.
    """
    if endpoint is None:
        return False
    allowed = allowed or os.environ.get(provider.allow_http, "").lower() in ("1", "true")
    parts = split_url(endpoint)
    scheme, host = parts.scheme.lower(), parts.hostname or ""
    if scheme not in ("http", "https") or not host:
        raise InputError(f"the endpoint {redacted(endpoint)!r} is not a URL; use https://host or http://127.0.0.1:port")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise InputError(
            f"the endpoint {redacted(endpoint)!r} has more than a host and a path; pass keys by {provider.ways}"
        )
    if scheme == "https":
        return False
    if not (is_loopback(host) or allowed):
        raise InputError(
            f"the endpoint {endpoint} is not encrypted; use https://, or allow_http=True if the network is trusted"
        )
    return True


def one_of(**secrets: T | None) -> tuple[str, T] | None:
    """Return the name and value of the single option that is set, or None if none is.

    Raises
    ------
    InputError
        Several are set.
    """
    present = [(name, value) for name, value in secrets.items() if value]
    if len(present) > 1:
        raise InputError(f"pass only one of {', '.join(secrets)}, got {' and '.join(name for name, _ in present)}")
    return present[0] if present else None


def connect(
    url: str,
    prefix: str,
    open_backend: Callable[..., Backend],
    *,
    reopen: Callable[..., ObjectStore],
    place: Mapping[str, Any],
    provider: Provider,
    plain_http: bool = False,
) -> ObjectStore:
    """Open the store for a bucket.

    Parameters
    ----------
    open_backend
        Takes obstore's ``client_options`` and ``retry_config``.
    reopen
        See `ObjectStore`.
    place
        Options of `reopen` that are not secret; empty ones are dropped.
    """
    client: dict[str, Any] = {"allow_http": plain_http, "timeout": "60s"}

    def backend(retries: int) -> Backend:
        backoff = {"max_backoff": timedelta(seconds=LONGEST_WAIT)}
        retry = {"max_retries": retries, "retry_timeout": timedelta(seconds=PATIENCE), "backoff": backoff}
        return open_backend(client_options=client, retry_config=retry)

    return ObjectStore(
        url,
        backend(0),
        prefix,
        reopen,
        {name: value for name, value in place.items() if value},  # passed keys are not included
        uploads=backend(PART_RETRIES),
        first_patience=sum(min(FIRST_WAIT * 2**i, LONGEST_WAIT) for i in range(RETRIES)),
        provider=provider,
    )
