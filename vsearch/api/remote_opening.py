"""Opening the index behind a stack of functions by its URL."""

from __future__ import annotations

import os
from typing import Any

from vsearch.api.local_endpoint import local_endpoint
from vsearch.api.remote_index import RemoteIndex
from vsearch.errors import InputError
from vsearch.fanout.calls.bill import Prices
from vsearch.fanout.calls.invoker import LIVE, Names
from vsearch.fanout.wire.envelope import LAMBDA_LIMIT, Envelope, binary_limit
from vsearch.storage import open_store
from vsearch.storage.stores.urls import redacted, split_url

SCHEMES = ("lambda", "local-faas")


def open_remote(url: str, snapshot: int | None = None, **options: Any) -> RemoteIndex:
    """Open ``lambda://stack`` or ``local-faas://stack``. Nothing is called yet.

    Parameters
    ----------
    **options
        ``region``, ``endpoint``, ``profile``; ``alias`` where functions are called by another than the one that `vsearch
        deploy` moves (None: by what was last put there); ``prices``, of the bill: a `vsearch.Prices`, by
        default AWS's list prices where the functions run; ``overflow``, the ``s3://`` place for large messages that the
        stack was deployed with.

    Raises
    ------
    InputError
        The URL names no stack, or an option is not usable.
    """
    from vsearch.fanout.platforms.network import LambdaInvoker

    parts = split_url(url)
    if parts.scheme not in SCHEMES or not parts.netloc or parts.path.strip("/"):
        raise InputError(f"{redacted(url)!r} names no stack; write lambda://stack or local-faas://stack")
    unknown = sorted(set(options) - {"region", "endpoint", "profile", "alias", "prices", "overflow"})
    if unknown:
        raise InputError(f"{', '.join(unknown)}: no such option of {parts.scheme}://")
    prices, overflow = options.pop("prices", None), options.pop("overflow", None)
    if not isinstance(prices, Prices | None):
        raise InputError("prices must be a vsearch.Prices, or None for list prices")
    options.setdefault("alias", LIVE)
    if parts.scheme == "local-faas":
        options.setdefault("endpoint", os.environ.get("AWS_ENDPOINT_URL_LAMBDA") or local_endpoint())
        if not options["endpoint"]:
            raise InputError("no local FaaS is running; start one with: vsearch faas up")
    envelope = Envelope(binary_limit(LAMBDA_LIMIT), open_store(overflow) if overflow else None)
    return RemoteIndex(url, Names(parts.netloc), LambdaInvoker(**options), envelope, snapshot, prices)
