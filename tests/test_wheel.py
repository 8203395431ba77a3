"""The wheel holds the library, the handlers, the sample and the recipes, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_top_level(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"vsearch", "functions"}


def test_what_users_need_is_in(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    assert "vsearch/py.typed" in names
    assert "vsearch/recipes/balanced.toml" in names
    assert "vsearch/datasets/wordnet-10k/LICENSE" in names
    assert {name for name in names if name.startswith("vsearch/datasets/wordnet-10k/")} >= {
        "vsearch/datasets/wordnet-10k/base.parquet",
        "vsearch/datasets/wordnet-10k/queries.parquet",
    }
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "vsearch").rglob("*.py")}
    assert modules <= names


def test_nothing_else_is_in(wheel: zipfile.ZipFile) -> None:
    allowed = {".py", ".typed", ".parquet", ".toml", ".md", ".yaml", ".yml", ".json", ".tf", ".so"}
    for name in wheel.namelist():
        if ".dist-info/" in name or name.endswith("/LICENSE"):
            continue
        assert Path(name).suffix in allowed, name
        assert not {"tests", "bench", "__pycache__"} & set(name.split("/")), name


def test_size(wheel: zipfile.ZipFile) -> None:
    assert sum(info.compress_size for info in wheel.infolist()) < 16 * MEGABYTE
