"""Handlers that misbehave on request; they are added to a package next to the real ones.

For each trouble there is a file in ``TROUBLE``, called after the function; whoever removes it has it.
"""

from __future__ import annotations

import base64
import importlib
import os
import signal
import time
from pathlib import Path


def wrap(role):
    """The real handler of a role, and the trouble before it."""
    real = importlib.import_module(f"functions.{role}").handler

    def handler(event, context):
        kind = _claim()
        if kind == "exit":
            os._exit(1)
        if kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "hang":
            time.sleep(600)
        if kind == "memory":
            held = bytearray(600 << 20)
            held[::4096] = b"1" * len(held[::4096])
            time.sleep(5)
        if kind == "raise":
            raise RuntimeError("not foreseen")
        if kind == "nonsense":
            return 5
        if kind == "large":
            return {"vsearch": "A" * (7 << 20)}
        answer = real(event, context)
        if kind == "garble":
            data = bytearray(base64.b64decode(answer["vsearch"]))
            data[len(data) // 2] ^= 16
            answer = {"vsearch": base64.b64encode(bytes(data)).decode()}
        return answer

    return handler


def _claim():
    for path in sorted(Path(os.environ["TROUBLE"]).glob(f"{os.environ['AWS_LAMBDA_FUNCTION_NAME']}.*")):
        try:
            kind = path.read_text()
            path.unlink()
        except FileNotFoundError:
            continue
        return kind
    return ""
