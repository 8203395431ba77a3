"""Opening ``s3://`` URLs: endpoint, region, and where the keys come from."""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from pathlib import Path
from typing import Any

from vsearch.errors import InputError, MissingDependencyError, StoreError
from vsearch.storage.stores.advice import NO_KEYS
from vsearch.storage.stores.aws_container_keys import find_container_keys
from vsearch.storage.stores.base import check_path
from vsearch.storage.stores.loopback import is_loopback
from vsearch.storage.stores.object_store import ObjectStore
from vsearch.storage.stores.retrying import FIRST_WAIT, LONGEST_WAIT, PATIENCE
from vsearch.storage.stores.urls import redacted, split_url

RETRIES = 6
"""How often a place is asked that never answered, waiting 0.1 s and twice as long each time, up to 5 s: 6 s in all. One that
has answered before is given minutes (`vsearch.storage.stores.retrying`)."""

PART_RETRIES = 10
"""How often a part of an upload is repeated before the whole upload is."""

_KEY_SOURCES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SKIP_SIGNATURE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_METADATA_ENDPOINT",
)


def open_s3(
    url: str,
    *,
    endpoint: str | None = None,
    region: str | None = None,
    profile: str | None = None,
    anonymous: bool = False,
    allow_http: bool = False,
    access_key_id: str | None = None,
    secret_access_key: str | None = None,
    session_token: str | None = None,
    **unknown: Any,
) -> ObjectStore:
    """Open ``s3://bucket/prefix``; see :func:`vsearch.storage.open_store` for the options."""
    from obstore.store import S3Store

    if unknown:
        raise InputError(f"{', '.join(sorted(unknown))}: no such option of an s3:// URL")
    bucket, prefix = _bucket_and_prefix(url)
    environment = os.environ.get
    endpoint = endpoint or environment("AWS_ENDPOINT_URL_S3") or environment("AWS_ENDPOINT_URL") or None
    client: Any = {"allow_http": _http_is_fine(endpoint, allow_http), "timeout": "60s"}
    config: dict[str, Any] = {"endpoint": endpoint} if endpoint else {}
    if access_key_id and secret_access_key:
        keys = {"access_key_id": access_key_id, "secret_access_key": secret_access_key, "token": session_token}
        # Not as options: these would be mixed with a session token of other keys in the environment.
        config["credential_provider"] = lambda: {**keys, "expires_at": None}
    elif access_key_id or secret_access_key:
        raise InputError("give access_key_id and secret_access_key together, or neither")
    elif anonymous:
        config["skip_signature"] = True
    else:
        config |= _keys(url, profile)
    of_profile = config.pop("region", None)
    region = region or environment("AWS_REGION") or environment("AWS_DEFAULT_REGION") or of_profile or "us-east-1"

    def connect(retries: int) -> S3Store:
        backoff: Any = {"max_backoff": timedelta(seconds=LONGEST_WAIT)}
        retry: Any = {"max_retries": retries, "retry_timeout": timedelta(seconds=PATIENCE), "backoff": backoff}
        return S3Store(bucket, region=region, client_options=client, retry_config=retry, **config)

    place = {
        "endpoint": endpoint,
        "region": region,
        "profile": profile,
        "anonymous": anonymous,
        "allow_http": allow_http,
    }
    return ObjectStore(
        f"s3://{bucket}/{prefix}".rstrip("/"),
        connect(0),
        prefix,
        open_s3,
        {name: value for name, value in place.items() if value},  # keys that were given stay here
        uploads=connect(PART_RETRIES),
        first_patience=sum(min(FIRST_WAIT * 2**i, LONGEST_WAIT) for i in range(RETRIES)),
    )


def _bucket_and_prefix(url: str) -> tuple[str, str]:
    bucket, _, prefix = url.split("://", 1)[1].partition("/")
    prefix = prefix.strip("/")
    if not bucket or any(c in bucket for c in "@:?#") or any(c in prefix for c in "?#"):
        hint = "; keys are given by access_key_id=, the environment or a profile" if "@" in url else ""
        raise InputError(f"{redacted(url)!r} names no bucket; write s3://bucket/prefix{hint}")
    return bucket, check_path(prefix) if prefix else ""


def _http_is_fine(endpoint: str | None, allowed: bool) -> bool:
    if endpoint is None:
        return False
    allowed = allowed or os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true")
    parts = split_url(endpoint)
    scheme, host = parts.scheme.lower(), parts.hostname or ""
    if scheme not in ("http", "https") or not host:
        raise InputError(f"the endpoint {redacted(endpoint)!r} is no URL; write https://host or http://127.0.0.1:port")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise InputError(
            f"the endpoint {redacted(endpoint)!r} holds more than a host and a path; give keys by access_key_id= and "
            "secret_access_key=, the environment or a profile"
        )
    if scheme == "https":
        return False
    if not (is_loopback(host) or allowed):
        raise InputError(
            f"the endpoint {endpoint} is not encrypted; use https://, or allow_http=True if the network is trusted"
        )
    return True


def _keys(url: str, profile: str | None) -> dict[str, Any]:
    """Where the keys come from, as options of the store: nothing where obstore finds them by itself."""
    environment = os.environ.get
    container = None if profile or environment("AWS_PROFILE") else find_container_keys()
    if container is not None:
        return {"credential_provider": container}
    of_itself = any(environment(name) for name in _KEY_SOURCES)
    files = (
        environment("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
        environment("AWS_CONFIG_FILE", "~/.aws/config"),
    )
    found: dict[str, Any] = {}
    if (
        profile
        or environment("AWS_PROFILE")
        or (not of_itself and any(Path(file).expanduser().exists() for file in files))
    ):
        found = _from_files(profile)
    if not (of_itself or "credential_provider" in found or _on_an_instance()):
        raise StoreError(f"{url}: {NO_KEYS}")
    return found


def _from_files(profile: str | None) -> dict[str, Any]:
    """Keys and region of a profile in the AWS configuration files, which obstore does not read."""
    try:
        import boto3
        from botocore.exceptions import BotoCoreError
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError as error:
        raise MissingDependencyError(
            "AWS profiles need boto3: pip install boto3, or give the keys by AWS_ACCESS_KEY_ID"
        ) from error
    try:
        session = boto3.Session(profile_name=profile)
        found = {"region": session.region_name}
        if session.get_credentials() is not None:
            return {**found, "credential_provider": Boto3CredentialProvider(session)}
    except BotoCoreError as error:
        raise InputError(f"AWS profile: {error}") from error
    if profile:
        raise InputError(f"the AWS profile {profile!r} holds no credentials; log in or name another")
    return found


def _on_an_instance() -> bool:
    """Whether the place answers where a machine inside AWS is given its keys; obstore would go on asking it for long."""
    try:
        socket.create_connection(("169.254.169.254", 80), timeout=1).close()
    except OSError:
        return False
    return True
