from __future__ import annotations

import pytest

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
