"""Arrays at raw addresses, and prefetch, for kernels."""

# ruff: noqa: ARG001  the arguments of an intrinsic are only its type
from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

_POINTER = ir.IntType(8).as_pointer()


def make_array(context: Any, b: ir.IRBuilder, kind: Any, address: ir.Value, shape: list[ir.Value]) -> ir.Value:
    """Build a C-contiguous array at an address, without ownership or reference counting."""
    word = context.get_value_type(types.intp)
    size = np.dtype(str(kind.dtype)).itemsize
    array = context.make_array(kind)(context, b)
    strides = [ir.Constant(word, size)]
    for extent in reversed(shape[1:]):
        strides.insert(0, b.mul(strides[0], extent))
    data = b.inttoptr(address, context.get_data_type(kind.dtype).as_pointer())
    populate_array(array, data=data, shape=shape, strides=strides, itemsize=ir.Constant(word, size), meminfo=None)
    return array._getvalue()  # noqa: SLF001  how Numba's own intrinsics return an array


@intrinsic
def int64s(typingctx, address, count):
    """Return the array int64 (count,) at an address."""
    return _array_at(types.int64)


@intrinsic
def uint8s(typingctx, address, count):
    """Return the array uint8 (count,) at an address."""
    return _array_at(types.uint8)


@intrinsic
def uint32s(typingctx, address, count):
    """Return the array uint32 (count,) at an address."""
    return _array_at(types.uint32)


@intrinsic
def float32s(typingctx, address, count):
    """Return the array float32 (count,) at an address."""
    return _array_at(types.float32)


def _array_at(element: Any) -> Any:
    kind = types.Array(element, 1, "C")

    def codegen(context, b, signature, args):
        return make_array(context, b, kind, args[0], [args[1]])

    return kind(types.int64, types.int64), codegen


@intrinsic
def prefetch(typingctx, array, offset):
    """Prefetch the cache line at a byte offset of an array; an offset out of range is harmless."""

    def codegen(context, b, signature, args):
        i32 = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [_POINTER, i32, i32, i32])
        function = b.module.declare_intrinsic("llvm.prefetch", [_POINTER], kind)
        data = b.bitcast(context.make_array(signature.args[0])(context, b, args[0]).data, _POINTER)
        hints = [ir.Constant(i32, value) for value in (0, 3, 1)]  # for reading, keep in all levels, data
        b.call(function, [b.gep(data, [args[1]]), *hints])
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen
