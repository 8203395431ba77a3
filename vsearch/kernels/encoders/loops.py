"""Vectors of 16 floats: addresses, stores, and loops over rows of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from vsearch.kernels.encoders.fields import LANES
from vsearch.kernels.toolchain.simd import F32, I8, I32, I64, lanes

FLOATS, WORDS = ir.VectorType(F32, LANES), ir.VectorType(I32, LANES)
FOUR = ir.Constant(I64, 4)


def pointer(context: Any, b: ir.IRBuilder, kind: Any, value: ir.Value) -> ir.Value:
    """Byte pointer to the first element of an array."""
    return b.bitcast(context.make_array(kind)(context, b, value).data, I8.as_pointer())


def loop(
    b: ir.IRBuilder, count: ir.Value, start: list[ir.Value], body: Callable[..., list[ir.Value]]
) -> list[ir.Value]:
    """Emit a loop in steps of 16 up to `count`, which is not 0; `body` takes the index and values carried along."""
    entry, inside, done = b.block, b.append_basic_block("lanes"), b.append_basic_block("after")
    b.branch(inside)
    b.position_at_end(inside)
    index = b.phi(I64)
    index.add_incoming(ir.Constant(I64, 0), entry)
    carried = [b.phi(value.type) for value in start]
    for phi, value in zip(carried, start, strict=True):
        phi.add_incoming(value, entry)
    values = body(index, *carried)
    following = b.add(index, ir.Constant(I64, LANES))
    index.add_incoming(following, inside)
    for phi, value in zip(carried, values, strict=True):
        phi.add_incoming(value, inside)
    b.cbranch(b.icmp_signed("<", following, count), inside, done)
    b.position_at_end(done)
    return values


def store(b: ir.IRBuilder, value: ir.Value, base: ir.Value, offset: ir.Value) -> None:
    """Store a vector at a byte offset."""
    b.store(value, b.bitcast(b.gep(base, [offset]), value.type.as_pointer())).align = 1


def combine(b: ir.IRBuilder, value: ir.Value, combine: Callable[[ir.Value, ir.Value], ir.Value]) -> ir.Value:
    """Combine the lanes of a vector; every lane of the result has the same value."""
    step = LANES // 2
    while step:
        value = combine(value, b.shuffle_vector(value, value, lanes([lane ^ step for lane in range(LANES)])))
        step //= 2
    return value
