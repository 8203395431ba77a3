"""The local FaaS behaves as Lambda does, seen through boto3."""

from __future__ import annotations

import base64
import json
import time
from concurrent.futures import ThreadPoolExecutor, as_completed

import msgspec
import pytest
from botocore.exceptions import ClientError

from tests.waiting import wait_until
from vsearch.faas.functions import FunctionSpec
from vsearch.faas.platform import Limits, Platform


def call(client, name, event=None, **more):
    reply = client.invoke(FunctionName=name, Payload=json.dumps(event).encode(), **more)
    return json.loads(reply["Payload"].read() or b"null"), reply.get("FunctionError"), reply


def test_a_warm_environment_is_used_again(client):
    first, error, reply = call(client, "echo", {"a": [1, "ü"]})
    second, _, _ = call(client, "echo", None)
    assert error is None
    assert first["event"] == {"a": [1, "ü"]}
    assert second["pid"] == first["pid"]
    assert second["calls"] == first["calls"] + 1
    assert reply["ExecutedVersion"] == "$LATEST"


def test_the_context(client):
    about, _, _ = call(client, "about")
    assert about["name"] == "about"
    assert about["memory"] == "128"
    assert 0 < about["left"] <= 60_000
    assert about["arn"] == "arn:aws:lambda:us-east-1:000000000000:function:about"
    assert about["variable"] == "value"
    assert about["here"] == about["root"]


def test_by_resource_name_and_qualifier(client):
    arn = "arn:aws:lambda:us-east-1:000000000000:function:echo"
    for name in (arn, "echo:$LATEST"):
        assert call(client, name)[1] is None


def test_an_exception_is_an_unhandled_error(client):
    body, error, reply = call(client, "fail")
    assert error == "Unhandled"
    assert reply["StatusCode"] == 200
    assert body["errorMessage"] == "as asked"
    assert body["errorType"] == "ValueError"
    assert "handlers.py" in body["stackTrace"][0]
    assert call(client, "fail")[0]["requestId"] != body["requestId"]


def test_a_timeout_kills_the_environment(client):
    body, error, _ = call(client, "sleep", 600)
    assert error == "Unhandled"
    assert body["errorType"] == "Sandbox.Timedout"
    assert body["errorMessage"].endswith("Error: Task timed out after 2.00 seconds")
    assert call(client, "sleep", 0)[0] == "slept"


@pytest.mark.parametrize(("status", "text"), [(3, "with error: exit status 3"), (0, "without providing a reason")])
def test_a_process_that_ends(client, status, text):
    body, error, _ = call(client, "leave", status)
    assert error == "Unhandled"
    assert body["errorType"] == "Runtime.ExitError"
    assert body["errorMessage"].endswith(f"Error: Runtime exited {text}")


def test_the_memory_limit(client):
    body, error, _ = call(client, "hog", 300)
    assert error == "Unhandled"
    assert body["errorMessage"].endswith("Error: Runtime exited with error: signal: killed")
    assert call(client, "hog", 20)[0] == 20 * 1024 * 1024


def test_a_module_that_does_not_import(client):
    body, error, _ = call(client, "broken")
    assert error == "Unhandled"
    assert body["errorType"] == "Runtime.ImportModuleError"
    assert body["errorMessage"] == "Unable to import module 'broken': No module named 'nothing_of_that_name'"


def test_requests_and_responses_have_a_limit(client):
    with pytest.raises(ClientError) as caught:
        call(client, "echo", "x" * 6_291_456)
    assert caught.value.response["Error"]["Code"] == "RequestTooLargeException"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413
    body, error, _ = call(client, "large", 7_000_000)
    assert error == "Unhandled"
    assert body["errorType"] == "Function.ResponseSizeTooLarge"
    assert len(call(client, "large", 6_000_000)[0]) == 6_000_000


def test_concurrency_is_limited(client, tmp_path):
    gate = tmp_path / "gate"

    def one(_):
        try:
            return call(client, "gated", str(gate))[0]
        except ClientError as error:
            return error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]

    with ThreadPoolExecutor(4) as pool:
        replies = as_completed([pool.submit(one, number) for number in range(4)])
        try:  # two wait inside, so the others are refused first
            assert {next(replies).result(), next(replies).result()} == {("TooManyRequestsException", 429)}
        finally:
            gate.touch()
        assert [reply.result() for reply in replies] == ["through", "through"]


