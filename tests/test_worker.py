"""The worker: kernels compiled ahead of time, no heavy import, no compilation, and the same answers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import vsearch
from tests.once import OBJECTS
from vsearch.kernels.toolchain.ahead_of_time import EXPORTS
from vsearch.kernels.toolchain.library import find_library, targets_here

HEAVY = ("numba", "llvmlite", "pyarrow", "faiss", "sklearn", "scipy", "sqlglot", "boto3", "pandas")

ANSWER = """
import json, sys
import numpy as np
from bench import lean_worker as worker
from vsearch.kernels.toolchain.compiling import LIBRARY
from vsearch.predicates import decode
snapshot = worker.load(sys.argv[1])
queries = np.load(sys.argv[2])
where = decode(bytes.fromhex(sys.argv[3])) if sys.argv[3] else None
hits = worker.search(snapshot, queries, 10, where)
exact = worker.search(snapshot, queries, 10, where, exact=True)
print(json.dumps({
    "library": LIBRARY.target if LIBRARY else None,
    "ids": hits.ids.tolist(), "scores": hits.scores.tolist(), "exact": exact.ids.tolist(),
    "loaded": sorted({name.split(".")[0] for name in sys.modules}),
}))
"""


@pytest.fixture(scope="session")
def index_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(5)
    folder = tmp_path_factory.mktemp("index")
    vectors = rng.standard_normal((3000, 52)).astype(np.float32)
    import pyarrow as pa

    attributes = pa.table({"price": rng.integers(0, 1000, 3000), "kind": pa.array(["a", "b", None] * 1000)})
    vsearch.build(vectors, folder, attributes=attributes, metric="l2")
    return folder


def compiled_here(libraries: Path) -> list[str]:
    """Targets that this processor runs, of those in the folder."""
    return [target for target in targets_here() if (libraries / f"{target}.so").exists()]


def run_worker(index: Path, queries: Path, where: bytes = b"", **variables: str) -> dict[str, object]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("VSEARCH", "COV_"))}
    environment |= variables
    command = [sys.executable, "-W", "error", "-c", ANSWER, str(index), str(queries), where.hex()]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture
def queries(tmp_path: Path) -> Path:
    path = tmp_path / "queries.npy"
    np.save(path, np.random.default_rng(6).standard_normal((20, 52)).astype(np.float32))
    return path


@pytest.mark.parametrize("where", [None, "price < 300 AND kind = 'a'"])
def test_worker_answers_as_the_client_without_compiling(
    libraries: Path, index_folder: Path, queries: Path, where: str | None, tmp_path: Path
) -> None:
    from vsearch.predicates import encode, parse

    index = vsearch.open(index_folder)
    expression = parse(where)
    hits = index.search(np.load(queries), 10, where)
    exact = index.search(np.load(queries), 10, where, exact=True)
    assert targets_here(), "this processor is none that a library is built for"
    for target in compiled_here(libraries):
        only = tmp_path / target
        only.mkdir()
        for name in (f"{target}.so", "index.json"):
            shutil.copy(libraries / name, only / name)
        answer = run_worker(
            index_folder, queries, b"" if expression is None else encode(expression), VSEARCH_KERNELS=str(only)
        )
        assert answer["library"] == target
        assert not set(HEAVY) & set(answer["loaded"])  # type: ignore[arg-type]
        np.testing.assert_array_equal(answer["ids"], hits.ids)
        np.testing.assert_array_equal(answer["exact"], exact.ids)
        np.testing.assert_allclose(answer["scores"], hits.scores, rtol=1e-5)


def test_kernels_compiled_just_in_time_give_the_same_answers(index_folder: Path, queries: Path) -> None:
    index = vsearch.open(index_folder)
    answer = run_worker(index_folder, queries, VSEARCH_JIT="1")
    assert answer["library"] is None
    assert "numba" in answer["loaded"]  # type: ignore[operator]
    hits = index.search(np.load(queries), 10)
    np.testing.assert_array_equal(answer["ids"], hits.ids)
    np.testing.assert_array_equal(answer["exact"], index.search(np.load(queries), 10, exact=True).ids)
    np.testing.assert_allclose(answer["scores"], hits.scores, rtol=1e-5)


def test_worker_import_time_shows_nothing_heavy(libraries: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VSEARCH")}
    environment["VSEARCH_KERNELS"] = str(libraries)
    command = [sys.executable, "-X", "importtime", "-c", "import bench.lean_worker"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    names = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "numpy" in names
    assert not names & set(HEAVY)


#: What a search without a predicate in a folder never needs; each costs a start milliseconds.
SPARED = (
    "numpy.ma",
    "obstore",
    "shutil",
    "vsearch.kernels.scan.cells",
    "vsearch.predicates.binding",
    "vsearch.predicates.columns",
    "vsearch.quantizers.osq_lloyd",
    "vsearch.quantizers.pq",
    "vsearch.storage.stores.object_store",
    "vsearch.storage.stores.s3",
    "vsearch.storage.snapshots.verifying",
    "vsearch.storage.files.writing",
)
FIRST = """
import sys
import numpy as np
from bench import lean_worker as worker
hits = worker.search(worker.load(sys.argv[1]), np.load(sys.argv[2])[:1], 10)
assert (hits.ids >= 0).all()
print(*sys.modules)
"""


def test_a_first_search_loads_nothing_that_it_does_not_use(libraries: Path, index_folder: Path, queries: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("VSEARCH", "COV_"))}
    environment["VSEARCH_KERNELS"] = str(libraries)
    command = [sys.executable, "-W", "error", "-c", FIRST, str(index_folder), str(queries)]
    loaded = set(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split())
    assert "vsearch.search.engine.scanning" in loaded
    assert not loaded & {*HEAVY, *SPARED}


def test_libraries_stand_alone(libraries: Path) -> None:
    for path in sorted(libraries.glob("*.so")):
        target = path.stem
        data = path.read_bytes()
        assert data[:4] == b"\x7fELF"
        assert data[18:20] == (b"\xb7\x00" if target.startswith("aarch64") else b"\x3e\x00")
        assert b"TEXTREL" not in data
        assert not [word for word in (b"PyErr", b"NRT_", b"numba_", b"_ZN08") if word in data], target


def test_every_exported_kernel_is_found(libraries: Path) -> None:
    library = find_library(libraries)
    assert library is not None
    for name in EXPORTS:
        assert library.function(name)._native is not None


def test_a_library_of_other_sources_is_not_used(libraries: Path, tmp_path: Path) -> None:
    for path in libraries.iterdir():
        shutil.copy(path, tmp_path / path.name)
    index = json.loads((tmp_path / "index.json").read_text())
    (tmp_path / "index.json").write_text(json.dumps(index | {"sources": "0" * 64}))
    assert find_library(tmp_path) is None
    (tmp_path / "index.json").write_text("not json")
    assert find_library(tmp_path) is None
    assert find_library(tmp_path / "nowhere") is None


def test_library_functions_check_their_arguments(libraries: Path) -> None:
    library = find_library(libraries)
    assert library is not None
    pack = library.function("filters.bitmaps.pack_cells")
    cells, lanes = np.zeros(70, np.uint8), np.zeros(256, np.uint64)
    yes, possible = np.ones(2, np.uint64), np.ones(2, np.uint64)
    pack(cells, lanes, yes, possible)
    assert not yes.any()
    with pytest.raises(TypeError, match="argument 1"):
        pack(cells, lanes.astype(np.int64), yes, possible)
    with pytest.raises(TypeError, match="takes 4"):
        pack(cells, lanes)
    with pytest.raises(TypeError, match="argument 0"):
        pack(np.zeros((70, 2), np.uint8)[:, 0], lanes, yes, possible)
    with pytest.raises(NotImplementedError, match="VSEARCH_JIT"):
        library.function("scan.topk.push")()


def lanes_twin(
    codes: np.ndarray, tables: np.ndarray, factors: np.ndarray, offsets: np.ndarray, bound: tuple[float, float, float]
) -> int:
    """`lanes_of_block` in NumPy, for a block of 32 rows."""
    pairs = len(tables) // 2
    lanes = codes.reshape(pairs, 32)
    sums = np.zeros(32, np.float32)
    for j in range(pairs):
        sums += tables[2 * j][lanes[j] & 15].astype(np.float32) + tables[2 * j + 1][lanes[j] >> 4]
    slope, intercept, least = (np.float32(value) for value in bound)
    upper = factors.view(np.float16).astype(np.float32) * (sums * slope + intercept)
    upper = upper - offsets if len(offsets) else upper
    return int(np.packbits(upper >= least, bitorder="little").view(np.uint32)[0])


@pytest.mark.parametrize("pairs", [2, 6, 48, 254, 260, 1000])
@pytest.mark.parametrize("squared", [False, True])
def test_every_dialect_here_agrees_with_its_twin(libraries: Path, pairs: int, squared: bool) -> None:
    from vsearch.kernels.toolchain.library import Library

    rng = np.random.default_rng(pairs)
    functions = json.loads((libraries / "index.json").read_text())["functions"]
    for target in compiled_here(libraries):
        library = Library(target, libraries / f"{target}.so", functions)
        blocks = rng.integers(0, 256, (3, pairs * 32), dtype=np.uint8)
        tables = rng.integers(0, 128, (2 * pairs, 16), dtype=np.uint8)
        expanded = np.zeros(64 * pairs + 7, np.uint8)[7:]  # unaligned on purpose
        library.function("scan.nibbles.expand_tables")(tables, expanded)
        factors = rng.uniform(0.5, 1.0, 96).astype(np.float16).view(np.uint16)
        offsets = rng.uniform(0, 50, 96 if squared else 0).astype(np.float32)
        middle = 0.75 * (2 * pairs * 63.5 * 0.25 - 10) - (25 if squared else 0)
        for block, count in ((0, 32), (1, 32), (2, 32), (2, 5)):
            row = block * 32
            found = library.function("scan.nibbles.lanes_of_block")(
                blocks, block, tables, expanded, factors, offsets, row, count, 0.25, -10.0, middle
            )
            part = offsets[row : row + 32]
            twin = lanes_twin(blocks[block], tables, factors[row : row + 32], part, (0.25, -10.0, middle))
            assert found == twin & ((1 << count) - 1), (target, block, count)


@pytest.mark.skipif(shutil.which("qemu-aarch64") is None, reason="qemu-user is not installed")
def test_aarch64_kernels_run_under_qemu(tmp_path: Path, compiled: Callable[[str], Path]) -> None:
    kernels = sorted(compiled("aarch64-dotprod").glob(OBJECTS))
    (tmp_path / "call.c").write_text(QEMU_PROGRAM)
    program = tmp_path / "call"
    # without a C library: zig would first have to compile one, which takes longer than all else here
    linker = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-none", "-static", "-nostdlib", "-O1"]
    subprocess.run([*linker, "-ffreestanding", str(tmp_path / "call.c"), *kernels, "-o", str(program)], check=True)
    done = subprocess.run(["qemu-aarch64", "-cpu", "max", str(program)], check=False)
    assert done.returncode == 0, "2: a kernel failed, 3: it found other lanes than its twin"


QEMU_PROGRAM = """
#include <stdint.h>
#define VECTOR void *, void *, int64_t, int64_t, void *, int64_t, int64_t
#define MATRIX void *, void *, int64_t, int64_t, void *, int64_t, int64_t, int64_t, int64_t
#define V(a, n, s) 0, 0, n, s, a, n, s
#define M(a, r, c) 0, 0, (r) * (c), 1, a, r, c, c, 1
int vsearch_scan_expand_tables(void *, void *, MATRIX, VECTOR);
int vsearch_scan_lanes_of_block(
    void *, void *, MATRIX, int64_t, MATRIX, VECTOR, VECTOR, VECTOR, int64_t, int64_t, float, float, float);
