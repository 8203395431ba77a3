"""Keys from the address that a container is given: what AWS Lambda does where functions start from a snapshot of memory.

A snapshot must not hold keys, so there are none in the environment; obstore reads such an address only with a token file.
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
"""Before keys end, others are asked for."""


METADATA = ("169.254.170.2", "169.254.170.23", "fd00:ec2::23")
"""Addresses of AWS itself that answer inside of a machine only, and without encryption."""


class ContainerKeys:
    """Keys that are asked for when they are needed and kept until shortly before they end.

    What a call returns is what obstore takes from a credential provider.
    """

    def __init__(self, address: str, token: str) -> None:
        self._address, self._token = address, token
        self._found: dict[str, Any] | None = None
        self.renew_after_fork()
        renew_in_children(self)

    def renew_after_fork(self) -> None:
        """A lock that nobody holds."""
        self._lock = threading.Lock()

    def __call__(self) -> dict[str, Any]:
        """The keys.

        Raises
        ------
        StoreError
            The address gives none.
        """
        with self._lock:
            if self._found is None or self._found["expires_at"] - EARLY < datetime.now(UTC):
                self._found = self._ask()
            return self._found

    def _ask(self) -> dict[str, Any]:
        request = urllib.request.Request(self._address, headers={"Authorization": self._token})  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=5) as reply:  # noqa: S310 (AWS's own address)
                given = json.loads(reply.read(65_536))
            return {
                "access_key_id": str(given["AccessKeyId"]),
                "secret_access_key": str(given["SecretAccessKey"]),
                "token": given.get("Token") or None,
                "expires_at": datetime.fromisoformat(given["Expiration"]),
            }
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"the container's address gives no AWS credentials: {type(error).__name__}") from None


def find_container_keys() -> ContainerKeys | None:
    """The provider that the environment describes, if it holds no keys itself.

    Raises
    ------
    InputError
        The token would travel unencrypted to another machine.
    """
    environment = os.environ.get
    address, token = environment(ADDRESS), environment(TOKEN)
    if environment("AWS_ACCESS_KEY_ID") or not address or not token or not address.startswith(("http://", "https://")):
        return None
    host = urlsplit(address).hostname or ""
    if not (address.startswith("https://") or is_loopback(host) or host in METADATA):
        raise InputError(f"{ADDRESS}: the token would travel unencrypted to {host!r}; use https:// or this machine")
    return ContainerKeys(address, token)
