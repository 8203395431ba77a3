from __future__ import annotations

import textwrap

import boto3
import pytest
from botocore.config import Config

from vsearch.faas.functions import FunctionSpec
from vsearch.faas.platform import Limits, Platform
from vsearch.faas.server import Server

HANDLERS = """
    import json, os, sys, threading, time

    calls = 0
    ticks = []

    def echo(event, context):
        global calls
        calls += 1
        return {"event": event, "calls": calls, "pid": os.getpid()}

    def about(event, context):
        return {
            "name": context.function_name,
            "memory": context.memory_limit_in_mb,
            "left": context.get_remaining_time_in_millis(),
            "arn": context.invoked_function_arn,
            "request": context.aws_request_id,
            "variable": os.environ.get("VARIABLE"),
            "root": os.environ["LAMBDA_TASK_ROOT"],
            "here": os.getcwd(),
        }

    def fail(event, context):
        raise ValueError("as asked")

    def sleep(event, context):
        time.sleep(event)
        return "slept"

    def leave(event, context):
        os._exit(event)

    def hog(event, context):
        data = bytearray(event * 1024 * 1024)
        data[::4096] = b"x" * len(data[::4096])
        time.sleep(60 if event > 128 else 0)  # until it is killed
        return len(data)

    def large(event, context):
        return "x" * event

    def tick(event, context):
        def run():
            while True:
                ticks.append(time.monotonic())
                time.sleep(0.01)
        if event == "start":
            threading.Thread(target=run, daemon=True).start()
            return None
        return sum(event[0] < at < event[1] for at in ticks)

    def gated(event, context):
        while not os.path.exists(event):
            time.sleep(0.01)
        return "through"

    def modules(event, context):
        found = {}
        for name in event:
            try:
                __import__(name)
                found[name] = True
            except ImportError:
                found[name] = False
        return found

    def speak(event, context):
        print("a line for the log")
"""


@pytest.fixture(scope="session")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("package")
    (folder / "handlers.py").write_text(textwrap.dedent(HANDLERS))
    (folder / "broken.py").write_text("import nothing_of_that_name\n")
    return folder


@pytest.fixture(scope="session")
def server(tmp_path_factory, package):
    platform = Platform(tmp_path_factory.mktemp("faas"), Limits(environments=12))
    found = Server(platform)
    found.start()
    for name in ("echo", "about", "fail", "leave", "large", "modules", "tick", "speak"):
        platform.put(
            FunctionSpec(
                name=name,
                handler=f"handlers.{name}",
                package=str(package),
                timeout=60,
                environment={"VARIABLE": "value"},
            )
        )
    platform.put(FunctionSpec(name="sleep", handler="handlers.sleep", package=str(package), timeout=2))
    platform.put(FunctionSpec(name="gated", handler="handlers.gated", package=str(package), timeout=120, concurrency=2))
    platform.put(FunctionSpec(name="hog", handler="handlers.hog", package=str(package), memory=128, timeout=60))
    platform.put(FunctionSpec(name="broken", handler="broken.handler", package=str(package)))
    yield found
    found.stop()


@pytest.fixture(scope="session")
def client(server):
    return boto3.client(
        "lambda",
        endpoint_url=server.url,
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",
        config=Config(retries={"total_max_attempts": 1}, max_pool_connections=16, read_timeout=60),
    )
