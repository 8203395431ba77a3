"""Invokers for AWS Lambda (and platforms with its Invoke API), and for functions behind plain HTTP."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import SplitResult, quote, urlsplit

from vsearch.errors import InputError
from vsearch.fanout.calls.retries import CallError, ErrorKind
from vsearch.fanout.platforms.connections import Connections, Response
from vsearch.fanout.platforms.signing import Signer, find_keys
from vsearch.fanout.wire.envelope import from_event, to_event
from vsearch.storage.stores.loopback import is_loopback

ERROR_KINDS = {
    "Sandbox.Timedout": ErrorKind.TIMEOUT,
    "Runtime.OutOfMemory": ErrorKind.MEMORY,
    "Runtime.ExitError": ErrorKind.CRASH,
    "Runtime.ImportModuleError": ErrorKind.INIT,
    "Runtime.HandlerNotFound": ErrorKind.INIT,
    "Runtime.UserCodeSyntaxError": ErrorKind.INIT,
    "Runtime.MalformedHandlerName": ErrorKind.INIT,
    "Runtime.InvalidEntrypoint": ErrorKind.INIT,
    "Extension.Crash": ErrorKind.CRASH,
    "Function.ResponseSizeTooLarge": ErrorKind.TOO_LARGE,
    "MemoryError": ErrorKind.MEMORY,
}
"""Error kinds by the type of function errors; others are crashes."""

STATUS_KINDS = {
    400: ErrorKind.REFUSED,
    401: ErrorKind.DENIED,
    403: ErrorKind.DENIED,
    404: ErrorKind.ABSENT,
    408: ErrorKind.TIMEOUT,
    409: ErrorKind.THROTTLED,
    410: ErrorKind.ABSENT,
    413: ErrorKind.TOO_LARGE,
    429: ErrorKind.THROTTLED,
    502: ErrorKind.CRASH,
    503: ErrorKind.THROTTLED,
    504: ErrorKind.TIMEOUT,
}


class LambdaInvoker:
    """Calls functions through the Invoke API of AWS Lambda, or of a local FaaS.

    Parameters
    ----------
    region : str, optional
        By default, from the environment.
    endpoint : str, optional
        By default ``AWS_ENDPOINT_URL_LAMBDA``, otherwise AWS.
    profile : str, optional
    alias : str, optional
        Alias of the version to call; by default, the latest version.

    Notes
    -----
    It is pickled without keys; another process reads them from its own environment.
    """

    def __init__(
        self,
        region: str | None = None,
        endpoint: str | None = None,
        profile: str | None = None,
        alias: str | None = None,
    ) -> None:
        environment = os.environ.get
        region = region or environment("AWS_REGION") or environment("AWS_DEFAULT_REGION") or "us-east-1"
        url = endpoint or environment("AWS_ENDPOINT_URL_LAMBDA") or f"https://lambda.{region}.amazonaws.com"
        self._qualifier = f":{alias}" if alias else ""
        self._region, self._profile = region, profile
        self._connections = Connections(url)
        self._signer: Signer | None = self._find_signer()

    def _find_signer(self) -> Signer:
        return Signer(find_keys(self._profile), self._region, "lambda")

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_signer": None}  # the signer has the keys

    def __copy__(self) -> Self:
        return self  # it is thread-safe, so copies can share it

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def invoke(self, function: str, payload: bytes, timeout: float | None) -> bytes:
        """See `Invoker.invoke`."""
        body = json.dumps(to_event(payload)).encode("ascii")
        path = f"/2015-03-31/functions/{quote(function + self._qualifier, safe='')}/invocations"
        headers = {"content-type": "application/json", "x-amz-invocation-type": "RequestResponse"}
        if self._signer is None:  # after unpickling
            self._signer = self._find_signer()
        signed = self._signer.sign(self._connections.host, path, headers, body)
        reply = self._connections.post(path, signed, body, timeout)
        if reply.status != 200:
            raise _refusal(reply, function)
        try:
            event = json.loads(reply.body)
        except ValueError:
            raise CallError(ErrorKind.MALFORMED, f"{function} returned a reply that is not JSON") from None
        if "x-amz-function-error" in reply.headers:
            raise function_error(event, function)
        try:
            return from_event(event)
        except InputError as error:
            raise CallError(ErrorKind.MALFORMED, f"{function} returned a malformed reply: {error}") from None

    def close(self) -> None:
        """Close all connections."""
        self._connections.close()


class HttpInvoker:
    """Calls functions by POST requests: Cloud Run functions, Knative, functions-framework.

    Parameters
    ----------
    template : str
        URL of a function, with the placeholder ``{function}`` for its name.
    token : str, optional
        Bearer token, sent only over https:// or to this machine. It is not pickled; another process reads
        ``VSEARCH_HTTP_TOKEN`` from its own environment.

    Raises
    ------
    InputError
        The template has no placeholder, or the token would be sent without encryption.
    """

    def __init__(self, template: str, token: str | None = None) -> None:
        if "{function}" not in template:
            raise InputError(f"the URL template must contain {{function}}, got {template!r}")
        self._template, self._token = template, token
        self._servers: dict[str, Connections] = {}
        if token:
            self._check_token(self._place("f"))

    def __getstate__(self) -> str:
        return self._template

    def __setstate__(self, template: str) -> None:
        HttpInvoker.__init__(self, template)
        self._token = os.environ.get("VSEARCH_HTTP_TOKEN") or None

    def __copy__(self) -> Self:
        return self  # it is thread-safe, so copies can share it

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def _place(self, function: str) -> SplitResult:
        try:
            return urlsplit(self._template.replace("{function}", quote(function, safe="")))
        except ValueError:
            raise InputError(
                f"the URL template must be a URL such as https://host/{{function}}, got {self._template!r}"
            ) from None

    def _check_token(self, parts: SplitResult) -> None:
        """Refuse to send the token without encryption."""
        if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
            raise InputError(
                f"a bearer token requires https://, or http:// to this machine, got http:// to {parts.hostname!r}"
            )

    def invoke(self, function: str, payload: bytes, timeout: float | None) -> bytes:
        """See `Invoker.invoke`."""
        parts = self._place(function)
        headers = {"content-type": "application/msgpack"}
        if self._token:
            self._check_token(parts)  # again, since the function name may be part of the host
            headers["authorization"] = f"Bearer {self._token}"
        server = self._servers.setdefault(parts.netloc, Connections(f"{parts.scheme}://{parts.netloc}"))
        reply = server.post(parts.path or "/", headers, payload, timeout)
        if reply.status != 200:
            raise _refusal(reply, function)
        return reply.body

    def close(self) -> None:
        """Close all connections."""
        for server in self._servers.values():
            server.close()


def function_error(event: Any, function: str) -> CallError:
    """Return the CallError for a function error of Lambda."""
    facts: Mapping[str, Any] = event if isinstance(event, dict) else {}
    name, message = str(facts.get("errorType", "")), str(facts.get("errorMessage", ""))
    kind = ERROR_KINDS.get(name, ErrorKind.CRASH)
    if "Task timed out" in message:
        kind = ErrorKind.TIMEOUT
    elif kind is ErrorKind.CRASH and "signal: killed" in message:
        kind = ErrorKind.MEMORY
    return CallError(kind, f"{function} failed: {name or 'no type'}: {message[:500]}")


def _refusal(reply: Response, function: str) -> CallError:
    kind = STATUS_KINDS.get(reply.status, ErrorKind.CRASH if reply.status >= 500 else ErrorKind.REFUSED)
    return CallError(
        kind, f"{function} was not called: status {reply.status}: {reply.body[:300].decode('utf-8', 'replace')}"
    )
