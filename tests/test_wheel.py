"""The wheel holds the library, the handlers, the sample and the recipes, and nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MEGABYTE = 1 << 20


def copy_sources(folder: Path) -> Path:
    """What a wheel is built from, without the kernels that somebody compiled here."""
    for name in ("vsearch", "functions", "index"):
        ignored = shutil.ignore_patterns("__pycache__", "compiled")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, folder)
    return folder


def build_wheel(sources: Path) -> zipfile.ZipFile:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(sources / "dist")]
    done = subprocess.run(command, cwd=sources, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (path,) = (sources / "dist").glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory, libraries: Path) -> Iterator[zipfile.ZipFile]:
    sources = copy_sources(tmp_path_factory.mktemp("wheel") / "sources")
    shutil.copytree(libraries, sources / "vsearch" / "kernels" / "compiled")
    with build_wheel(sources) as found:
        yield found


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


def test_kernels_that_are_there_are_shipped_as_they_are(wheel: zipfile.ZipFile, libraries: Path) -> None:
    for path in libraries.iterdir():
        assert wheel.read(f"vsearch/kernels/compiled/{path.name}") == path.read_bytes()


#: Writes what it is asked for in place of compiling it, which test_worker.py does.
COMPILER = """
import sys
from pathlib import Path
folder = Path(sys.argv[sys.argv.index("--out") + 1])
folder.mkdir(exist_ok=True)
(folder / "asked.so").write_text(repr(sys.argv[1:]))
"""


@pytest.mark.parametrize("there", [None, '{"sources": "others"}'])
def test_kernels_are_compiled_where_those_of_these_sources_are_missing(tmp_path: Path, there: str | None) -> None:
    sources = copy_sources(tmp_path / "sources")
    (sources / "vsearch" / "kernels" / "build.py").write_text(COMPILER)
    compiled = sources / "vsearch" / "kernels" / "compiled"
    if there is not None:
        compiled.mkdir()
        (compiled / "index.json").write_text(there)
    with build_wheel(sources) as found:
        assert found.read("vsearch/kernels/compiled/asked.so").decode() == repr(["--out", str(compiled)])
