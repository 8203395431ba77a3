"""Opening ``s3://`` URLs: endpoint, region and sources of keys."""

from __future__ import annotations

import os
import socket
from functools import partial
from pathlib import Path
from typing import Any

from vsearch.errors import InputError, MissingDependencyError, StoreError
from vsearch.storage.stores.advice import AWS
from vsearch.storage.stores.aws_container_keys import find_container_keys
from vsearch.storage.stores.buckets import bucket_and_prefix, connect, http_is_fine
from vsearch.storage.stores.object_store import ObjectStore

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
) -> ObjectStore:
    """Open ``s3://bucket/prefix``; see :func:`vsearch.storage.open_store` for the options."""
    from obstore.store import S3Store

    bucket, prefix = bucket_and_prefix(url, AWS)
    environment = os.environ.get
    endpoint = endpoint or environment("AWS_ENDPOINT_URL_S3") or environment("AWS_ENDPOINT_URL") or None
    plain_http = http_is_fine(endpoint, allow_http, AWS)
    config: dict[str, Any] = {"endpoint": endpoint} if endpoint else {}
    if access_key_id and secret_access_key:
        keys = {"access_key_id": access_key_id, "secret_access_key": secret_access_key, "token": session_token}
        # Passed by a provider, since obstore would mix plain options with a session token from the environment.
        config["credential_provider"] = lambda: {**keys, "expires_at": None}
    elif access_key_id or secret_access_key:
        raise InputError("access_key_id and secret_access_key must be passed together")
    elif anonymous:
        config["skip_signature"] = True
    else:
        config |= _keys(url, profile)
    profile_region = config.pop("region", None)
    region = region or environment("AWS_REGION") or environment("AWS_DEFAULT_REGION") or profile_region or "us-east-1"

    return connect(
        f"s3://{bucket}/{prefix}".rstrip("/"),
        prefix,
        partial(S3Store, bucket, region=region, **config),
        reopen=open_s3,
        place={
            "endpoint": endpoint,
            "region": region,
            "profile": profile,
            "anonymous": anonymous,
            "allow_http": allow_http,
        },
        provider=AWS,
        plain_http=plain_http,
    )


def _keys(url: str, profile: str | None) -> dict[str, Any]:
    """Credential options of the backend; empty if obstore finds keys by itself."""
    environment = os.environ.get
    container = None if profile or environment("AWS_PROFILE") else find_container_keys()
    if container is not None:
        return {"credential_provider": container}
    in_environment = any(environment(name) for name in _KEY_SOURCES)
    files = (
        environment("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
        environment("AWS_CONFIG_FILE", "~/.aws/config"),
    )
    options: dict[str, Any] = {}
    if (
        profile
        or environment("AWS_PROFILE")
        or (not in_environment and any(Path(file).expanduser().exists() for file in files))
    ):
        options = _from_files(profile)
    if not (in_environment or "credential_provider" in options or _on_an_instance()):
        raise StoreError(f"{url}: {AWS.no_keys}")
    return options


def _from_files(profile: str | None) -> dict[str, Any]:
    """Keys and region from the AWS configuration files, which obstore does not read."""
    try:
        import boto3
        from botocore.exceptions import BotoCoreError
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError as error:
        raise MissingDependencyError(
            "AWS profiles need boto3: pip install boto3, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from error
    try:
        session = boto3.Session(profile_name=profile)
        options = {"region": session.region_name}
        if session.get_credentials() is not None:
            return {**options, "credential_provider": Boto3CredentialProvider(session)}
    except BotoCoreError as error:
        raise InputError(f"AWS profile: {error}") from error
    if profile:
        raise InputError(f"the AWS profile {profile!r} has no credentials; log in or name another")
    return options


def _on_an_instance() -> bool:
    """Whether an AWS instance metadata service answers; without one, obstore would keep trying for a long time."""
    try:
        socket.create_connection(("169.254.169.254", 80), timeout=1).close()
    except OSError:
        return False
    return True
