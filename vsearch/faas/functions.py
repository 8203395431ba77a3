"""Function specifications, and the platform's replies in the wording of AWS."""

from __future__ import annotations

import json
from typing import Annotated

import msgspec

from vsearch.fanout.platforms.aws_lambda import LIMITS

LARGEST_REQUEST = LIMITS.request_bytes
"""Size limit of a request in bytes, as on AWS."""

LARGEST_RESPONSE = LIMITS.response_bytes
"""Size limit of a response in bytes."""

REGION = "us-east-1"
ACCOUNT = "000000000000"

Name = Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9_-]{1,64}$")]


class FunctionSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A deployed function.

    Attributes
    ----------
    handler : str
        ``module.function``; modules in packages are separated by dots or slashes.
    package : str
        A zip file, or a folder in place of one.
    memory : int
        MB.
    timeout : float
        Seconds per invocation.
    environment : dict
        Variables.
    concurrency : int or None
        Maximum number of environments; None for the platform's limit.
    isolated : bool
        Whether the function sees only the interpreter, the runtime, boto3 and its package, as on AWS. If not, it also sees
        locally installed packages, which helps during development, before a package is built.
    every : float or None
        Seconds between invocations by a schedule, as by EventBridge; None for no schedule.
    """

    name: Name
    handler: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_./-]{1,128}$")]
    package: str
    memory: Annotated[int, msgspec.Meta(ge=LIMITS.least_memory, le=LIMITS.most_memory)] = 128
    timeout: Annotated[float, msgspec.Meta(gt=0, le=LIMITS.seconds)] = 3.0
    environment: dict[str, str] = {}
    concurrency: Annotated[int, msgspec.Meta(ge=0, le=10_000)] | None = None
    isolated: bool = True
    every: Annotated[float, msgspec.Meta(gt=0, le=7 * 86_400)] | None = None

    @property
    def arn(self) -> str:
        """The ARN of the function."""
        return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{self.name}"


class Reply(msgspec.Struct, frozen=True):
    """A reply of the Invoke API.

    Attributes
    ----------
    error : str or None
        The header X-Amz-Function-Error.
    kind : str or None
        The header X-Amzn-ErrorType, if the platform refuses the request.
    log : bytes
        The end of the invocation's log.
    """

    status: int
    body: bytes
    error: str | None = None
    kind: str | None = None
    log: bytes = b""


SCHEDULED = b'{"version": "0", "detail-type": "Scheduled Event", "source": "aws.events", "detail": {}}'
"""The event that a schedule sends."""


def refuse(status: int, kind: str, message: str, **more: str) -> Reply:
    """A refusal by the platform."""
    return Reply(
        status, json.dumps({**more, "Type": "User", "Message": message, "message": message}).encode(), kind=kind
    )


def not_found(name: str) -> Reply:
    """The function does not exist."""
    arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"
    return refuse(404, "ResourceNotFoundException", f"Function not found: {arn}")


def too_large() -> Reply:
    """The request exceeds the size limit."""
    limit = f"Request must be smaller than {LARGEST_REQUEST} bytes for the InvokeFunction operation"
    return refuse(413, "RequestTooLargeException", limit)


def throttled(reason: str) -> Reply:
    """There is no capacity for another environment."""
    return refuse(429, "TooManyRequestsException", "Rate Exceeded.", Reason=reason)


def not_json(detail: str) -> Reply:
    """The request is not JSON."""
    text = f"Could not parse request body into json: {detail}"
    return refuse(400, "InvalidRequestContentException", text)


def failed(kind: str, message: str, log: bytes = b"") -> Reply:
    """A function error reported by the platform on behalf of the function."""
    body = json.dumps({"errorType": kind, "errorMessage": message}).encode()
    return Reply(200, body, error="Unhandled", log=log)


def timed_out(request: str, seconds: float, log: bytes) -> Reply:
    """The invocation exceeded its time limit."""
    return failed("Sandbox.Timedout", f"RequestId: {request} Error: Task timed out after {seconds:.2f} seconds", log)


def exited(request: str, status: int | None, log: bytes) -> Reply:
    """The process exited during the invocation."""
    reason = "without providing a reason"
    if status is not None and status < 0:
        signals = {-9: "killed", -11: "segmentation fault", -6: "aborted", -4: "illegal instruction", -15: "terminated"}
        reason = f"with error: signal: {signals.get(status, str(-status))}"
    elif status:
        reason = f"with error: exit status {status}"
    return failed("Runtime.ExitError", f"RequestId: {request} Error: Runtime exited {reason}", log)


def response_too_large() -> Reply:
    """The response exceeds the size limit."""
    limit = f"Response payload size exceeded maximum allowed payload size ({LARGEST_RESPONSE} bytes)."
    return failed("Function.ResponseSizeTooLarge", limit)
