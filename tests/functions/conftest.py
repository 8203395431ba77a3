from __future__ import annotations

import platform

import pytest

from tests.functions.deployment import build_index, deploy
from vsearch.deploy.packages import build_package


@pytest.fixture(scope="session")
def kernels(kernels):
    if platform.machine() != "x86_64":
        pytest.skip("the packages of these tests are for x86-64")
    return kernels


@pytest.fixture(scope="session")
def package(tmp_path_factory, kernels):
    return build_package(tmp_path_factory.mktemp("package") / "vsearch.zip", kernels=kernels)


@pytest.fixture(scope="session")
def changes_package(tmp_path_factory, kernels):
    return build_package(tmp_path_factory.mktemp("changes") / "vsearch-changes.zip", kernels=kernels, changes=True)


@pytest.fixture(scope="session")
def keys():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "any")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "any")
        yield


@pytest.fixture(scope="session")
def built(tmp_path_factory, s3_server, kernels, keys):
    return build_index(tmp_path_factory.mktemp("built"), s3_server, kernels)


@pytest.fixture(scope="session")
def deployed(tmp_path_factory, s3_server, package, built):
    with deploy(tmp_path_factory.mktemp("faas"), package.path, s3_server.endpoint, *built) as found:
        yield found
