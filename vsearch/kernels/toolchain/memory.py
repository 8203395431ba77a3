"""Addresses: how a kernel with a plain C signature gets at its arrays, and prefetch.

A fused kernel has too many arrays for an argument each. It takes the address of a list of int64 fields instead, of
which some are numbers and some addresses; the same call works from Numba and, through ctypes, without it.
"""

# ruff: noqa: ARG001  the arguments of an intrinsic are only its type
from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

_POINTER = ir.IntType(8).as_pointer()


def _array_at(element: Any, dimensions: int) -> Any:
    """An intrinsic that makes the C-contiguous array of some shape at an address. Nobody owns it, nothing counts it."""
    kind = types.Array(element, dimensions, "C")
    size = np.dtype(str(element)).itemsize

    def codegen(context, b, signature, args):
        word = context.get_value_type(types.intp)
        array = context.make_array(kind)(context, b)
        shape = list(args[1:])
        strides = [ir.Constant(word, size)]
        for extent in reversed(shape[1:]):
            strides.insert(0, b.mul(strides[0], extent))
        data = b.inttoptr(args[0], context.get_data_type(element).as_pointer())
        populate_array(array, data=data, shape=shape, strides=strides, itemsize=ir.Constant(word, size), meminfo=None)
        return array._getvalue()  # noqa: SLF001  how Numba's own intrinsics return an array

    if dimensions == 1:

        @intrinsic
        def vector(typingctx, address, count):
            return kind(types.int64, types.int64), codegen

        return vector

    @intrinsic
    def matrix(typingctx, address, rows, columns):
        return kind(types.int64, types.int64, types.int64), codegen

    return matrix


#: ``name(address, count)``: the vector there. Float16 is kept as uint16.
int64s = _array_at(types.int64, 1)
int32s = _array_at(types.int32, 1)
uint64s = _array_at(types.uint64, 1)
uint32s = _array_at(types.uint32, 1)
halves = _array_at(types.uint16, 1)
bytes_ = _array_at(types.uint8, 1)
int8s = _array_at(types.int8, 1)
int16s = _array_at(types.int16, 1)
floats = _array_at(types.float32, 1)

#: ``name(address, rows, columns)``: the matrix there.
float_rows = _array_at(types.float32, 2)
half_rows = _array_at(types.uint16, 2)
byte_rows = _array_at(types.uint8, 2)
int8_rows = _array_at(types.int8, 2)
int16_rows = _array_at(types.int16, 2)
int64_rows = _array_at(types.int64, 2)


@intrinsic
def prefetch(typingctx, array, offset):
    """Ask for the cache line at a byte offset of an array; reading beyond it does no harm."""

    def codegen(context, b, signature, args):
        i32 = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [_POINTER, i32, i32, i32])
        function = b.module.declare_intrinsic("llvm.prefetch", [_POINTER], kind)
        data = b.bitcast(context.make_array(signature.args[0])(context, b, args[0]).data, _POINTER)
        hints = [ir.Constant(i32, value) for value in (0, 3, 1)]  # for reading, keep in all levels, data
        b.call(function, [b.gep(data, [args[1]]), *hints])
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen
