"""The cache of compiled kernels and the messages about compilation, also on machines without a usable cache."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vsearch.kernels.toolchain.library import TARGETS, find_library, processor_features, targets_here, why_compiled

ROOT = Path(__file__).parents[2]

#: Compiles two kernels and says what they answer.
COUNT = """
import numpy as np
from vsearch.kernels.filters import bitmaps
words = np.array([0b1011, 1], np.uint64)
print(bitmaps.list_rows(words, 0, 128).tolist())
"""
ANSWER = "[0, 1, 3, 64]\n"

PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1


def obey_modes() -> None:
    """Let modes bind root, too, from the next program on."""
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0)


def run(code: str, root: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("VSEARCH", "NUMBA", "XDG", "PYTHON"))
    }
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        env={**inherited, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=obey_modes if sys.platform == "linux" else None,
    )


def copy_package(folder: Path) -> Path:
    """Copy the kernels, without what was compiled."""
    for name in ("__init__.py", "_lazy.py", "_version.py", "errors.py", "cores.py", "kernels"):
        source, copy = ROOT / "vsearch" / name, folder / "vsearch" / name
        if source.is_dir():
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__", "compiled"))
        else:
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, copy)
    return folder


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the kernels that nobody has compiled yet."""
    return copy_package(tmp_path / "copy")


@pytest.fixture(scope="module")
def compiled_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A copy of the kernels, and the folder that keeps what was compiled of it."""
    folder = tmp_path_factory.mktemp("compiled")
    package, kept = copy_package(folder / "copy"), folder / "kept"
    assert run(COUNT, package, HOME=str(folder), NUMBA_CACHE_DIR=str(kept)).stdout == ANSWER
    return package, kept


@pytest.fixture
def sealed(package: Path, tmp_path: Path):
    """The copy where nothing can be written, and a home where nothing can either."""
    home = tmp_path / "home"
    home.mkdir()
    folders = [home, *(path for path in package.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    yield package, home
    for folder in folders:
        folder.chmod(0o755)


@pytest.mark.slow
def test_compiling_is_said_once_and_kept(package, tmp_path):
    first = run(COUNT, package, HOME=str(tmp_path))
    assert (first.returncode, first.stdout) == (0, ANSWER), first.stderr
    (line,) = first.stderr.splitlines()
    assert "compiles its kernels" in line
    assert str(package) in line
    assert "has no compiled kernels" in line
    second = run(COUNT, package, HOME=str(tmp_path))
    assert (second.returncode, second.stdout, second.stderr) == (0, ANSWER, "")


@pytest.mark.slow
@pytest.mark.parametrize("named", [{}, {"NUMBA_CACHE_DIR": "/proc/none"}])
def test_a_machine_that_keeps_nothing_compiles_and_warns_once(sealed, named):
    package, home = sealed
    done = run(COUNT, package, HOME=str(home), **named)
    assert (done.returncode, done.stdout) == (0, ANSWER), done.stderr
    assert done.stderr.count("RuntimeWarning: compiled kernels are not cached") == 1
    assert "NUMBA_CACHE_DIR" in done.stderr
    assert done.stderr.count("compiles its kernels") == 1
    assert not list(home.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("home", ["unset", "missing"])
def test_a_machine_without_a_home(sealed, home):
    package, _ = sealed
    environment = {} if home == "unset" else {"HOME": "/proc/none"}
    code = f"import os; os.environ.pop('HOME') if {home == 'unset'} else None\n{COUNT}"
    done = run(code, package, **environment)
    assert (done.returncode, done.stdout) == (0, ANSWER), done.stderr


@pytest.mark.slow
def test_a_folder_named_for_it_is_used(sealed, tmp_path):
    package, home = sealed
    folder = tmp_path / "kept"
    for said in (1, 0):
        done = run(COUNT, package, HOME=str(home), NUMBA_CACHE_DIR=str(folder))
        assert (done.returncode, done.stdout) == (0, ANSWER), done.stderr
        assert done.stderr.count("compiles its kernels") == said
        assert "RuntimeWarning" not in done.stderr
    assert list(folder.rglob("*.nbi"))


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "damage"), [("nbi", "cut"), ("nbi", "other"), ("nbc", "cut"), ("nbc", "empty")])
def test_what_was_kept_and_is_damaged_is_compiled_again(compiled_once, tmp_path, suffix, damage):
    package, kept = compiled_once[0], tmp_path / "kept"
    shutil.copytree(compiled_once[1], kept)
    environment = {"HOME": str(tmp_path), "NUMBA_CACHE_DIR": str(kept)}
    files = list(kept.rglob(f"*.{suffix}"))
    assert files
    for path in files:
        data = path.read_bytes()
        path.write_bytes({"empty": b"", "cut": data[: len(data) // 2], "other": os.urandom(len(data))}[damage])
    done = run(COUNT, package, **environment)
    assert (done.returncode, done.stdout) == (0, ANSWER), done.stderr
    again = run(COUNT, package, **environment)
    assert (again.stdout, again.stderr) == (ANSWER, "")


@pytest.mark.slow
def test_what_cannot_be_kept_any_more_is_no_error(package, tmp_path):
    """The folder was there when the process began, and is not when the kernel is compiled: a disk that is full, say."""
    kept = tmp_path / "kept"
    code = f"""
