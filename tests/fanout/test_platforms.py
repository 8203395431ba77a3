"""The table of platforms; and one that is not in it becomes usable by a row alone."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
from dataclasses import replace

import pytest

import vsearch
from vsearch.deploy.deployer import Deployer, find_target
from vsearch.errors import InputError
from vsearch.fanout.platforms import registry
from vsearch.fanout.platforms.aws_lambda import LAMBDA, LIMITS, LOCAL_FAAS
from vsearch.fanout.platforms.hosting import open_worker
from vsearch.fanout.platforms.network import HttpInvoker
from vsearch.fanout.platforms.plain_http import HTTP
from vsearch.fanout.platforms.platform import FREE, Limits, Platform, load_named
from vsearch.fanout.platforms.registry import PLATFORMS, platform_of_functions, platform_of_url


def test_names_and_schemes_are_told_apart():
    assert len({each.name for each in PLATFORMS}) == len(PLATFORMS)
    schemes = [each.scheme for each in PLATFORMS if each.scheme]
    assert len(set(schemes)) == len(schemes)
    assert not set(schemes) & {"s3", "file", "memory", "http", "https"}
    assert (platform_of_url("lambda://words"), platform_of_url("local-faas://words")) == (LAMBDA, LOCAL_FAAS)
    for other in ("s3://bucket/words", "/a/folder", "lambda:/words", "://words", ""):
        assert platform_of_url(other) is None


def test_functions_name_their_platform_or_a_template():
    assert platform_of_functions("lambda") is LAMBDA
    assert platform_of_functions("https://host/{function}") is HTTP
    assert isinstance(HTTP.call("https://host/{function}", {}), HttpInvoker)
    for value in ("in-process", "nothing"):
        with pytest.raises(InputError, match=r"must contain \{function\}"):
            platform_of_functions(value).call(value, {})


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda platform: platform.name)
def test_records_are_whole(platform):
    assert bool(platform.scheme) == (platform.connect is not None)
    if platform.connect is not None:
        assert set(platform.options) <= set(inspect.signature(platform.connect).parameters)
    if platform.limits is not None:
        assert 0 < platform.message_bytes < platform.limits.request_bytes <= platform.limits.response_bytes
        assert platform.limits.least_memory < platform.limits.most_memory
    else:
        assert platform.message_bytes is None
    assert pickle.loads(pickle.dumps(platform)) == platform  # a remote index travels with it
    if platform.endpoint:
        assert callable(load_named(platform.endpoint))
    if platform.deployer:
        module = load_named(platform.deployer)
        for name in (name for name in vars(Deployer) if not name.startswith("_")):
            asked = inspect.signature(getattr(Deployer, name)).parameters
            assert list(inspect.signature(getattr(module, name)).parameters) == list(asked)[1:]


def test_prices():
    assert LAMBDA.prices_of("arm64").gigabyte_second < LAMBDA.prices_of("x86_64").gigabyte_second
    assert LAMBDA.prices_of("riscv64") == LAMBDA.prices["x86_64"]
    assert HTTP.prices_of("x86_64") == FREE


def test_a_message_of_the_limit_fits_as_it_is_or_in_json():
    assert replace(LAMBDA, events="bytes").message_bytes == LIMITS.request_bytes
    assert LAMBDA.message_bytes < LIMITS.request_bytes * 3 // 4


def test_who_calls_nobody_loads_no_network():
    code = "import sys, vsearch.fanout.platforms.registry; print({'ssl', 'http.client', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


class Toy:
    """An invoker that is never called here."""

    def __init__(self, **options):
        self.options = options

    def invoke(self, function, payload, timeout):
        raise NotImplementedError


def undeploy(stack, region):
    return (stack, region)


def test_a_row_is_all_that_a_new_platform_needs(monkeypatch, stack):
    toy = Platform(
        "toy",
        scheme="toy",
        options=("size",),
        connect=Toy,
        call=lambda name, environment: Toy(name=name, key=environment["TOY_KEY"]),
        limits=Limits(1000, 1000, 1, 2, 3),
        function_variable="TOY_NAME",
        memory_variable="TOY_MEMORY",
        deployer=__name__,
    )
    monkeypatch.setattr(registry, "PLATFORMS", (*PLATFORMS, toy))
    index = vsearch.open("toy://stack", size=3)
    assert isinstance(index, vsearch.RemoteIndex)
    assert index._client.invoker.options == {"size": 3}
    assert index._client.envelope.limit == 1000
    assert index._prices_of("x86_64") == FREE
    with pytest.raises(InputError, match="region: no such option of toy://"):
        vsearch.open("toy://stack", region="here")
    with pytest.raises(InputError, match="or toy://stack"):
        vsearch.open("toy://stack/more")
    environment = {"VSEARCH_INDEX": stack.url, "VSEARCH_STACK": "t", "VSEARCH_INVOKER": "toy"}
    environment |= {"TOY_KEY": "k", "TOY_NAME": "own", "TOY_MEMORY": "512"}
    worker = open_worker("coordinator", environment)
    assert (worker.function, worker.memory, worker.envelope.limit) == ("own", 512, 1000)
    assert worker.invoker.options == {"name": "toy", "key": "k"}
    target = find_target("toy://words")
    assert (target.scheme, target.stack, target.deployer.undeploy("words", None)) == ("toy", "words", ("words", None))


def test_who_deploys_a_stack():
    assert find_target("words") == find_target("lambda://words")
    for unknown in ("local-faas://words", "nothing://words"):
        with pytest.raises(InputError, match="supported are lambda://"):
            find_target(unknown)
