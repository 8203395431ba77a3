"""The SIMD dialect: the few vector operations that LLVM does not select by itself, for each kind of processor.

A kernel is written once against `Dialect`, which builds LLVM vector IR; processors differ in the width of registers and
in the instruction that looks up bytes in a 16-byte table. ``portable`` has no such instruction; there the plain loops
of `scan` are compiled instead.

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

#: Processor features that each dialect needs, in order of preference.
NEEDS = {
    "avx512": ("avx512bw", "avx512vl", "avx512vnni", "f16c"),
    "avx2": ("avx2", "fma", "f16c"),
    "neon": ("neon", "dotprod"),
}

#: Placeholder names for NEON intrinsics when compiling on another processor, and the intrinsics that they stand for.
NEON_STAND_INS = {
    "vsearch_neon_tbl1": "llvm.aarch64.neon.tbl1.v16i8",
    "vsearch_neon_sdot": "llvm.aarch64.neon.sdot.v4i32.v16i8",
}


@dataclass(frozen=True)
class Dialect:
    """Vector operations on one kind of processor.

    Attributes
    ----------
    name : str
    width : int
        Bytes of codes looked up at a time, a multiple of 32 lanes.
    native : int
        Bytes per lookup instruction.
    """

    name: str
    width: int
    native: int

    @property
    def lookup_name(self) -> str:
        """Name of the LLVM intrinsic of the byte lookup."""
        return {
            "avx512": "llvm.x86.avx512.pshuf.b.512",
            "avx2": "llvm.x86.avx2.pshuf.b",
            "neon": "vsearch_neon_tbl1",
        }[self.name]

    def lookup(self, b: ir.IRBuilder, table: ir.Value, codes: ir.Value) -> ir.Value:
        """Look up every byte of `codes` (values below 16) in the 16-byte table of its group of lanes."""
        kind = ir.VectorType(I8, self.native)
        function = _instruction(b, self.lookup_name, ir.FunctionType(kind, [kind, kind]))
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

    def add_products(self, b: ir.IRBuilder, sums: ir.Value, low: ir.Value, signed: ir.Value) -> ir.Value:
        """Add the products of four adjacent bytes, `low` < 128 and `signed` >= -127, to each 32-bit sum.

        The sums fill a register of `native` bytes; the bytes are passed as its 32-bit words.
        """
        words = ir.VectorType(I32, self.native // 4)
        bytes_ = ir.VectorType(I8, self.native)
        if self.name == "avx512":
            product = _instruction(b, "llvm.x86.avx512.vpdpbusd.512", ir.FunctionType(words, [words] * 3))
            return b.call(product, [sums, low, signed])
        low, signed = b.bitcast(low, bytes_), b.bitcast(signed, bytes_)
        if self.name == "neon":
            product = _instruction(b, "vsearch_neon_sdot", ir.FunctionType(words, [words, bytes_, bytes_]))
            return b.call(product, [sums, low, signed])
        halves = ir.VectorType(I16, self.native // 2)
        pairs = _instruction(b, "llvm.x86.avx2.pmadd.ub.sw", ir.FunctionType(halves, [bytes_, bytes_]))
        fours = _instruction(b, "llvm.x86.avx2.pmadd.wd", ir.FunctionType(words, [halves, halves]))
        # the sum of two products of 7 and 8 bits fits in 16 bits: no saturation
        return b.add(sums, b.call(fours, [b.call(pairs, [low, signed]), splat(I16, self.native // 2, 1)]))

    def add_word_products(self, b: ir.IRBuilder, sums: ir.Value, left: ir.Value, right: ir.Value) -> ir.Value:
        """Add the products of two adjacent 16-bit words to each 32-bit sum; words are passed as for `add_products`."""
        count = self.native // 4
        words, halves = ir.VectorType(I32, count), ir.VectorType(I16, 2 * count)
        left, right = b.bitcast(left, halves), b.bitcast(right, halves)
        if self.name != "neon":
            name = "llvm.x86.avx512.pmaddw.d.512" if self.name == "avx512" else "llvm.x86.avx2.pmadd.wd"
            pairs = _instruction(b, name, ir.FunctionType(words, [halves, halves]))
            return b.add(sums, b.call(pairs, [left, right]))
        wide = ir.VectorType(I32, 2 * count)
        product = b.mul(b.sext(left, wide), b.sext(right, wide))
        undefined = ir.Constant(wide, ir.Undefined)
        even, odd = (b.shuffle_vector(product, undefined, lanes(range(i, 2 * count, 2))) for i in range(2))
        return b.add(sums, b.add(even, odd))


def _instruction(b: ir.IRBuilder, name: str, signature: ir.FunctionType) -> ir.Function:
    """Declare a processor instruction; on another processor, a placeholder that the ahead-of-time build replaces."""
    if name not in NEON_STAND_INS:
        return b.module.declare_intrinsic(name, [], signature)
    if platform.machine() in ("aarch64", "arm64"):
        return b.module.declare_intrinsic(NEON_STAND_INS[name], [], signature)
    return b.module.globals.get(name) or ir.Function(b.module, signature, name)


DIALECTS = {
    "avx512": Dialect("avx512", 64, 64),
    "avx2": Dialect("avx2", 32, 32),
    "neon": Dialect("neon", 32, 16),
}


def choose(features: dict[str, bool]) -> Dialect | None:
    """Return the best dialect for a processor; None for the portable bodies."""
    for name, needed in NEEDS.items():
        if all(features.get(feature, False) for feature in needed):
            return DIALECTS[name]
    return None


def _host() -> Dialect | None:
    requested = os.environ.get("VSEARCH_DIALECT")
    if requested == "portable":
        return None
    if requested:
        return DIALECTS[requested]
    return choose(dict(llvm.get_host_cpu_features()))


def splat(element: ir.Type, count: int, value: float) -> ir.Constant:
    """Return a constant vector of one value."""
    return ir.Constant(ir.VectorType(element, count), [ir.Constant(element, value)] * count)


def lanes(indices: object) -> ir.Constant:
    """Return a shuffle mask."""
    constants = [ir.Constant(I32, i) for i in indices]  # type: ignore[attr-defined]
    return ir.Constant(ir.VectorType(I32, len(constants)), constants)


def broadcast(b: ir.IRBuilder, value: ir.Value, count: int) -> ir.Value:
    """Return a vector with one run-time value in every lane."""
    kind = ir.VectorType(value.type, count)
    first = b.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(I32, 0))
    return b.shuffle_vector(first, ir.Constant(kind, ir.Undefined), lanes([0] * count))


def load(b: ir.IRBuilder, base: ir.Value, offset: ir.Value, kind: ir.Type, align: int) -> ir.Value:
    """Load a vector from a byte pointer and a byte offset."""
    value = b.load(b.bitcast(b.gep(base, [offset]), kind.as_pointer()))
    value.align = align
    return value


#: The dialect of this process, None for the portable bodies.
DIALECT = _host()
