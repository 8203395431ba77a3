"""Registry of the kinds of stores, by URL scheme. The module of a kind is imported when a URL first needs it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast

from vsearch.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from vsearch.storage.stores.base import Store

    Opener = Callable[..., Store]

GROUP = "vsearch.stores"
"""Entry point group for other packages: the name is a scheme, the object a `StoreKind`."""


@dataclass(frozen=True, slots=True)
class StoreKind:
    """One kind of store, for `register_store`.

    Attributes
    ----------
    schemes : tuple of str
        Schemes of its URLs, in lower case and without ``://``; error messages use the first.
    name : str
        Description for error messages.
    opener : str
        ``module:function``; the function takes the URL, whose scheme may be in any case, and the options as keywords, and
        returns a `Store`.
    options : tuple of str
        Names of these keywords; they are refused for other kinds.
    bucket : bool
        Whether the host of the URL is a bucket that others may access, so that an index needs its own prefix.
    """

    schemes: tuple[str, ...]
    name: str
    opener: str
    options: tuple[str, ...] = ()
    bucket: bool = False

    def load(self) -> Opener:
        """Import the function that opens a URL."""
        module, _, function = self.opener.partition(":")
        return cast("Opener", getattr(import_module(module), function))


FOLDER = StoreKind(("",), "a folder", "vsearch.storage.stores.folder:open_folder")
"""Paths without a scheme."""

BUILT_IN = (
    FOLDER,
    StoreKind(("file",), "a folder", "vsearch.storage.stores.folder:open_file_url"),
    StoreKind(
        ("s3",),
        "Amazon S3 and services with its API",
        "vsearch.storage.stores.s3:open_s3",
        (
            "endpoint",
            "region",
            "profile",
            "anonymous",
            "allow_http",
            "access_key_id",
            "secret_access_key",
            "session_token",
        ),
        bucket=True,
    ),
    StoreKind(
        ("gs",),
        "Google Cloud Storage",
        "vsearch.storage.stores.gcs:open_gcs",
        ("endpoint", "anonymous", "allow_http", "credentials_file", "service_account_key", "bearer_token"),
        bucket=True,
    ),
    StoreKind(
        ("az", "abfs", "abfss"),
        "Azure Blob Storage",
        "vsearch.storage.stores.azure:open_azure",
        ("account", "endpoint", "anonymous", "allow_http", "account_key", "sas_token", "bearer_token"),
        bucket=True,
    ),
    StoreKind(("memory",), "memory of this process, for tests", "vsearch.storage.stores.object_store:open_memory"),
)

_kinds = {scheme: kind for kind in BUILT_IN for scheme in kind.schemes}

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+")
_ELSEWHERE = frozenset({"lambda", "local-faas"})  # handled by vsearch.open: stacks of functions


def register_store(kind: StoreKind) -> None:
    """Register URL schemes, so that `open_store` and everything that takes the URL of an index can open them.

    Installed packages need not call this: an entry point in the group ``vsearch.stores``, named after the scheme, whose object
    is the `StoreKind`, is found when such a URL is first opened. `vsearch.testing.stores.StoreContract` has the tests that the
    store must pass.

    Raises
    ------
    InputError
        A scheme is invalid or already taken, or the opener is not of the form ``module:function``.
    """
    for scheme in kind.schemes:
        if not _SCHEME.fullmatch(scheme):
            raise InputError(
                f"a scheme must be two or more owner a-z 0-9 + . - and begin with a letter, got {scheme!r}"
            )
        if scheme in _kinds or scheme in _ELSEWHERE:
            owner = _kinds[scheme].name if scheme in _kinds else "stacks of functions"
            raise InputError(f"{scheme}:// is already taken by {owner}")
    if not kind.schemes or not re.fullmatch(r"\w+(\.\w+)*:\w+", kind.opener):
        raise InputError(
            f"a store must have schemes and an opener 'module:function', got {kind.schemes} and {kind.opener!r}"
        )
    _kinds.update(dict.fromkeys(kind.schemes, kind))


def find_kind(scheme: str) -> StoreKind | None:
    """The kind that opens URLs of a scheme (lower case; empty for folders), or None."""
    if scheme not in _kinds:
        _load_entry_point(scheme)
    return _kinds.get(scheme)


def store_kinds() -> tuple[StoreKind, ...]:
    """All registered kinds, folders first."""
    return tuple(dict.fromkeys(_kinds.values()))


def one_slash(url: str) -> bool:
    """Whether a text looks like a URL that lacks one or both slashes."""
    schemes = "|".join(re.escape(scheme) for scheme in (*_kinds, *sorted(_ELSEWHERE)) if scheme)
    return re.match(rf"[a-z][a-z0-9+.-]+:/(?!/)|({schemes}):(?!//)", url, re.IGNORECASE) is not None


def _load_entry_point(scheme: str) -> None:
    from importlib.metadata import entry_points

    for point in entry_points(group=GROUP, name=scheme):
        kind = point.load()
        if not isinstance(kind, StoreKind) or scheme not in kind.schemes:
            raise InputError(f"the entry point {scheme!r} of {GROUP} must be a StoreKind of {scheme}://, got {kind!r}")
        register_store(kind)
        return
