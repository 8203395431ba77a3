"""AWS keys from a container credentials endpoint, as AWS Lambda provides for functions that start from a memory snapshot.

Keys must not be part of a snapshot, so the environment holds none; obstore supports such endpoints only with a token file.
"""

from __future__ import annotations

import json
import os
import threading
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from vsearch.errors import InputError, StoreError
from vsearch.forking import renew_in_children
from vsearch.storage.stores.loopback import is_loopback

ADDRESS, TOKEN = "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN"

EARLY = timedelta(minutes=5)
"""Keys are renewed this long before they expire."""


METADATA = ("169.254.170.2", "169.254.170.23", "fd00:ec2::23")
"""Addresses of AWS metadata services, which answer only inside the machine and without encryption."""


class ContainerKeys:
    """Keys that are fetched when needed and cached until shortly before they expire.

    Instances are credential providers for obstore.
    """

    def __init__(self, address: str, token: str) -> None:
        self._address, self._token = address, token
        self._keys: dict[str, Any] | None = None
        self.renew_after_fork()
        renew_in_children(self)

    def renew_after_fork(self) -> None:
        """Replace the lock by an unlocked one."""
        self._lock = threading.Lock()

    def __call__(self) -> dict[str, Any]:
        """Return the keys.

        Raises
        ------
        StoreError
            The endpoint returns none.
        """
        with self._lock:
            if self._keys is None or self._keys["expires_at"] - EARLY < datetime.now(UTC):
                self._keys = self._ask()
            return self._keys

    def _ask(self) -> dict[str, Any]:
        request = urllib.request.Request(self._address, headers={"Authorization": self._token})  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=5) as reply:  # noqa: S310 (AWS's own address)
                keys = json.loads(reply.read(65_536))
            return {
                "access_key_id": str(keys["AccessKeyId"]),
                "secret_access_key": str(keys["SecretAccessKey"]),
                "token": keys.get("Token") or None,
                "expires_at": datetime.fromisoformat(keys["Expiration"]),
            }
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"the container credentials endpoint returned no AWS keys: {type(error).__name__}"
            ) from None


def find_container_keys() -> ContainerKeys | None:
    """Return the provider that the environment describes, unless the environment itself holds keys.

    Raises
    ------
    InputError
        The token would be sent unencrypted to another machine.
    """
    environment = os.environ.get
    address, token = environment(ADDRESS), environment(TOKEN)
    if environment("AWS_ACCESS_KEY_ID") or not address or not token or not address.startswith(("http://", "https://")):
        return None
    host = urlsplit(address).hostname or ""
    if not (address.startswith("https://") or is_loopback(host) or host in METADATA):
        raise InputError(
            f"{ADDRESS}: the token would be sent unencrypted to {host!r}; use https:// or a loopback address"
        )
    return ContainerKeys(address, token)
