from __future__ import annotations

import platform
from dataclasses import asdict

import msgspec
import pytest

from tests.functions.deployment import build_index, deploy
from vsearch.deploy.packages import Package, build_package


@pytest.fixture(scope="session")
def kernels(kernels):
    if platform.machine() != "x86_64":
        pytest.skip("the packages of these tests are for x86-64")
    return kernels


@pytest.fixture(scope="session")
def build_package_once(once, kernels):
    """A function that gives a package of this machine, built by the first process that asks."""

    def get(name, **options):
        def make(folder):
            package = build_package(folder / f"{name}.zip", kernels=kernels, **options)
            (folder / "package.json").write_bytes(msgspec.json.encode({**asdict(package), "path": None}))

        folder = once(name, make)
        described = msgspec.json.decode((folder / "package.json").read_bytes())
        return Package(**{**described, "path": folder / f"{name}.zip"})

    return get


@pytest.fixture(scope="session")
def package(build_package_once):
    return build_package_once("package")


@pytest.fixture(scope="session")
def changes_package(build_package_once):
    return build_package_once("changes-package", changes=True)


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
