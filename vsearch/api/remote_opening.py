"""Opening the index behind a stack of functions by its URL."""

from __future__ import annotations

import os
from typing import Any

from vsearch.api.local_endpoint import local_endpoint
from vsearch.api.remote_index import RemoteIndex
from vsearch.errors import InputError
from vsearch.fanout.calls.bill import Prices
from vsearch.fanout.calls.invoker import Names
from vsearch.fanout.platforms.platform import load_named
from vsearch.fanout.platforms.registry import platform_of_url, url_forms
from vsearch.fanout.wire.envelope import Envelope
from vsearch.storage import open_store
from vsearch.storage.stores.urls import redacted, split_url


def open_remote(url: str, snapshot: int | None = None, **options: Any) -> RemoteIndex:
    """Open ``lambda://stack`` or ``local-faas://stack``. Calls nothing yet.

    Parameters
    ----------
    **options
        ``region``, ``endpoint``, ``profile``; ``alias``, if not the alias that `vsearch deploy` moves (None calls the latest
        version deployed); ``prices`` for the bill: a `vsearch.Prices`, by default the platform's list prices where the
        functions run; ``overflow``, the ``s3://`` prefix for large messages that the stack was deployed with. Other platforms
        have other options in place of the first four.

    Raises
    ------
    InputError
        The URL is not that of a stack, or an option is invalid.
    """
    parts, platform = split_url(url), platform_of_url(url)
    if platform is None or platform.connect is None or not parts.netloc or parts.path.strip("/"):
        raise InputError(f"{redacted(url)!r} is not the URL of a stack; use {url_forms()}")
    unknown = sorted(set(options) - {*platform.options, "prices", "overflow"})
    if unknown:
        raise InputError(f"{', '.join(unknown)}: no such option of {parts.scheme}://")
    prices, overflow = options.pop("prices", None), options.pop("overflow", None)
    if not isinstance(prices, Prices | None):
        raise InputError(f"prices must be a vsearch.Prices, or None for list prices, got {type(prices).__name__}")
    if platform.endpoint and not options.get("endpoint"):
        options["endpoint"] = load_named(platform.endpoint)()
    envelope = Envelope(platform.message_bytes, open_store(overflow) if overflow else None)
    return RemoteIndex(
        url, Names(parts.netloc), platform.connect(**options), envelope, snapshot, prices, platform=platform
    )


def find_local_faas() -> str:
    """The address of the local FaaS.

    Raises
    ------
    InputError
        The FaaS is not running, or its state may belong to another user.
    """
    address = os.environ.get("AWS_ENDPOINT_URL_LAMBDA") or local_endpoint()
    if not address:
        raise InputError("no local FaaS is running; start one with: vsearch faas up")
    return address
