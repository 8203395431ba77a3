"""Recognition of loopback hosts, the only ones to which secrets may be sent without encryption."""

from __future__ import annotations

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Whether a host, as written in a URL, is ``localhost``, in 127.0.0.0/8 or ``::1``.

    Other names do not count, even if they resolve to such an address.
    """
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
