"""AWS Lambda, and the local FaaS with the same Invoke API: limits, prices and invokers.

The invoker itself is in `vsearch.fanout.platforms.network`, which processors do not import, since they call no functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from vsearch.fanout.calls.bill import Prices
from vsearch.fanout.calls.invoker import LIVE, Invoker
from vsearch.fanout.platforms.platform import Forecast, Limits, Platform

LIMITS = Limits(
    request_bytes=6 * 1024 * 1024,
    response_bytes=6_291_556,  # 100 more than of a request
    least_memory=128,
    most_memory=10_240,
    seconds=900,
)
"""Limits of synchronous invocations."""

PRICES = {
    "x86_64": Prices("us-east-1", "2026-09", 0.20e-6, 0.0000166667, 0.0004e-3, 0.005e-3),
    "arm64": Prices("us-east-1", "2026-09", 0.20e-6, 0.0000133334, 0.0004e-3, 0.005e-3),
}
"""AWS Lambda and S3 Standard by architecture, without the free tier; reading within the region is free of charge."""

FORECAST = Forecast(whole_processor=1769, hop=0.005, byte=1 / 50e6)
"""`hop`, and `byte` (messages are base64 in JSON), are assumptions."""


def connect(
    region: str | None = None, endpoint: str | None = None, profile: str | None = None, alias: str | None = LIVE
) -> Invoker:
    """Return the invoker of a client; by default, it uses the alias that deployments move."""
    from vsearch.fanout.platforms.network import LambdaInvoker

    return LambdaInvoker(region, endpoint, profile, alias)


def call(name: str, environment: Mapping[str, str]) -> Invoker:  # noqa: ARG001 (other platforms read the name)
    """Return the invoker by which functions call each other, with the alias that they were deployed with."""
    from vsearch.fanout.platforms.network import LambdaInvoker

    return LambdaInvoker(alias=environment.get("VSEARCH_ALIAS"))


LAMBDA = Platform(
    name="lambda",
    scheme="lambda",
    options=("region", "endpoint", "profile", "alias"),
    connect=connect,
    call=call,
    events="json",
    limits=LIMITS,
    prices=PRICES,
    forecast=FORECAST,
    function_variable="AWS_LAMBDA_FUNCTION_NAME",
    memory_variable="AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    deployer="vsearch.deploy.aws.deployer",
)

LOCAL_FAAS = replace(
    LAMBDA, name="local-faas", scheme="local-faas", endpoint="vsearch.api.remote_opening:find_local_faas", deployer=""
)
