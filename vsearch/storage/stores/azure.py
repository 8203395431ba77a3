"""Opening ``az://`` URLs, and Azure's own ``abfss://`` URLs: Azure Blob Storage."""

from __future__ import annotations

import os
import re
from base64 import b64decode
from functools import partial
from typing import Any

from vsearch.errors import InputError
from vsearch.storage.stores.advice import AZURE
from vsearch.storage.stores.buckets import bucket_and_prefix, connect, http_is_fine, one_of
from vsearch.storage.stores.object_store import ObjectStore

_WITH_ACCOUNT = re.compile(
    r"(abfss?://[^@/:]+)@([a-z0-9]{3,24})\.(?:dfs|blob)\.core\.windows\.net(?=/|$)", re.IGNORECASE
)


def open_azure(
    url: str,
    *,
    account: str | None = None,
    endpoint: str | None = None,
    anonymous: bool = False,
    allow_http: bool = False,
    account_key: str | None = None,
    sas_token: str | None = None,
    bearer_token: str | None = None,
) -> ObjectStore:
    """Open ``az://container/prefix``; see :func:`vsearch.storage.open_store` for the options."""
    from obstore.store import AzureStore

    short, url_account = _account(url)
    container, prefix = bucket_and_prefix(short, AZURE)
    if account and url_account and account != url_account:
        raise InputError(f"account must be {url_account!r}, as in the URL, got {account!r}")
    environment = os.environ.get
    account = account or url_account or environment("AZURE_STORAGE_ACCOUNT_NAME") or None
    emulator = environment("AZURE_STORAGE_USE_EMULATOR", "").lower() in ("1", "true")
    if account is None and not emulator:
        raise InputError(f"az://{container} needs a storage account; pass account= or set AZURE_STORAGE_ACCOUNT_NAME")
    endpoint = endpoint or environment("AZURE_STORAGE_ENDPOINT") or environment("AZURE_ENDPOINT") or None
    plain_http = http_is_fine(endpoint, allow_http, AZURE)
    config: dict[str, Any] = {"endpoint": endpoint} if endpoint else {}
    config |= {"account_name": account} if account else {}
    config |= _credentials(account_key, sas_token, bearer_token, anonymous=anonymous)
    return connect(
        f"az://{container}/{prefix}".rstrip("/"),
        prefix,
        partial(AzureStore, container, **config),
        reopen=open_azure,
        place={"account": account, "endpoint": endpoint, "anonymous": anonymous, "allow_http": allow_http},
        provider=AZURE,
        plain_http=plain_http,
    )


def _account(url: str) -> tuple[str, str | None]:
    """Split the storage account off a URL; returns the URL without it and the account, if any."""
    match = _WITH_ACCOUNT.match(url)
    return (match[1] + url[match.end() :], match[2].lower()) if match else (url, None)


def _credentials(key: str | None, sas: str | None, token: str | None, *, anonymous: bool) -> dict[str, Any]:
    """Credential options of the backend; empty if obstore finds credentials by itself."""
    credential = one_of(account_key=key, sas_token=sas, bearer_token=token)
    if credential is None:
        return {"skip_signature": True} if anonymous else {}
    name, value = credential
    if name == "account_key":
        try:
            b64decode(value, validate=True)
        except ValueError:
            raise InputError("account_key must be base64, as the portal shows it") from None
    option_names = {"account_key": "access_key", "sas_token": "sas_token", "bearer_token": "token"}
    # Passed by a provider, since obstore would mix plain options with the environment.
    return {"credential_provider": lambda: {option_names[name]: value, "expires_at": None}, "skip_signature": False}
