"""Asks the processor for a cache line ahead of its use: numba has no word for it, LLVM has."""

from __future__ import annotations

from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_I8_POINTER, _I32 = ir.IntType(8).as_pointer(), ir.IntType(32)
_FOR_READING: Final = _I32(0)
_INTO_ALL_CACHES: Final = _I32(3)
_DATA: Final = _I32(1)


def _prefetch(typingctx: Any, array: Any, index: Any) -> Any:
    return types.int64(array, types.int64), _emit


prefetch: Any = intrinsic(_prefetch)
"""(C-contiguous array, index along its first axis): fetch what begins there. Never faults; returns 0."""


def _emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    array = context.make_array(signature.args[0])(context, builder, args[0])
    stride_bytes = builder.extract_value(array.strides, 0)
    start = builder.bitcast(array.data, _I8_POINTER)
    line = builder.gep(start, [builder.mul(args[1], stride_bytes)])
    kind = ir.FunctionType(ir.VoidType(), [_I8_POINTER, _I32, _I32, _I32])
    function = builder.module.declare_intrinsic("llvm.prefetch", (_I8_POINTER,), kind)
    builder.call(function, [line, _FOR_READING, _INTO_ALL_CACHES, _DATA])
    return ir.IntType(64)(0)
