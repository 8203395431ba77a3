"""Views: blocks of packed int64 fields, read by name inside a kernel.

A fused kernel has too many arrays to pass each as an argument. It takes the addresses of a few blocks instead, whose
fields are numbers and addresses of arrays; the same call works with Numba and, through ctypes, without it. A view is
only a block's address, so creating and passing one is free. Reading a field loads a number, or builds the array at an
address, which has no rows if the address is 0.

Fields that a loop reads repeatedly should be read into a variable first: the compiler cannot know that the block does
not change.
"""

# ruff: noqa: ARG001  the arguments of an intrinsic are only its type
from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core.typing.templates import AttributeTemplate
from numba.extending import (
    infer_getattr,
    intrinsic,
    lower_getattr_generic,
    lower_setattr_generic,
    models,
    register_model,
)

from vsearch.kernels.toolchain.memory import make_array

_WORD = ir.IntType(64)


class ArrayField(NamedTuple):
    """The array at the address in a field: its element type, and its shape as numbers or names of fields."""

    element: str
    shape: tuple[int | str, ...]


class View(types.Type):
    """The type of one kind of block.

    Attributes
    ----------
    places : dict of str to int
        Position of each field, by its name in lower case.
    arrays : dict of str to ArrayField
        The fields that are addresses; the others are numbers, which may be written.
    """

    def __init__(self, name: str, places: dict[str, int], arrays: dict[str, ArrayField]) -> None:
        super().__init__(name=f"View({name})")
        self.places, self.arrays = places, arrays

    def field(self, name: str) -> Any:
        """Return Numba's type of a field; None if there is no such field."""
        if name not in self.places:
            return None
        if name not in self.arrays:
            return types.int64
        element, shape = self.arrays[name]
        return types.Array(getattr(types, element), len(shape), "C")


def view(name: str, fields: type[IntEnum], arrays: Mapping[str, ArrayField]) -> Any:
    """Return a function for kernels that takes the address of a block and returns a view of it."""
    kind = View(name, {field.name.lower(): int(field) for field in fields}, dict(arrays))

    @intrinsic
    def at(typingctx, address):
        return kind(types.int64), lambda _context, _builder, _signature, args: args[0]

    return at


@register_model(View)
class _ViewModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _WORD)


@infer_getattr
class _ViewFields(AttributeTemplate):
    key = View

    def generic_resolve(self, kind: Any, name: str) -> Any:  # type: ignore[override]
        return kind.field(name)


def _place(b: ir.IRBuilder, kind: Any, block: ir.Value, name: str) -> ir.Value:
    words = b.inttoptr(block, _WORD.as_pointer())
    return b.gep(words, [ir.Constant(_WORD, kind.places[name])])


@lower_getattr_generic(View)
def _read(context: Any, b: ir.IRBuilder, kind: Any, block: ir.Value, name: str) -> ir.Value:
    number = b.load(_place(b, kind, block, name))
    if name not in kind.arrays:
        return number
    rows, *others = (
        ir.Constant(_WORD, extent) if isinstance(extent, int) else b.load(_place(b, kind, block, extent))
        for extent in kind.arrays[name].shape
    )
    zero = ir.Constant(_WORD, 0)
    rows = b.select(b.icmp_unsigned("==", number, zero), zero, rows)
    return make_array(context, b, kind.field(name), number, [rows, *others])


@lower_setattr_generic(View)
def _write(context: Any, b: ir.IRBuilder, signature: Any, args: Any, name: str) -> None:
    block, number = args
    b.store(number, _place(b, signature.args[0], block, name))
