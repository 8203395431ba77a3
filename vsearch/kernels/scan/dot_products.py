"""Inner products and distances of rotated queries and stored residuals, for reranking; half-precision conversion."""

# ruff: noqa: ARG001  the arguments of an intrinsic are only its type
from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from vsearch.kernels.toolchain.compiling import inlined, inlined_summing
from vsearch.kernels.toolchain.simd import DIALECT, F16, F32, I8, I32, I64, lanes, load


@inlined
def half_to_float(half):
    """Convert a finite float16, given as its 16 bits, to float32: shift the bits, then correct the exponent."""
    magnitude = np.uint32(half & np.uint16(0x7FFF)) << np.uint32(13)
    value = np.uint32(magnitude).view(np.float32) * np.float32(2.0**112)
    if half & np.uint16(0x8000):
        return -value
    return value


@inlined_summing
def dot_int8(query, codes):
    """Compute ``sum query_j * codes_j``; query is float32 (d,), codes int8 (d,)."""
    total = np.float32(0.0)
    for j in range(query.shape[0]):
        total += query[j] * np.float32(codes[j])
    return total


@inlined_summing
def dot_float(query, values):
    """Compute ``sum query_j * values_j``, both float32 (d,)."""
    total = np.float32(0.0)
    for j in range(query.shape[0]):
        total += query[j] * values[j]
    return total


@inlined_summing
def square_distance(query, values):
    """Compute ``sum (query_j - values_j)^2``, both float32 (d,)."""
    total = np.float32(0.0)
    for j in range(query.shape[0]):
        difference = query[j] - values[j]
        total += difference * difference
    return total


@inlined_summing
def square_distance_half(query, halves):
    """As `square_distance`, to a float16 vector given as uint16 (d,)."""
    total = np.float32(0.0)
    for j in range(query.shape[0]):
        difference = query[j] - half_to_float(halves[j])
        total += difference * difference
    return total


@inlined_summing
def distance_to_int8(offset, weights, codes, scale):
    """Compute ``sum (offset_j - scale * weights_j * codes_j)^2``; codes are int8 (d,), the others float32 (d,)."""
    total = np.float32(0.0)
    for j in range(offset.shape[0]):
        difference = offset[j] - scale * (weights[j] * np.float32(codes[j]))
        total += difference * difference
    return total


@inlined_summing
def distance_to_half(offset, halves, scale):
    """Compute ``sum (offset_j - scale * halves_j)^2``; halves are float16 given as uint16 (d,)."""
    total = np.float32(0.0)
    for j in range(offset.shape[0]):
        difference = offset[j] - scale * half_to_float(halves[j])
        total += difference * difference
    return total


@inlined_summing
def distance_to_float(offset, values, scale):
    """Compute ``sum (offset_j - scale * values_j)^2``, all float32 (d,)."""
    total = np.float32(0.0)
    for j in range(offset.shape[0]):
        difference = offset[j] - scale * values[j]
        total += difference * difference
    return total


@inlined
def subtract_centroid(query, centroids, half_centroids, partition, offset):
    """Write ``query - centroid`` to `offset`, all float32 (d,); the centroids may be float16 given as uint16."""
    if half_centroids.shape[0] > 0:
        for j in range(query.shape[0]):
            offset[j] = query[j] - half_to_float(half_centroids[partition, j])
    else:
        for j in range(query.shape[0]):
            offset[j] = query[j] - centroids[partition, j]


@inlined_summing
def dot_half_plain(query, halves):
    """The portable body of `dot_half`."""
    total = np.float32(0.0)
    for j in range(query.shape[0]):
        total += query[j] * half_to_float(halves[j])
    return total


@intrinsic
def _dot_half(typingctx, query, halves, count):
    """`dot_half` over the first `count` elements, a multiple of 16 and not 0."""
    signature = types.float32(query, halves, types.int64)

    def codegen(context, b, signature, args):
        query, halves = (
            b.bitcast(context.make_array(kind)(context, b, value).data, I8.as_pointer())
            for kind, value in zip(signature.args[:2], args[:2], strict=True)
        )
        floats = ir.VectorType(F32, 16)
        entry, loop, done = b.block, b.append_basic_block("halves"), b.append_basic_block("dotted")
        b.branch(loop)
        b.position_at_end(loop)
        j, total = b.phi(I64), b.phi(floats)
        j.add_incoming(ir.Constant(I64, 0), entry)
        total.add_incoming(ir.Constant(floats, None), entry)
        values = b.fpext(load(b, halves, b.mul(j, ir.Constant(I64, 2)), ir.VectorType(F16, 16), 2), floats)
        factors = load(b, query, b.mul(j, ir.Constant(I64, 4)), floats, 4)
        added = b.fadd(total, b.fmul(values, factors, flags=("contract",)), flags=("contract", "reassoc"))
        following = b.add(j, ir.Constant(I64, 16))
        j.add_incoming(following, loop)
        total.add_incoming(added, loop)
        b.cbranch(b.icmp_signed("<", following, args[2]), loop, done)
        b.position_at_end(done)
        half = 8
        while half:  # fold the lanes
            kind = added.type
            pick = [
                b.shuffle_vector(added, ir.Constant(kind, ir.Undefined), lanes(r))
                for r in (range(half), range(half, 2 * half))
            ]
            added = b.fadd(*pick)
            half //= 2
        return b.extract_element(added, ir.Constant(I32, 0))

    return signature, codegen


if DIALECT is None:

    @inlined
    def dot_half(query, halves):
        """Compute ``sum query_j * halves_j``; halves are float16 given as uint16 (d,)."""
        return dot_half_plain(query, halves)

else:

    @inlined
    def dot_half(query, halves):
        """Compute ``sum query_j * halves_j``; halves are float16 given as uint16 (d,)."""
        vectorized = query.shape[0] & ~15
        total = np.float32(0.0)
        if vectorized > 0:
            total = _dot_half(query, halves, vectorized)
        return total + dot_half_plain(query[vectorized:], halves[vectorized:])
