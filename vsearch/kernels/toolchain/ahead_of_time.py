"""Compile the kernels ahead of time, one shared library per target processor.

Run as ``python -m vsearch.kernels.toolchain.ahead_of_time``.

Numba compiles every exported kernel to LLVM IR, in two processes per target if there are enough cores (a process has
one SIMD dialect, chosen at import). LLVM optimizes the IR and compiles it to position-independent objects for the
target, which ziglang's linker links into a shared library. No other machine and no system compiler is needed. The
output is ``<target>.so`` and ``index.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from vsearch.cores import available_cores
from vsearch.kernels.toolchain.library import FOLDER, INDEX, sources_digest


class Target(NamedTuple):
    """The platform that a library is compiled for."""

    triple: str
    zig: str
    processor: str
    features: str
    dialect: str


TARGETS = {
    "x86-64-avx512": Target("x86_64-unknown-linux-gnu", "x86_64-linux-gnu.2.17", "x86-64-v4", "+avx512vnni", "avx512"),
    "x86-64-v3": Target("x86_64-unknown-linux-gnu", "x86_64-linux-gnu.2.17", "x86-64-v3", "", "avx2"),
    "aarch64-dotprod": Target(
        "aarch64-unknown-linux-gnu", "aarch64-linux-gnu.2.17", "neoverse-n1", "+dotprod,+fullfp16", "neon"
    ),
}

MOST_PARTS = 2
"""Maximum number of processes per target: the query kernels share the parts that take long to compile, see `deal`."""

#: Every kernel that Python calls, with its arguments (a scalar type, or dtype/axes for an array) and its result.
EXPORTS = {
    "query.query.plan_query": ("int64 int64", "none"),
    "query.query.plan_nearest": ("int64 int64", "none"),
    "query.query.plan_rest": ("int64 int64 float32", "none"),
    "query.query.prepare_scan": ("int64 int64 int64", "none"),
    "query.batches.search_batch": ("int64 int64 int64 int64", "none"),
    "query.query.search_runs": ("int64 int64 int64", "none"),
    "query.query.search_together": ("int64 int64 int64 int64", "none"),
    "query.query.scan_nearest": ("int64 int64 int64", "none"),
    "query.query.scan_rest": ("int64 int64 int64", "none"),
    "query.query.list_rest": ("int64 int64 int64", "none"),
    "query.query.finish": ("int64", "none"),
    "query.rescoring.score_rows": ("int64 int64 int64 int64 int64 int64", "none"),
    "filters.bitmaps.pack_cells": ("uint8/1 uint64/1 uint64/1 uint64/1", "none"),
    "filters.bitmaps.mark_rows": ("uint64/1 uint32/1 int64 int64/1 int64/1", "boolean"),
    "filters.bitmaps.fill_counts": ("uint64/1 int64/1 int64/1 int64/1", "none"),
    "filters.bitmaps.fill_rows": ("uint64/1 int64 int64 int64/1", "none"),
    "filters.like.like": ("int64/1 uint8/1 int16/1 bool/1", "none"),
    "filters.like.search": ("int64/1 uint8/1 int64/1 uint8/1 int64/1", "none"),
    "scan.blocks.transpose": ("uint8/2 uint8/2", "none"),
    "scan.blocks.untranspose": ("uint8/2 uint8/2", "none"),
    "scan.ranking.score_rows": (
        "int64/1 int64/1 uint8/2 float32/1 int32/1 float32/2 float32/3 float32/1",
        "none",
    ),
    "scan.ranking.rank_gradients": (
        "int64/1 int64/1 float32/1 uint8/2 float32/1 int32/1 float32/2 float32/3 float32/2 float32/2 float32/3",
        "none",
    ),
    "scan.encode.encode_planes": ("float32/2 float32/1 int32/1 int32/1 uint8/2 float32/1 float32/1", "none"),
    "scan.encode.decode_planes": ("uint8/2 float32/1 int32/1 int32/1 float32/2", "none"),
    "scan.encode.largest_ratio": ("float32/2 float32/1 float32/1", "none"),
    "scan.encode.encode_int8": ("float32/2 float32/1 float32/1 int8/2", "none"),
    "scan.hadamard.turn_rows": ("int8/2 float32/2 int64", "none"),
    "scan.hadamard.turn_wide_rows": ("int8/2 float64/2 int64", "none"),
    "scan.nibbles.expand_tables": ("uint8/2 uint8/1", "none"),
    "scan.nibbles.lanes_of_block": (
        "uint8/2 int64 uint8/2 uint8/1 uint16/1 float32/1 int64 int64 float32 float32 float32",
        "int64",
    ),
    "scan.tables.sign_tables": ("float32/1 int32/1 int32/1 float32/2", "none"),
    "scan.cells.encode_cells": ("float32/2 float32/1 int32/1 int64/1 float32/1 int64 uint8/2", "none"),
    "scan.cells.unpack_cells": ("uint8/2 int32/1 uint8/2", "none"),
    "scan.cells.gap_tables": ("float32/1 int32/1 int64/1 float32/1 float32/1", "none"),
    "scan.cells.scan_signs": (
        "uint64/2 uint64/1 int32/1 int64/1 int64/1 int64/1 uint64/1 int32/1 int64/1 int64/1 int32/1 int32/1",
        "int64",
    ),
    "scan.cells.lower_bounds": ("uint8/2 int64/1 int32/1 int64/1 float32/1 float32/1", "none"),
    "multivector.maxsim.fill_tables": ("float32/2 int32/1 int32/1 int64 uint8/1 float32/2", "none"),
    "multivector.maxsim.multiply": ("float32/2 float32/2 float32/2", "none"),
    "multivector.maxsim.table_bytes": ("int64", "int64"),
    "multivector.maxsim.score_codes": ("uint8/1 int64/1 int64/1 float32/2 int64 float32/1 float32/1", "none"),
    "multivector.maxsim.score_wide_codes": ("uint16/1 int64/1 int64/1 float32/2 int64 float32/1 float32/1", "none"),
    "multivector.maxsim.score_residuals": (
        (
            "uint8/1 uint16/1 uint8/1 int64 int64/1 int64/1 float32/1 float32/2 int64 uint8/1 float32/2 "
            "uint8/1 float32/2 float32/1 float32/1"
        ),
        "none",
    ),
    "multivector.maxsim.score_wide_residuals": (
        (
            "uint16/1 uint16/1 uint8/1 int64 int64/1 int64/1 float32/1 float32/2 int64 uint8/1 float32/2 "
            "uint8/1 float32/2 float32/1 float32/1"
        ),
        "none",
    ),
    "multivector.hamming.pack_numbers": ("uint16/1 int64 uint8/1", "none"),
    "multivector.hamming.score_hamming": ("uint8/1 int64 int64/1 int64/1 uint16/1 uint16/1 float32/1", "none"),
    "multivector.inverted_lists.collect_lists": (
        "int64/1 uint32/1 int64/2 float32/2 float32/1 int64/1 float32/1",
        "none",
    ),
    "multivector.fde.fill_buckets": ("float32/2 int64/1 float32/2 int64/1 int64/1 float32/3", "none"),
    "multivector.fde.encode_query": ("float32/2 float32/2 float32/1 float32/2 int64/1 float32/2 float32/1", "none"),
    "multivector.pooling.merge_chain": ("float32/2 int64/1 int64/1 int64/2 float32/1", "none"),
    "multivector.pooling.cut_merges": ("int64/2 int64/1 int64 int64/1", "none"),
    "text.postings.measure_blocks": (
        "int64/1 uint32/1 uint32/1 uint32/1 uint32/1 int64/1 uint8/1 uint8/1 uint16/1 uint16/1",
        "int64",
    ),
    "text.postings.pack_blocks": ("int64/1 uint32/1 uint32/1 int64/1 uint8/1 uint8/1 uint32/1", "none"),
    "text.postings.unpack_list": ("int64 int64 int64 int64 int64/1 int64/1", "boolean"),
    "text.postings.mark_list": ("int64 int64 int64 int64 int64/1 uint64/1", "boolean"),
    "text.postings.count_list": ("int64 int64 int64 int64 int64/1 uint64/1", "int64"),
    "text.postings.pack_positions": ("int64/1 uint32/1 int64/1 uint8/1 uint32/1", "none"),
    "text.phrases.match_phrase": (
        "int64 int64/2 uint64/1 int64/2 int64/2 int64/2 int64/2 int64/1 int64/1",
        "int64",
    ),
    "text.ranking.rank_rows": ("int64", "none"),
    "text.rescoring.score_rows": ("int64", "none"),
    "text.runs.rank_runs": ("int64", "none"),
    "text.runs.score_runs": ("int64", "none"),
    "legs.fusing.fuse": ("int64", "none"),
    "legs.fusing.unite": ("int64", "none"),
    "encoders.layers.run_layers": ("int64", "none"),
    "encoders.rotary_layers.run_rotary_layers": (
        (
            "int64/2 float32 float32/3 float32/3 float32/2 float32/2 float32/2 float32/2 float32/2 uint8/2 "
            "uint8/2 float32/2 float32/2 float32/2 int32/2"
        ),
        "none",
    ),
    "encoders.unpacking.sum_weights": ("int8/2 uint8/2 int32/2 int32/1", "none"),
    "encoders.unpacking.take_rows": (
        "uint32/2 uint8/2 int8/2 int64 float32/1 int64/1 int32/1 float32/2",
        "none",
    ),
    "encoders.unpacking.unpack_weights": (
        "uint32/2 uint8/2 int8/2 int64 int64 int32/1 int8/2",
        "none",
    ),
    "multivector.numbering.swap_numbers": (
        "float32/2 float32/2 uint8/1 int64/1 int64/1 int64 float32",
        "none",
    ),
}


def symbol_of(name: str) -> str:
    """Return the C name of an exported kernel."""
    return "vsearch_" + name.replace(".", "_")


def build(folder: Path, targets: list[str], report: Any = print) -> None:
    """Write the libraries of some targets and their index to a folder; remove libraries built from other sources.

    Raises
    ------
    subprocess.CalledProcessError
        A compiler or the linker failed; the reason is in its output.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if _sources_of(folder) != sources_digest():
        for stale in folder.glob("*.so"):
            stale.unlink()
    cores = available_cores()
    parts = min(MOST_PARTS, max(1, cores // len(targets)))
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(cores) as pool:
        objects = {name: [Path(scratch) / f"{name}-{part}.o" for part in range(parts)] for name in targets}
        jobs = {
            name: [pool.submit(compile_object, path, name, part, parts) for part, path in enumerate(paths)]
            for name, paths in objects.items()
        }
        for name, paths in objects.items():
            for job in jobs[name]:
                job.result()
            linked = Path(scratch) / f"{name}.so"
            linker = [sys.executable, "-m", "ziglang", "cc", "-target", TARGETS[name].zig, "-shared", "-s", "-nostdlib"]
            # Fail on undefined symbols: with them the library could not be loaded.
            linker.append("-Wl,-z,defs")
            subprocess.run([*linker, "-o", str(linked), *map(str, paths), "-lc", "-lm"], check=True)
            _replace(folder / f"{name}.so", linked.read_bytes())
            report(f"{name}: {linked.stat().st_size} bytes")
    functions = {
        name: {"symbol": symbol_of(name), "arguments": arguments.split(), "result": result}
        for name, (arguments, result) in EXPORTS.items()
    }
    index = {"sources": sources_digest(), "functions": functions}
    _replace(folder / INDEX, (json.dumps(index, indent=1, sort_keys=True) + "\n").encode())


def deal(part: int, parts: int) -> list[str]:
    """Return the kernels of one of several parts; the first part has the query kernels."""
    if parts == 1:
        return list(EXPORTS)
    others = [name for name in EXPORTS if not name.startswith("query.")]
    return others[part - 1 :: parts - 1] if part else [name for name in EXPORTS if name not in others]


def _sources_of(folder: Path) -> object:
    try:
        return json.loads((folder / INDEX).read_bytes())["sources"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _replace(path: Path, data: bytes) -> None:
    """Replace a file atomically: a process may have the old one mapped."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    temporary.replace(path)


def compile_object(path: Path, name: str, part: int = 0, parts: int = 1) -> None:
    """Compile the kernels for a target, or one of several parts of them, to an object file, in a separate process."""
    target = TARGETS[name]
    environment = {**os.environ, "VSEARCH_DIALECT": target.dialect, "VSEARCH_JIT": "ir"}
    if target.triple.startswith("aarch64"):
        # not vectorized: Numba would vectorize for the host
        host = "generic" if platform.machine() == "aarch64" else "x86-64-v3"
        environment |= {"NUMBA_CPU_NAME": host, "NUMBA_CPU_FEATURES": "", "NUMBA_LOOP_VECTORIZE": "0"}
    else:
        environment |= {"NUMBA_CPU_NAME": target.processor, "NUMBA_CPU_FEATURES": target.features}
    command = [sys.executable, "-m", "vsearch.kernels.toolchain.ahead_of_time", "--object", str(path), "--target", name]
    subprocess.run([*command, "--part", str(part), "--parts", str(parts)], check=True, env=environment)


def write_object(path: Path, name: str, exports: list[str]) -> None:
    """Compile exported kernels for a target to one object file; the process must use the target's dialect."""
    import llvmlite.binding as llvm

    from vsearch.kernels.toolchain.simd import NEON_STAND_INS

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = TARGETS[name]
    first, *others = exports
    module = llvm.parse_assembly(_intermediate(first))
    for export in others:
        module.link_in(llvm.parse_assembly(_intermediate(export)))
    for function in module.functions:
        if not function.is_declaration and not function.name.startswith("vsearch_"):
            function.linkage = "internal"
    for variable in module.global_variables:
        if not variable.is_declaration:
            variable.linkage = "internal"
    machine = llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.processor, features=target.features, opt=3, reloc="pic", codemodel="default"
    )
    module.triple, module.data_layout = target.triple, str(machine.target_data)
    text = str(module)
    for stand_in, instruction in NEON_STAND_INS.items():
        text = text.replace(stand_in, instruction)
    module = llvm.parse_assembly(text)
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    builder.getModulePassManager().run(module, builder)
    path.write_bytes(machine.emit_object(module))


def _intermediate(export: str) -> str:
    """Return the LLVM IR of one kernel under its C name, without references to Python."""
    import llvmlite.binding as llvm
    from numba import types

    module_name, _, name = export.rpartition(".")
    dispatcher = getattr(import_module(f"vsearch.kernels.{module_name}"), name)
    signature = []
    for argument in EXPORTS[export][0].split():
        kind, _, axes = argument.partition("/")
        element = types.boolean if kind == "bool" else getattr(types, kind)
        signature.append(types.Array(element, int(axes), "C") if axes else element)
    dispatcher.compile(tuple(signature))
    compiled = dispatcher.overloads[tuple(signature)]
    module = llvm.parse_assembly(compiled.library.get_llvm_str())
    for function in module.functions:
        if function.is_declaration:
            continue
        if function.name == compiled.fndesc.llvm_func_name:
            function.name = symbol_of(export)
            function.linkage = "external"
        else:
            function.linkage = "linkonce_odr"  # kernels have parts in common
    for variable in module.global_variables:
        if not variable.is_declaration:
            variable.linkage = "internal"
    return str(module)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m vsearch.kernels.toolchain.ahead_of_time", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(FOLDER), help="output folder (default: the package's)")
    parser.add_argument(
        "--target", choices=sorted(TARGETS), action="append", help="target, may be repeated (default: all)"
    )
    parser.add_argument("--object", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--part", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--parts", type=int, default=1, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.object is not None:
        write_object(arguments.object, arguments.target[0], deal(arguments.part, arguments.parts))
    else:
        build(arguments.out, arguments.target or sorted(TARGETS))


if __name__ == "__main__":
    main()
