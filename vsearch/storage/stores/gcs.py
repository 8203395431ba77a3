"""Opening ``gs://`` URLs: Google Cloud Storage and services with its XML API."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

from vsearch.errors import InputError
from vsearch.storage.stores.advice import GOOGLE
from vsearch.storage.stores.buckets import bucket_and_prefix, connect, http_is_fine, one_of
from vsearch.storage.stores.object_store import ObjectStore

_OF_ENVIRONMENT = (
    "GOOGLE_BEARER_TOKEN",
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_PATH",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
)
"""Environment variables that obstore prefers to a credentials file that is passed."""


def open_gcs(
    url: str,
    *,
    endpoint: str | None = None,
    anonymous: bool = False,
    allow_http: bool = False,
    credentials_file: str | os.PathLike[str] | None = None,
    service_account_key: str | None = None,
    bearer_token: str | None = None,
) -> ObjectStore:
    """Open ``gs://bucket/prefix``; see :func:`vsearch.storage.open_store` for the options."""
    from obstore.exceptions import BaseError
    from obstore.store import GCSStore

    bucket, prefix = bucket_and_prefix(url, GOOGLE)
    endpoint = endpoint or os.environ.get("GOOGLE_BASE_URL") or None
    plain_http = http_is_fine(endpoint, allow_http, GOOGLE)
    config: dict[str, Any] = {"base_url": endpoint} if endpoint else {}
    file = None if credentials_file is None else str(Path(credentials_file).expanduser().absolute())
    config |= _credentials(file, service_account_key, bearer_token, anonymous=anonymous)
    place = {"endpoint": endpoint, "anonymous": anonymous, "allow_http": allow_http, "credentials_file": file}
    try:
        return connect(
            f"gs://{bucket}/{prefix}".rstrip("/"),
            prefix,
            partial(GCSStore, bucket, **config),
            reopen=open_gcs,
            place=place,
            provider=GOOGLE,
            plain_http=plain_http,
        )
    except BaseError as error:
        message = str(error).split("\n", 1)[0].removeprefix("Generic GCS error: ")
        raise InputError(f"Google credentials cannot be used: {message}") from None


def _credentials(file: str | None, key: str | None, token: str | None, *, anonymous: bool) -> dict[str, Any]:
    """Credential options of the backend; empty if obstore finds credentials by itself."""
    credential = one_of(credentials_file=file, service_account_key=key, bearer_token=token)
    if credential is None:
        return {"skip_signature": True} if anonymous else {}
    name, value = credential
    if name == "bearer_token":
        return {"bearer_token": value, "skip_signature": False}  # obstore prefers it to all other credentials
    conflicting = [variable for variable in _OF_ENVIRONMENT if os.environ.get(variable)]
    if conflicting:
        raise InputError(f"{name} was passed, but {conflicting[0]} in the environment would be used instead; unset it")
    option_names = {"credentials_file": "application_credentials", "service_account_key": "service_account_key"}
    return {option_names[name]: value, "skip_signature": False}
