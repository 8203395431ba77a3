"""Opening the place that a URL names; the kinds of stores are in `vsearch.storage.stores.registry`."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from vsearch.errors import InputError
from vsearch.storage.stores.registry import FOLDER, StoreKind, find_kind, one_slash, store_kinds
from vsearch.storage.stores.urls import redacted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vsearch.storage.stores.base import Store

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+)://")


def open_store(url: str | os.PathLike[str], **options: Any) -> Store:
    """Open the place where an index is, or shall be, kept. Nothing is read or made yet.

    Parameters
    ----------
    url
        A folder, ``file://...``, ``s3://bucket/prefix``, ``gs://bucket/prefix``, ``az://container/prefix`` (or ``abfs://``,
        ``abfss://``), for tests ``memory://name/prefix``, or a URL that `register_store` was told of.
    **options
        What is not given comes from the provider's usual environment variables and files. None and False count as not given.

        ``s3://``: ``endpoint``, ``region``, ``profile``, ``anonymous`` (do not sign), ``allow_http`` (for an endpoint
        that is not on this machine), ``access_key_id``, ``secret_access_key``, ``session_token``.

        ``gs://``: ``endpoint``, ``anonymous``, ``allow_http``, and one of ``credentials_file`` (path to JSON, of a service
        account or a login), ``service_account_key`` (such JSON itself) and ``bearer_token`` (is not renewed).

        ``az://``: ``account``, ``endpoint``, ``anonymous``, ``allow_http``, and one of ``account_key``, ``sas_token`` and
        ``bearer_token`` (is not renewed).

    Raises
    ------
    InputError
        The URL or an option is not usable.
    """
    text: Any = os.fspath(url) if isinstance(url, os.PathLike) else url
    if not isinstance(text, str):
        raise InputError(f"give the folder or URL of the index as text or a path, got {type(url).__name__}")
    if not text.strip() or "\0" in text:
        raise InputError("give the folder or URL of the index; it is empty")
    if text != text.strip() and _SCHEME.match(text.strip()):
        raise InputError(f"{redacted(text)!r} begins or ends with white space, which no URL does; leave it out")
    match = _SCHEME.match(text)
    scheme = match[1].lower() if match else ""
    kind = find_kind(scheme)
    if kind is None:
        *most, last = _schemes(store_kinds())
        raise InputError(
            f"{redacted(text)!r}: {scheme}:// is not supported; give a folder, {', '.join(most)} or {last}"
        )
    given = {name: value for name, value in options.items() if value not in (None, False)}
    unknown = sorted(set(given).difference(kind.options))
    if unknown:
        raise InputError(_refuse(unknown, kind, text))
    if kind is FOLDER and one_slash(text) and not os.path.lexists(text):
        raise InputError(
            f"{redacted(text)!r} is no URL: two slashes follow the colon; a folder of such a name is ./name"
        )
    return kind.load()(text, **given)


def _refuse(names: list[str], kind: StoreKind, url: str) -> str:
    """Why a kind does not take these options."""
    said = ", ".join(names)
    takers = _schemes(other for other in store_kinds() if set(names) <= set(other.options))
    if takers:
        *most, last = takers
        those = f"{', '.join(most)} and {last}" if most else last
        return f"{said}: these options are for {those} URLs only, not for {redacted(url)!r}"
    if not kind.options:
        return f"{said}: no such option; {kind.name} takes none"
    return f"{said}: no such option of {kind.schemes[0]}:// URLs, which take {', '.join(kind.options)}"


def _schemes(kinds: Iterable[StoreKind]) -> list[str]:
    return [f"{kind.schemes[0]}://" for kind in kinds if kind is not FOLDER]
