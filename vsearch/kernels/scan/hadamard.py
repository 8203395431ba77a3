"""Random rotation in O(d log d): rounds of random signs and of a Hadamard transform of a window, and steps of Kac's walk.

The fast Johnson-Lindenstrauss transform (Ailon and Chazelle, 2009) flips random signs and applies a Hadamard transform,
which needs a power of two. For other dimensions, RaBitQ's library (``FhtKacRotator``) transforms windows of such a length
at both ends of the vector by turns, and mixes pairs half a vector apart, as in Kac's walk, after every round. Here the walk
follows only every second round, when both windows are transformed: otherwise it can move a number out of the next window
before it is spread, so that some entries of the matrix are thrice as large.
"""

# ruff: noqa: ARG001  the arguments of an intrinsic are only its type
from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from vsearch.kernels.toolchain.compiling import inlined, kernel, part
from vsearch.kernels.toolchain.simd import I8, lanes, load

REGISTER = 16  # adjacent numbers whose butterflies are made within registers


@inlined
def _window(d):
    """Return the largest power of two that is at most d."""
    size = 1
    while 2 * size <= d:
        size *= 2
    return size


@intrinsic
def _transform_adjacent(typingctx: Any, vector: Any, first: Any, count: Any) -> Any:
    """Transform `count` groups of 16 numbers from position `first` on, without scaling."""
    signature = types.void(vector, types.int64, types.int64)

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        element = context.get_value_type(signature.args[0].dtype)
        size = 4 if element == ir.FloatType() else 8
        data = b.bitcast(context.make_array(signature.args[0])(context, b, args[0]).data, I8.as_pointer())
        place = args[1].type
        kind = ir.VectorType(element, REGISTER)
        undefined = ir.Constant(kind, ir.Undefined)
        entry, loop, done = b.block, b.append_basic_block("groups"), b.append_basic_block("transformed")
        b.cbranch(b.icmp_signed(">", args[2], ir.Constant(place, 0)), loop, done)
        b.position_at_end(loop)
        group = b.phi(place)
        group.add_incoming(ir.Constant(place, 0), entry)
        at = b.mul(b.add(args[1], b.mul(group, ir.Constant(place, REGISTER))), ir.Constant(place, size))
        value = load(b, data, at, kind, size)
        for stride in (1, 2, 4, 8):
            partner = b.shuffle_vector(value, undefined, lanes(i ^ stride for i in range(REGISTER)))
            flips = ir.Constant(kind, [ir.Constant(element, -1.0 if i & stride else 1.0) for i in range(REGISTER)])
            value = b.fadd(partner, b.fmul(value, flips))
        b.store(value, b.bitcast(b.gep(data, [at]), kind.as_pointer())).align = size
        following = b.add(group, ir.Constant(place, 1))
        group.add_incoming(following, loop)
        b.cbranch(b.icmp_signed("<", following, args[2]), loop, done)
        b.position_at_end(done)
        return context.get_dummy_value()

    return signature, codegen


@inlined
def _butterflies(vector, first, size, stride):
    """Replace pairs ``(a, b)`` that lie `stride` apart by ``(a + b, a - b)``."""
    for start in range(first, first + size, 2 * stride):
        low, high = vector[start : start + stride], vector[start + stride : start + 2 * stride]
        for i in range(stride):
            a, b = low[i], high[i]
            low[i], high[i] = a + b, a - b


@inlined
def _transform_window(vector, first, size, scale):
    """Apply the Hadamard transform, times `scale`, to ``vector[first : first + size]``; `size` is a power of two."""
    stride = 1
    if size >= REGISTER:
        _transform_adjacent(vector, first, size // REGISTER)
        stride = REGISTER
    while stride < size:
        _butterflies(vector, first, size, stride)
        stride *= 2
    window = vector[first : first + size]
    for i in range(size):
        window[i] *= scale


@inlined
def _walk(vector, scale):
    """Mix pairs half a vector apart; with an odd number of dimensions the middle one stays."""
    half = vector.shape[0] // 2
    low, high = vector[:half], vector[vector.shape[0] - half :]
    for i in range(half):
        a, b = low[i], high[i]
        low[i], high[i] = (a + b) * scale, (a - b) * scale


@inlined
def _flip(vector, signs):
    for j in range(vector.shape[0]):
        vector[j] *= signs[j]


@inlined
def turn(signs, vector, unit):
    """Rotate a vector in place. O(rounds * d log d).

    Parameters
    ----------
    signs : int8 (rounds, d)
        1 or -1.
    vector : float32 or float64 (d,)
    unit : float32 or float64
        1, which determines the precision.
    """
    d = vector.shape[0]
    size = _window(d)
    scale, mixing = unit / np.sqrt(unit * size), unit / np.sqrt(unit + unit)
    for at in range(signs.shape[0]):
        _flip(vector, signs[at])
        _transform_window(vector, 0 if at % 2 == 0 else d - size, size, scale)
        if at % 2 == 1 and size < d:  # with a single window it would undo a part of the transform
            _walk(vector, mixing)


@inlined
def turn_back(signs, vector, unit):
    """Invert `turn`."""
    d = vector.shape[0]
    size = _window(d)
    scale, mixing = unit / np.sqrt(unit * size), unit / np.sqrt(unit + unit)
    for at in range(signs.shape[0] - 1, -1, -1):
        if at % 2 == 1 and size < d:
            _walk(vector, mixing)
        _transform_window(vector, 0 if at % 2 == 0 else d - size, size, scale)
        _flip(vector, signs[at])


@part
def turn_query(signs, vector):
    """`turn` in float32."""
    turn(signs, vector, np.float32(1.0))


@part
def turn_wide_query(signs, vector):
    """`turn` in float64."""
    turn(signs, vector, 1.0)


@kernel
def turn_rows(signs, rows, back):
    """Rotate vectors float32 (n, d) in place; if `back` is not 0, invert that. Signs int8 (rounds, d) are 1 or -1."""
    for row in range(rows.shape[0]):
        if back != 0:
            turn_back(signs, rows[row], np.float32(1.0))
        else:
            turn(signs, rows[row], np.float32(1.0))


@kernel
def turn_wide_rows(signs, rows, back):
    """`turn_rows` in float64."""
    for row in range(rows.shape[0]):
        if back != 0:
            turn_back(signs, rows[row], 1.0)
        else:
            turn(signs, rows[row], 1.0)
