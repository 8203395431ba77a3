"""The wheel holds the library, the handlers, the sample and the recipes, and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from vsearch.kernels.toolchain.library import targets_here

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


def run_build(sources: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(sources / "dist")]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("VSEARCH")}
    everything = inherited | environment
    return subprocess.run(command, cwd=sources, env=everything, check=False, capture_output=True, text=True)


def build_wheel(sources: Path, **environment: str) -> zipfile.ZipFile:
    done = run_build(sources, **environment)
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
    assert {
        f"vsearch/serving/pages/{name}" for name in ("console.html", "console.js", "docs.html", "pages.css")
    } <= names
    assert "vsearch/recipes/balanced.toml" in names
    assert "vsearch/jobs/build.toml" in names
    assert "vsearch/datasets/wordnet-10k/LICENSE" in names
    assert {name for name in names if name.startswith("vsearch/datasets/wordnet-10k/")} >= {
        "vsearch/datasets/wordnet-10k/base.parquet",
        "vsearch/datasets/wordnet-10k/queries.parquet",
    }
    encoder = {name.rpartition("/")[2] for name in names if name.startswith("vsearch/datasets/wordnet-10k/encoder/")}
    assert encoder == {"encoder.arrow", "encoder.json", "LICENSE", "NOTICE.md"}
    assert any(name.endswith(".dist-info/licenses/vsearch/datasets/wordnet-10k/encoder/LICENSE") for name in names)
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "vsearch").rglob("*.py")}
    assert modules <= names


def test_nothing_else_is_in(wheel: zipfile.ZipFile) -> None:
    allowed = {
        ".arrow",
        ".py",
        ".typed",
        ".parquet",
        ".toml",
        ".md",
        ".yaml",
        ".yml",
        ".json",
        ".tf",
        ".so",
        ".html",
        ".css",
        ".js",
    }
    for name in wheel.namelist():
        if ".dist-info/" in name or name.endswith("/LICENSE"):
            continue
        assert Path(name).suffix in allowed, name
        assert not {"tests", "bench", "__pycache__"} & set(name.split("/")), name


def test_size(wheel: zipfile.ZipFile) -> None:
    encoder = [info.compress_size for info in wheel.infolist() if "/wordnet-10k/encoder/" in info.filename]
    assert sum(encoder) < 14_000_000
    assert sum(info.compress_size for info in wheel.infolist()) - sum(encoder) < 16 * MEGABYTE


def test_kernels_that_are_there_are_shipped_as_they_are(wheel: zipfile.ZipFile, libraries: Path) -> None:
    for path in libraries.iterdir():
        assert wheel.read(f"vsearch/kernels/compiled/{path.name}") == path.read_bytes()


#: Writes what it is asked for in place of compiling it, which test_worker.py does.
COMPILER = """
import sys
from pathlib import Path
import handed_over
folder = Path(sys.argv[sys.argv.index("--out") + 1])
folder.mkdir(exist_ok=True)
(folder / "asked.so").write_text(" ".join(sys.argv[3:]))
"""

FAILING = "import sys; sys.exit('no compiler here')"


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """Sources whose compiler is a stand-in that needs a module on PYTHONPATH, as pip hands its packages over."""
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "handed_over.py").touch()
    folder = copy_sources(tmp_path / "sources")
    (folder / "vsearch" / "kernels" / "toolchain" / "ahead_of_time.py").write_text(COMPILER)
    return folder


def asked_of_compiler(sources: Path, **environment: str) -> str | None:
    path = str(sources.parent / "packages")
    with build_wheel(sources, PYTHONPATH=path, **environment) as found:
        name = "vsearch/kernels/compiled/asked.so"
        return found.read(name).decode() if name in found.namelist() else None


@pytest.mark.parametrize("there", [None, '{"sources": "others"}', "damaged", "[]"])
def test_kernels_are_compiled_where_those_of_these_sources_are_missing(sources: Path, there: str | None) -> None:
    if there is not None:
        (sources / "vsearch" / "kernels" / "compiled").mkdir()
        (sources / "vsearch" / "kernels" / "compiled" / "index.json").write_text(there)
    here = targets_here()[:1]
    assert asked_of_compiler(sources) == (f"--target {here[0]}" if here else None)


@pytest.mark.parametrize(
    ("asked", "targets"),
    [
        ("all", ["x86-64-avx512", "x86-64-v3", "aarch64-dotprod"]),
        ("x86-64-v3", ["x86-64-v3"]),
        ("aarch64-dotprod, x86-64-v3", ["aarch64-dotprod", "x86-64-v3"]),
    ],
)
def test_a_release_names_the_targets(sources: Path, asked: str, targets: list[str]) -> None:
    wanted = " ".join(f"--target {target}" for target in targets)
    assert asked_of_compiler(sources, VSEARCH_BUILD_TARGETS=asked) == wanted


def test_kernels_can_be_left_out(sources: Path) -> None:
    assert asked_of_compiler(sources, VSEARCH_NO_KERNELS="1") is None


def test_an_install_succeeds_where_kernels_do_not_compile_and_a_release_does_not(sources: Path) -> None:
    (sources / "vsearch" / "kernels" / "toolchain" / "ahead_of_time.py").write_text(FAILING)
    done = run_build(sources)
    assert done.returncode == 0
    if targets_here():
        assert "will be compiled on first use" in done.stderr + done.stdout
    (path,) = (sources / "dist").glob("*.whl")
    with zipfile.ZipFile(path) as found:
        assert not [name for name in found.namelist() if "compiled" in name]
    assert run_build(sources, VSEARCH_BUILD_TARGETS="all").returncode != 0


LINKING = """
import subprocess, sys
from pathlib import Path
folder = Path(sys.argv[sys.argv.index("--out") + 1])
folder.mkdir(exist_ok=True)
(folder / "one.c").write_text("int one(void) { return 1; }")
command = [sys.executable, "-m", "ziglang", "cc", "-shared", "-nostdlib", "-o", str(folder / "asked.so"), str(folder / "one.c")]
subprocess.run(command, check=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("home", ["", "/nowhere"])
def test_kernels_are_linked_without_a_home(sources: Path, home: str) -> None:
    """As in containers and services; the linker refuses to run without a place for its cache."""
    pytest.importorskip("ziglang")
    (sources / "vsearch" / "kernels" / "toolchain" / "ahead_of_time.py").write_text(LINKING)
    places = {"HOME": home, "XDG_CACHE_HOME": "", "ZIG_GLOBAL_CACHE_DIR": ""}
    with build_wheel(sources, VSEARCH_BUILD_TARGETS="x86-64-v3", **places) as found:
        assert "vsearch/kernels/compiled/asked.so" in found.namelist()
