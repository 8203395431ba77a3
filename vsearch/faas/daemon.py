"""The local FaaS as a background process that is started, queried and stopped from the command line.

Its address and the token for control requests are stored in a small file, where ``vsearch faas status`` and
``local-faas://`` find them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from vsearch.api.local_endpoint import local_state, own_folder, state_file
from vsearch.errors import VsearchError
from vsearch.faas.functions import FunctionSpec
from vsearch.faas.server import CONTROL_HEADER
from vsearch.storage.stores.loopback import is_loopback

START_SECONDS = 20.0

_started: list[subprocess.Popen[bytes]] = []  # started by this process, which waits for them to exit


class FaasError(VsearchError):
    """The local FaaS is not running, or refused a request."""


def find() -> str:
    """The address of the running FaaS.

    Raises
    ------
    FaasError
        The FaaS is not running.
    InputError
        The folder of its state may belong to another user.
    """
    state = local_state()
    if state is None:
        raise FaasError("no local FaaS is running; start one with: vsearch faas up")
    try:
        _ask("/vsearch/functions")
    except FaasError:
        raise FaasError("the local FaaS does not answer; start it again with: vsearch faas up") from None
    return state[0]


def up(port: int = 0, environments: int = 40, idle: float = 600.0, variables: dict[str, str] | None = None) -> str:
    """Start the FaaS in the background unless it is running; return its address.

    Raises
    ------
    FaasError
        The FaaS does not start.
    InputError
        The folder of its state may belong to another user.
    """
    own_folder(make=True)
    try:
        return find()
    except FaasError:
        pass
    file = state_file()
    file.unlink(missing_ok=True)
    options = {"port": port, "environments": environments, "idle": idle, "variables": variables or {}}
    with file.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "vsearch.faas", str(file), json.dumps(options)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _started.append(process)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            return find()
        except FaasError:
            time.sleep(0.05)
    tail = file.with_suffix(".log").read_text(encoding="utf-8", errors="replace")[-500:]
    raise FaasError(f"the local FaaS did not start: {tail.strip() or 'no output'}")


def status() -> list[dict[str, Any]]:
    """Functions and the number of their environments.

    Raises
    ------
    FaasError
        The daemon does not run, or did not answer.
    """
    find()
    functions: list[dict[str, Any]] = json.loads(_ask("/vsearch/functions"))
    return functions


def put(spec: FunctionSpec) -> None:
    """Create or replace a function.

    Raises
    ------
    FaasError
        The daemon does not run, or refused the function.
    """
    _ask("/vsearch/functions", msgspec.json.encode(spec))


def remove(name: str) -> None:
    """Remove a function.

    Raises
    ------
    FaasError
        There is no function with this name.
    """
    _ask(f"/vsearch/functions/{name}", method="DELETE")


def down() -> bool:
    """Stop the FaaS and all its functions; False if it is not running."""
    try:
        find()
    except FaasError:
        return False
    _ask("/vsearch/down", b"{}")
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and state_file().exists():
        time.sleep(0.05)
    while _started:
        _started.pop().wait(START_SECONDS)
    return True


def serve(file: Path, options: dict[str, Any]) -> None:
    """Run the FaaS in this process until it is stopped."""
    from vsearch.faas.platform import Limits, Platform
    from vsearch.faas.server import Server

    limits = Limits(int(options["environments"]), float(options["idle"]))
    server = Server(Platform(file.parent / "run", limits, dict(options["variables"])), int(options["port"]))
    partial = file.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    partial.touch(mode=0o600)
    partial.write_text(json.dumps({"url": server.url, "token": server.token, "pid": os.getpid()}), encoding="utf-8")
    partial.replace(file)
    try:
        server.serve_forever(0.1)
    finally:
        file.unlink(missing_ok=True)
        server.platform.close()


def _ask(path: str, body: bytes | None = None, method: str | None = None) -> bytes:
    state = local_state()
    if state is None:
        raise FaasError("no local FaaS is running; start one with: vsearch faas up")
    url, token = state
    if not is_loopback(urlsplit(url).hostname or ""):
        raise FaasError(f"the local FaaS must be on this machine, not at {url}; start it again with: vsearch faas up")
    request = urllib.request.Request(url + path, body, {CONTROL_HEADER: token}, method=method)  # noqa: S310 (our own address)
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:  # noqa: S310
            data: bytes = reply.read()
            return data
    except urllib.error.HTTPError as error:
        with error:
            text = error.read()[:500].decode("utf-8", "replace")
        raise FaasError(f"the local FaaS refused: {text}") from None
    except OSError as error:
        raise FaasError(f"the local FaaS at {url} cannot be reached: {error}") from None
