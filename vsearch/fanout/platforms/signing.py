"""AWS Signature Version 4 for POST requests, so that a worker can call another without loading boto3."""

from __future__ import annotations

import hashlib
import hmac
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from vsearch.errors import InputError
from vsearch.forking import renew_in_children
from vsearch.storage.stores.aws_container_keys import find_container_keys


@dataclass(frozen=True)
class Keys:
    """AWS credentials; temporary ones have a `token`."""

    access: str
    secret: str
    token: str | None = None


def find_keys(profile: str | None = None) -> Callable[[], Keys]:
    """Find AWS credentials: in the environment, where functions receive them, otherwise through boto3.

    Returns
    -------
    callable
        Returns the current keys; temporary ones are renewed.

    Raises
    ------
    InputError
        No credentials were found.
    """
    access, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
    if access and secret and profile is None:
        keys = Keys(access, secret, os.environ.get("AWS_SESSION_TOKEN"))
        return lambda: keys
    container = find_container_keys() if profile is None else None
    if container is not None:

        def container_keys() -> Keys:
            fetched = container()
            return Keys(fetched["access_key_id"], fetched["secret_access_key"], fetched["token"])

        return container_keys
    import boto3

    credentials = boto3.Session(profile_name=profile).get_credentials()
    if credentials is None:
        raise InputError("no AWS credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile")

    def current() -> Keys:
        frozen = credentials.get_frozen_credentials()
        return Keys(frozen.access_key, frozen.secret_key, frozen.token)

    return current


class Signer:
    """Signs POST requests to one service in one region. The signing key is derived once per day."""

    def __init__(self, keys: Callable[[], Keys], region: str, service: str) -> None:
        self._keys, self._region, self._service = keys, region, service
        self._derived: tuple[tuple[str, str], bytes] = (("", ""), b"")
        self.renew_after_fork()
        renew_in_children(self)

    def renew_after_fork(self) -> None:
        """Replace the lock, which another thread may have held at the fork."""
        self._lock = threading.Lock()

    def sign(
        self, host: str, path: str, headers: Mapping[str, str], body: bytes, now: float | None = None
    ) -> dict[str, str]:
        """Return the headers to send: the given ones plus host, date, token and signature.

        Parameters
        ----------
        path : str
            As sent.
        now : float, optional
            Seconds since the epoch.
        """
        keys = self._keys()
        stamp = datetime.fromtimestamp(time.time() if now is None else now, UTC).strftime("%Y%m%dT%H%M%SZ")
        signed = {name.lower(): value.strip() for name, value in headers.items()} | {"host": host, "x-amz-date": stamp}
        if keys.token:
            signed["x-amz-security-token"] = keys.token
        names = ";".join(sorted(signed))
        canonical = "\n".join(
            [
                "POST",
                quote(path, safe="/-_.~"),  # the canonical path is URI-encoded twice, except for S3
                "",
                *(f"{name}:{signed[name]}" for name in sorted(signed)),
                "",
                names,
                hashlib.sha256(body).hexdigest(),
            ]
        )
        scope = f"{stamp[:8]}/{self._region}/{self._service}/aws4_request"
        text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        signature = hmac.new(self._key(keys.secret, stamp[:8]), text.encode(), hashlib.sha256).hexdigest()
        signed["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={keys.access}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
        return signed

    def _key(self, secret: str, day: str) -> bytes:
        with self._lock:
            if self._derived[0] != (secret, day):
                key = f"AWS4{secret}".encode()
                for part in (day, self._region, self._service, "aws4_request"):
                    key = hmac.new(key, part.encode(), hashlib.sha256).digest()
                self._derived = ((secret, day), key)
            return self._derived[1]
