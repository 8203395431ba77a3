"""The SIMD dialect: the few vector operations that LLVM does not find by itself, for each kind of processor.

A kernel is written once against `Dialect`, which builds LLVM vector IR; what differs between processors is how wide a
register is and which instruction looks bytes up in a 16-byte table. ``portable`` has no such instruction: there the
plain loops of `scan` are compiled instead.

The dialect is chosen once per process from the processor's features, or by the environment variable
``VSEARCH_DIALECT`` (``avx512``, ``avx2``, ``neon``, ``portable``), which the ahead-of-time build and the tests set.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass

import llvmlite.binding as llvm
from llvmlite import ir

I8, I16, I32, I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
F16, F32 = ir.HalfType(), ir.FloatType()

#: Features a processor needs for a dialect, in the order in which they are preferred.
NEEDS = {
    "avx512": ("avx512bw", "avx512vl", "f16c"),
    "avx2": ("avx2", "fma", "f16c"),
    "neon": ("neon",),
}


#: Name under which a processor that is no AArch64 compiles NEON's lookup.
NEON_STAND_IN = "vsearch_neon_tbl1"


@dataclass(frozen=True)
class Dialect:
    """Vector operations on one kind of processor.

    Attributes
    ----------
    name : str
    width : int
        Bytes of codes looked up at a time: a whole number of rows of 32 lanes.
    native : int
        Bytes of the instruction that looks them up.
    """

    name: str
    width: int
    native: int

    @property
    def lookup_name(self) -> str:
        """The LLVM intrinsic of the byte lookup."""
        return {
            "avx512": "llvm.x86.avx512.pshuf.b.512",
            "avx2": "llvm.x86.avx2.pshuf.b",
            "neon": "llvm.aarch64.neon.tbl1.v16i8",
        }[self.name]

    def lookup(self, b: ir.IRBuilder, table: ir.Value, codes: ir.Value) -> ir.Value:
        """Look up every byte of `codes` (values below 16) in the 16-byte table of its group of lanes."""
        kind = ir.VectorType(I8, self.native)
        signature = ir.FunctionType(kind, [kind, kind])
        if self.name == "neon" and platform.machine() not in ("aarch64", "arm64"):
            # another processor's instruction: a stand-in that the ahead-of-time build puts right
            function = b.module.globals.get(NEON_STAND_IN) or ir.Function(b.module, signature, NEON_STAND_IN)
        else:
            function = b.module.declare_intrinsic(self.lookup_name, [], signature)
        if self.native == self.width:
            return b.call(function, [table, codes])
        parts = []
        for start in range(0, self.width, self.native):
            pick = lanes(range(start, start + self.native))
            undefined = ir.Constant(table.type, ir.Undefined)
            parts.append(
                b.call(function, [b.shuffle_vector(table, undefined, pick), b.shuffle_vector(codes, undefined, pick)])
            )
        return b.shuffle_vector(parts[0], parts[1], lanes(range(self.width)))


DIALECTS = {
    "avx512": Dialect("avx512", 64, 64),
    "avx2": Dialect("avx2", 32, 32),
    "neon": Dialect("neon", 32, 16),
}


def choose(features: dict[str, bool]) -> Dialect | None:
    """The best dialect for a processor; None for the portable bodies."""
    for name, needed in NEEDS.items():
        if all(features.get(feature, False) for feature in needed):
            return DIALECTS[name]
    return None


def _host() -> Dialect | None:
    asked = os.environ.get("VSEARCH_DIALECT")
    if asked == "portable":
        return None
    if asked:
        return DIALECTS[asked]
    return choose(dict(llvm.get_host_cpu_features()))


def splat(element: ir.Type, count: int, value: float) -> ir.Constant:
    """A constant vector of one value."""
    return ir.Constant(ir.VectorType(element, count), [ir.Constant(element, value)] * count)


def lanes(indices: object) -> ir.Constant:
    """A shuffle mask."""
    chosen = [ir.Constant(I32, i) for i in indices]  # type: ignore[attr-defined]
    return ir.Constant(ir.VectorType(I32, len(chosen)), chosen)


def broadcast(b: ir.IRBuilder, value: ir.Value, count: int) -> ir.Value:
    """A vector with one run-time value in every lane."""
    kind = ir.VectorType(value.type, count)
    one = b.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(I32, 0))
    return b.shuffle_vector(one, ir.Constant(kind, ir.Undefined), lanes([0] * count))


def load(b: ir.IRBuilder, base: ir.Value, offset: ir.Value, kind: ir.Type, align: int) -> ir.Value:
    """Load a vector from a byte pointer and a byte offset."""
    value = b.load(b.bitcast(b.gep(base, [offset]), kind.as_pointer()))
    value.align = align
    return value


#: The dialect of this process, None where only the portable bodies run.
DIALECT = _host()