import numpy as np, shutil
from pathlib import Path
from vsearch.kernels.filters import bitmaps
shutil.rmtree({str(kept)!r})
Path({str(kept)!r}).touch()
{COUNT}
"""
    done = run(code, package, HOME=str(tmp_path), NUMBA_CACHE_DIR=str(kept))
    assert (done.returncode, done.stdout) == (0, ANSWER), done.stderr
    assert done.stderr.count("RuntimeWarning: compiled kernels are not cached") == 1


# -- processors


def cpuinfo(path: Path, features: str) -> frozenset[str]:
    path.write_text(
        f"processor\t: 0\nmodel name\t: old\nflags\t\t: {features}\n\nprocessor\t: 1\nflags\t\t: {features}\n"
    )
    return processor_features(path)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="features of another kind of processor")
def test_an_old_processor_is_told_what_it_lacks(tmp_path, monkeypatch):
    monkeypatch.delenv("VSEARCH_JIT", raising=False)
    old = cpuinfo(tmp_path / "cpuinfo", "fpu sse sse2 ssse3 sse4_1 sse4_2 avx f16c bmi1 movbe")
    assert targets_here(old) == []
    assert why_compiled(tmp_path, old) == "this processor lacks avx2, fma, bmi2"
    for target in TARGETS["x86_64"]:
        (tmp_path / f"{target}.so").touch()
    (tmp_path / "index.json").write_text("{}")
    assert "another version" in why_compiled(tmp_path, old)
    newer = cpuinfo(tmp_path / "cpuinfo", "avx2 f16c fma bmi1 bmi2 movbe avx512f")
    assert targets_here(newer) == ["x86-64-v3"]


def test_kernels_that_do_not_load_are_passed_over(tmp_path, monkeypatch):
    """Another C library, or a place that no program may be loaded from."""
    monkeypatch.delenv("VSEARCH_JIT", raising=False)
    from vsearch.kernels.toolchain.library import sources_digest

    (tmp_path / "index.json").write_text(f'{{"sources": "{sources_digest()}", "functions": {{"a": 1}}}}')
    for target in targets_here():
        (tmp_path / f"{target}.so").write_bytes(b"\x7fELF of another kind")
    assert find_library(tmp_path) is None
    if targets_here():
        assert "cannot be loaded" in why_compiled(tmp_path)
    for text in ("", "[]", "{}", '{"sources": 5}', "\xff"):
        (tmp_path / "index.json").write_text(text)
        assert find_library(tmp_path) is None


def test_without_numba_what_is_missing_is_said():
    """As in a function, whose package has compiled kernels and no compiler."""
    code = """
import sys
sys.modules["numba"] = sys.modules["llvmlite"] = None
from vsearch.kernels.toolchain import library
library.processor_features = lambda: frozenset({"sse2", "avx", "asimd"})
try:
    import functions.processor
except ImportError as error:
    print(type(error).__name__, error)
"""
    done = run(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("MissingDependencyError kernels cannot run: ")
    assert "and numba, which would compile them, is not installed" in done.stdout
    if os.uname().machine == "x86_64" and sys.platform == "linux":
        assert "lacks avx2, f16c, fma" in done.stdout or "lacks avx512f" in done.stdout


@pytest.mark.slow
def test_compiling_is_also_logged(package, tmp_path):
    code = f"import logging\nlogging.basicConfig(format='%(name)s %(levelname)s %(message)s')\n{COUNT}"
    done = run(code, package, HOME=str(tmp_path), VSEARCH_JIT="1")
    assert done.stdout == ANSWER
    assert done.stderr.startswith("vsearch WARNING vsearch compiles its kernels now")
    assert "(VSEARCH_JIT is set)" in done.stderr
