"""What a function is, and the answers of the platform about it, worded as AWS words them."""

from __future__ import annotations

import json
from typing import Annotated

import msgspec

from vsearch.fanout.platforms.aws_lambda import LIMITS

LARGEST_REQUEST = LIMITS.request_bytes
"""Bytes of a request; the limit of AWS."""

LARGEST_RESPONSE = LIMITS.response_bytes
"""Bytes of a response."""

REGION = "us-east-1"
ACCOUNT = "000000000000"

Name = Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9_-]{1,64}$")]


class FunctionSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A function as it was deployed.

    Attributes
    ----------
    handler : str
        ``module.function``; modules in packages with dots or slashes between.
    package : str
        A zip file, or a folder that stands for one.
    memory : int
        MB.
    timeout : float
        Seconds, for one invocation.
    environment : dict
        Variables.
    concurrency : int or None
        Environments at most; None: as many as the platform has.
    isolated : bool
        Whether the function sees only the interpreter, the runtime, boto3 and its package, as it would on AWS. Without,
        it also sees what is installed here, which is of use as long as a package is not built.
    """

    name: Name
    handler: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_./-]{1,128}$")]
    package: str
    memory: Annotated[int, msgspec.Meta(ge=LIMITS.least_memory, le=LIMITS.most_memory)] = 128
    timeout: Annotated[float, msgspec.Meta(gt=0, le=LIMITS.seconds)] = 3.0
    environment: dict[str, str] = {}
    concurrency: Annotated[int, msgspec.Meta(ge=0, le=10_000)] | None = None
    isolated: bool = True

    @property
    def arn(self) -> str:
        """The function's resource name."""
        return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{self.name}"


class Reply(msgspec.Struct, frozen=True):
    """What the Invoke API answers.

    Attributes
    ----------
    error : str or None
        The header X-Amz-Function-Error.
    kind : str or None
        The header X-Amzn-ErrorType, where the platform refuses.
    log : bytes
        The end of the invocation's log.
    """

    status: int
    body: bytes
    error: str | None = None
    kind: str | None = None
    log: bytes = b""


def refuse(status: int, kind: str, message: str, **more: str) -> Reply:
    """The platform's own refusal."""
    return Reply(
        status, json.dumps({**more, "Type": "User", "Message": message, "message": message}).encode(), kind=kind
    )


def not_found(name: str) -> Reply:
    """There is no such function."""
    arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"
    return refuse(404, "ResourceNotFoundException", f"Function not found: {arn}")


def too_large() -> Reply:
    """The request is over the limit."""
    limit = f"Request must be smaller than {LARGEST_REQUEST} bytes for the InvokeFunction operation"
    return refuse(413, "RequestTooLargeException", limit)


def throttled(reason: str) -> Reply:
    """There is no room for another environment."""
    return refuse(429, "TooManyRequestsException", "Rate Exceeded.", Reason=reason)


def not_json(detail: str) -> Reply:
    """The request is no JSON."""
    text = f"Could not parse request body into json: {detail}"
    return refuse(400, "InvalidRequestContentException", text)


def failed(kind: str, message: str, log: bytes = b"") -> Reply:
    """A function error that the platform reports in the function's place."""
    body = json.dumps({"errorType": kind, "errorMessage": message}).encode()
    return Reply(200, body, error="Unhandled", log=log)


def timed_out(request: str, seconds: float, log: bytes) -> Reply:
    """The invocation ran into its time limit."""
    return failed("Sandbox.Timedout", f"RequestId: {request} Error: Task timed out after {seconds:.2f} seconds", log)


def exited(request: str, status: int | None, log: bytes) -> Reply:
    """The process ended during the invocation."""
    reason = "without providing a reason"
    if status is not None and status < 0:
        signals = {-9: "killed", -11: "segmentation fault", -6: "aborted", -4: "illegal instruction", -15: "terminated"}
        reason = f"with error: signal: {signals.get(status, str(-status))}"
    elif status:
        reason = f"with error: exit status {status}"
    return failed("Runtime.ExitError", f"RequestId: {request} Error: Runtime exited {reason}", log)


def response_too_large() -> Reply:
    """The response is over the limit."""
    limit = f"Response payload size exceeded maximum allowed payload size ({LARGEST_RESPONSE} bytes)."
    return failed("Function.ResponseSizeTooLarge", limit)