enum { PAIRS = 48 };
static uint8_t codes[2 * PAIRS * 32], tables[2 * PAIRS * 16], expanded[64 * PAIRS];
static uint16_t factors[64];
static int check(void) {
    void *nothing = 0, *error = 0;
    int64_t found = -1;
    for (unsigned i = 0; i < sizeof codes; i++) codes[i] = (uint8_t)(i * 2654435761u >> 13);
    for (unsigned i = 0; i < sizeof tables; i++) tables[i] = (uint8_t)((i * 40503u >> 5) & 127);
    for (int i = 0; i < 64; i++) factors[i] = 0x3C00 - (i % 7); /* float16: 1 and a little less */
    if (vsearch_scan_expand_tables(&nothing, &error, M(tables, 2 * PAIRS, 16), V(expanded, 64 * PAIRS, 1))) return 1;
    for (int threshold = 5000; threshold < 7500; threshold += 50) {
        if (vsearch_scan_lanes_of_block(&found, &error, M(codes, 2, PAIRS * 32), 0, M(tables, 2 * PAIRS, 16),
                V(expanded, 64 * PAIRS, 1), V(factors, 64, 2), V(0, 0, 4), 0, 32, 1.0f, 0.0f, (float)threshold)) return 2;
        int64_t expected = 0;
        for (int v = 0; v < 32; v++) {
            unsigned sum = 0;
            for (int j = 0; j < PAIRS; j++) {
                uint8_t code = codes[j * 32 + v];
                sum += tables[32 * j + (code & 15)] + tables[32 * j + 16 + (code >> 4)];
            }
            _Float16 factor;
            __builtin_memcpy(&factor, &factors[v], 2);
            if ((float)factor * (float)sum >= (float)threshold) expected |= (int64_t)1 << v;
        }
        if (found != expected) return 3;
    }
    return 0;
}
void *memset(void *to, int value, unsigned long count) {
    for (volatile uint8_t *byte = to; count--; byte++) *byte = (uint8_t)value;
    return to;
}
float expf(float x) { return x; } /* of a kernel that is not called here */
void _start(void) {
    register long status __asm__("x0") = check(), exit __asm__("x8") = 93;
    __asm__ volatile("svc 0" : : "r"(status), "r"(exit));
}
"""
