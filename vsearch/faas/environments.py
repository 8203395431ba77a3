"""An execution environment: a process with the real runtime client, and the Runtime API that it polls."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

from vsearch.faas.bodies import BodyError, has_body, own_names, read_body
from vsearch.faas.functions import (
    LARGEST_RESPONSE,
    REGION,
    FunctionSpec,
    Reply,
    exited,
    failed,
    response_too_large,
    timed_out,
)

INIT_SECONDS = 10.0
POLL = 0.05
"""Seconds between checks of a running function's memory."""

LOG_TAIL = 4096

LONGEST_BODY = 64 << 20
"""Maximum bytes that a function may post: a response over the platform's limit is read, then answered with AWS's error."""


@dataclass
class Invocation:
    """One call, from the event to the reply."""

    request: str
    event: bytes
    deadline: float
    reply: Reply | None = None


class Environment:
    """A process that serves one function, one invocation at a time.

    Between invocations the process is stopped (SIGSTOP), like a frozen environment on AWS: nothing runs in the background.

    Parameters
    ----------
    spec : FunctionSpec
    code, runtime : Path
        Folders of the package and of the runtime.
    variables : dict
        Environment variables that the platform sets for every function: credentials and endpoints.
    """

    def __init__(self, spec: FunctionSpec, code: Path, runtime: Path, variables: dict[str, str]) -> None:
        self.spec = spec
        self.id = uuid4().hex
        self.used = time.monotonic()
        self.invocations = 0
        self.peak = 0
        self._changed = threading.Condition()
        self._waiting = False  # the runtime is polling for its next invocation
        self._current: Invocation | None = None
        self._delivered = False
        self._init_error: bytes | None = None
        self._frozen = False
        self._log: deque[bytes] = deque(maxlen=400)
        self._scratch = Path(tempfile.mkdtemp(prefix="vsearch-faas-"))
        self._server = _RuntimeApi(self)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        started = time.monotonic()
        self._process = self._spawn(code, runtime, variables)
        self._drainer = threading.Thread(target=self._drain, daemon=True)
        self._drainer.start()
        self._await_init(started)
        self.init_seconds = time.monotonic() - started

    @property
    def alive(self) -> bool:
        """Whether it can take another invocation."""
        return self._process.poll() is None and self._waiting

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def invoke(self, event: bytes, request: str) -> Reply:
        """Run one invocation and return its reply; kills the process when it exceeds the time or memory limit."""
        spec = self.spec
        if self._init_error is not None or not self.alive:
            reply = self._failed_init(request)
            self.stop()
            return reply
        mark = len(self._log)
        self._thaw()
        end = time.monotonic() + spec.timeout
        call = Invocation(request, event, time.time() + spec.timeout)
        with self._changed:
            self._current, self._delivered = call, False
            self._changed.notify_all()
        over_memory = False
        while True:
            with self._changed:
                self._changed.wait_for(lambda: call.reply is not None, min(POLL, max(0.0, end - time.monotonic())))
                if call.reply is not None:
                    break
            self.peak = max(self.peak, resident_bytes(self.pid))
            if self._process.poll() is not None:
                break
            over_memory = self.peak > spec.memory * 1024 * 1024
            if over_memory or time.monotonic() >= end:
                break
        self.used = time.monotonic()
        self.invocations += 1
        if call.reply is not None:
            self._settle()
            return call.reply
        running = self._process.poll() is None
        self.stop()
        log = self._tail(mark)
        if running and not over_memory:
            return timed_out(request, spec.timeout, log)
        return exited(request, self._process.returncode, log)

    def stop(self) -> None:
        """Kill the process group and clean up."""
        with self._changed:
            self._waiting = False
            self._changed.notify_all()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._drainer.join(1.0)
        self._server.shutdown()
        self._server.server_close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def tail(self) -> bytes:
        """The end of the log."""
        return self._tail(0)

    # -- the runtime's side, called by threads of the Runtime API

    def next(self) -> Invocation | None:
        """Wait for the next invocation; None when the environment stops."""
        with self._changed:
            self._waiting = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: (self._current is not None and not self._delivered) or self._ended())
            if self._ended() or self._current is None:
                return None
            self._waiting, self._delivered = False, True
            return self._current

    def finish(self, request: str, reply: Reply) -> bool:
        """Store the reply to an invocation; False if the invocation is not the current one."""
        with self._changed:
            call = self._current
            if call is None or call.request != request or call.reply is not None:
                return False
            call.reply = _with_log(reply, self._tail(0))
            self._current = None
            self._changed.notify_all()
            return True

    def fail_init(self, body: bytes) -> None:
        """Store the runtime's report that the function failed to start."""
        with self._changed:
            self._init_error = body
            self._changed.notify_all()

    def _ended(self) -> bool:
        return self._process.poll() is not None

    # -- internals

    def _spawn(self, code: Path, runtime: Path, variables: dict[str, str]) -> subprocess.Popen[bytes]:
        spec = self.spec
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "HOME": str(self._scratch),
            "TMPDIR": str(self._scratch),
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EXECUTION_ENV": f"AWS_Lambda_python{sys.version_info.major}.{sys.version_info.minor}",
            "AWS_LAMBDA_FUNCTION_NAME": spec.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(spec.memory),
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{spec.name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": self.id,
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._server.server_port}",
            "LAMBDA_TASK_ROOT": str(code),
            "LAMBDA_RUNTIME_DIR": str(runtime),
            "_HANDLER": spec.handler,
            "PYTHONPATH": os.pathsep.join((str(code), str(runtime))),
            "PYTHONDONTWRITEBYTECODE": "1",
            **variables,
            **spec.environment,
        }
        site_options = ["-S"] if spec.isolated else []
        return subprocess.Popen(
            [sys.executable, *site_options, "-m", "awslambdaric", spec.handler],
            cwd=code,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _drain(self) -> None:
        output = self._process.stdout
        if output is not None:
            with output:
                for line in output:
                    self._log.append(line)

    def _tail(self, mark: int) -> bytes:
        lines = list(self._log)
        return b"".join(lines[mark:])[-LOG_TAIL:]

    def _await_init(self, started: float) -> None:
        while time.monotonic() - started < INIT_SECONDS:
            with self._changed:
                if self._changed.wait_for(lambda: self._waiting or self._init_error is not None, POLL):
                    break
            if self._process.poll() is not None:
                break
        if self._waiting:
            self._freeze()

    def _failed_init(self, request: str) -> Reply:
        if self._init_error is not None:
            try:
                facts = json.loads(self._init_error)
            except ValueError:
                facts = {}
            body = json.dumps({"errorType": "Runtime.Unknown", "errorMessage": "", **facts, "requestId": ""})
            return Reply(200, body.encode(), error="Unhandled", log=self.tail())
        if self._process.poll() is not None:
            return exited(request, self._process.returncode, self.tail())
        return failed(
            "Sandbox.Timedout", f"RequestId: {request} Error: Task timed out after {INIT_SECONDS:.2f} seconds"
        )

    def _settle(self) -> None:
        """Wait until the runtime polls again, then freeze it."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended(), 5.0)
        if self.alive:
            self.peak = max(self.peak, resident_bytes(self.pid))
            self._freeze()

    def _freeze(self) -> None:
        os.killpg(self._process.pid, signal.SIGSTOP)
        self._frozen = True

    def _thaw(self) -> None:
        if self._frozen:
            os.killpg(self._process.pid, signal.SIGCONT)
            self._frozen = False


def _with_log(reply: Reply, log: bytes) -> Reply:
    """Add the log to a reply."""
    return Reply(reply.status, reply.body, reply.error, reply.kind, log)


def resident_bytes(pid: int) -> int:
    """Resident memory of a process in bytes; 0 if unknown."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


class _RuntimeApi(ThreadingHTTPServer):
    """The Runtime API of one environment, on its own port, since the client's address cannot include a path."""

    daemon_threads = True
    request_queue_size = 16

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        super().__init__(("127.0.0.1", 0), _RuntimeHandler)

    def handle_error(self, *_: object) -> None:
        """Ignore clients that disconnect."""

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "127.0.0.1", int(self.server_address[1])


class _RuntimeHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _RuntimeApi

    def do_GET(self) -> None:
        """Long-poll for the next invocation."""
        if self._refuses():
            return
        self.close_connection |= has_body(self.headers)  # the body is not read
        call = self.server.environment.next() if self.path.endswith("/runtime/invocation/next") else None
        if call is None:
            self._send(404 if not self.path.endswith("/next") else 410, b"{}")
            return
        spec = self.server.environment.spec
        headers = {
            "Lambda-Runtime-Aws-Request-Id": call.request,
            "Lambda-Runtime-Deadline-Ms": str(int(call.deadline * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": spec.arn,
            "Lambda-Runtime-Trace-Id": f"Root=1-{int(time.time()):08x}-{call.request.replace('-', '')[:24]};Sampled=0",
        }
        self._send(200, call.event, headers)

    def do_POST(self) -> None:
        """Accept a response, an error, or the report that the function failed to start."""
        if self._refuses():
            return
        try:
            body = read_body(self.rfile, self.headers, LONGEST_BODY, chunks=True)
        except BodyError as error:
            self.close_connection = True
            self._send(error.status, json.dumps({"errorMessage": str(error), "errorType": "InvalidRequest"}).encode())
            return
        environment, parts = self.server.environment, self.path.split("/")
        if self.path.endswith("/runtime/init/error"):
            environment.fail_init(body)
            self._send(202, b'{"status":"OK"}')
        elif parts[-1] == "response" and len(body) > LARGEST_RESPONSE:
            environment.finish(parts[-2], response_too_large())
            text = f"Exceeded maximum allowed payload size ({LARGEST_RESPONSE} bytes)."
            self._send(413, json.dumps({"errorMessage": text, "errorType": "RequestEntityTooLarge"}).encode())
        elif (parts[-1] == "response" and environment.finish(parts[-2], Reply(200, body))) or (
            parts[-1] == "error" and environment.finish(parts[-2], Reply(200, body, error="Unhandled"))
        ):
            self._send(202, b'{"status":"OK"}')
        else:
            self._send(400, b'{"errorType":"InvalidRequestID"}')

    def log_message(self, *_: object) -> None:
        """Disable logging."""

    def _refuses(self) -> bool:
        """Refuse requests under a host name other than the runtime client's, and requests from web pages."""
        known = self.headers.get_all("host", []) in [[name] for name in own_names(self.server.server_port)]
        if known and self.headers.get("origin") is None:
            return False
        self.close_connection = True  # the body is not read
        self._send(403, b'{"errorType":"AccessDenied"}')
        return True

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
