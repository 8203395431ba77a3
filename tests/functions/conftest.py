from __future__ import annotations

import pytest

from tests.functions.deployment import build_index, deploy
from vsearch.deploy.packages import build_package
from vsearch.kernels.build import TARGETS, build
from vsearch.kernels.library import TARGETS as PROCESSORS
from vsearch.kernels.library import processor_features


@pytest.fixture(scope="session")
def kernels(tmp_path_factory):
    features = processor_features()
    target = next((name for name, needed in PROCESSORS["x86_64"].items() if features.issuperset(needed)), None)
    if target is None or target not in TARGETS:
        pytest.skip("no compiled kernels for this processor")
    folder = tmp_path_factory.mktemp("compiled")
    build(folder, [target], lambda _: None)
    return folder


@pytest.fixture(scope="session")
def package(tmp_path_factory, kernels):
    return build_package(tmp_path_factory.mktemp("package") / "vsearch.zip", kernels=kernels)


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