def test_concurrent_calls_have_environments_of_their_own(client):
    with ThreadPoolExecutor(3) as pool:
        pids = {reply[0]["pid"] for reply in pool.map(lambda _: call(client, "echo"), range(9))}
    assert 1 <= len(pids) <= 3


def test_unknown_functions(client):
    with pytest.raises(
        ClientError, match="Function not found: arn:aws:lambda:us-east-1:000000000000:function:none"
    ) as e:
        call(client, "none")
    assert e.value.response["Error"]["Code"] == "ResourceNotFoundException"


def test_other_invocation_types(client):
    assert call(client, "echo", InvocationType="Event")[2]["StatusCode"] == 202
    assert call(client, "echo", InvocationType="DryRun")[2]["StatusCode"] == 204


def test_what_is_no_json(client):
    with pytest.raises(ClientError) as caught:
        client.invoke(FunctionName="echo", Payload=b"{")
    assert caught.value.response["Error"]["Code"] == "InvalidRequestContentException"


def test_nothing_runs_between_invocations(client):
    before = time.monotonic()
    call(client, "tick", "start")
    stopped = time.monotonic()
    time.sleep(0.3)
    resumed = time.monotonic()
    wait_until(lambda: call(client, "tick", [resumed, resumed + 1000])[0] > 0, "the thread goes on")
    assert call(client, "tick", [stopped, resumed])[0] <= 2  # where it ran on, about thirty; one may be on its way
    assert call(client, "tick", [before, resumed + 1000])[0] > 0


def test_only_the_runtime_is_there_besides_the_package(client):
    found = call(client, "modules", ["boto3", "numpy", "pyarrow", "vsearch", "handlers"])[0]
    assert found == {"boto3": True, "numpy": False, "pyarrow": False, "vsearch": False, "handlers": True}


def test_the_log_comes_along(client):
    def logged():
        reply = call(client, "speak", LogType="Tail")[2]
        return b"a line for the log" in base64.b64decode(reply["LogResult"])

    wait_until(logged, "the line is in the log")  # a thread reads what the function prints


def test_idle_environments_end_and_the_least_used_makes_room(tmp_path, package):
    platform = Platform(tmp_path, Limits(environments=2))
    try:
        for name in ("a", "b", "c"):
            platform.put(FunctionSpec(name=name, handler="handlers.echo", package=str(package)))
        for name in ("a", "b", "c"):
            assert platform.invoke(name, b"1").status == 200
        idle = {each["name"]: each["idle"] for each in platform.status()}
        assert idle == {"a": 0, "b": 1, "c": 1}
        platform.limits = Limits(environments=2, idle=0.1)
        wait_until(lambda: not any(each["idle"] for each in platform.status()), "idle environments end")
    finally:
        platform.close()


def test_a_replaced_function_starts_anew(tmp_path, package):
    platform = Platform(tmp_path)
    try:
        spec = FunctionSpec(name="a", handler="handlers.echo", package=str(package))
        platform.put(spec)
        first = json.loads(platform.invoke("a", b"1").body)
        platform.put(spec)
        second = json.loads(platform.invoke("a", b"1").body)
        assert second["pid"] != first["pid"]
        assert platform.remove("a")
        assert platform.invoke("a", b"1").status == 404
    finally:
        platform.close()


def test_a_schedule(tmp_path, package):
    platform = Platform(tmp_path)
    try:
        platform.put(FunctionSpec(name="a", handler="handlers.echo", package=str(package), every=0.2))
        platform.put(FunctionSpec(name="b", handler="handlers.echo", package=str(package)))
        wait_until(lambda: platform.status()[0]["invocations"] >= 3, "the schedule runs")
        # a call beside one of the schedule may start another environment, which counts anew
        assert json.loads(platform.invoke("a", b"1").body)["event"] == 1
        platform.remove("a")
        assert [(each["name"], each["invocations"]) for each in platform.status()] == [("b", 0)]
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"name": "a", "handler": "a.b", "package": "p", "every": 0}, FunctionSpec)
    finally:
        platform.close()
