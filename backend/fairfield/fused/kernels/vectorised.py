"""The operations at the heart of the kernels as LLVM vector instructions.

They name no instruction set: LLVM lowers them to what the processor has. A row of two float32
features is handled as one 64-bit element.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from ...fields.coarse_grid import SUPPORT
from .options import FOUR, LANES, POINTS_PER_CALL, ZERO, Floats, called

_CORNERS = 8
_OUTPUTS = int(FOUR)
_STEP = np.uint64(POINTS_PER_CALL)

_INT8, _INT32, _INT64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_FLOAT, _DOUBLE = ir.FloatType(), ir.DoubleType()
_ROW = ir.VectorType(_FLOAT, 2)
_FLOATS = ir.VectorType(_FLOAT, POINTS_PER_CALL)
_INDICES = ir.VectorType(_INT32, POINTS_PER_CALL)
_NODES = ir.VectorType(_FLOAT, SUPPORT)
_HALF_OF_ROWS = ir.VectorType(_DOUBLE, POINTS_PER_CALL // 2)


def _vector_operation(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate an intrinsic; kernels call it without its first argument, the typing context."""
    return intrinsic(function)


class _Emitter:
    """Writes the instructions of one operation."""

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        self._context = context
        self._signature = signature
        self._arguments = arguments
        self.builder = builder

    def array(self, position: int) -> Any:
        """The argument at a position, as numba's array structure."""
        array_type = self._context.make_array(self._signature.args[position])
        return array_type(self._context, self.builder, self._arguments[position])

    def pointer(self, data: Any, element: Any, index: Any, wanted: Any) -> Any:
        """Pointer of type `wanted` to the element at an index."""
        base = self.builder.bitcast(data, element.as_pointer())
        address = self.builder.gep(base, [index], source_etype=element)
        return self.builder.bitcast(address, wanted.as_pointer())

    def load(self, data: Any, element: Any, index: Any, wanted: Any) -> Any:
        """Load a `wanted`, of which 32-bit alignment is known, from the element at an index."""
        address = self.pointer(data, element, index, wanted)
        return self.builder.load(address, align=4, typ=wanted)

    def store(self, value: Any, data: Any, index: Any) -> None:
        """Store a value at an index of float32 data."""
        self.builder.store(value, self.pointer(data, _FLOAT, index, value.type), align=4)

    def broadcast(self, scalar: Any, vector: Any = _FLOATS) -> Any:
        """A vector that is a float32 everywhere."""
        undefined = ir.Constant(vector, ir.Undefined)
        first = self.builder.insert_element(undefined, scalar, ir.Constant(_INT32, 0))
        return self.shuffle(first, undefined, [0] * vector.count)

    def shuffle(self, first: Any, second: Any, lanes: Sequence[int]) -> Any:
        """Choose lanes of two vectors, counted through."""
        indices = ir.VectorType(_INT32, len(lanes))
        mask = ir.Constant(indices, [ir.Constant(_INT32, lane) for lane in lanes])
        return self.builder.shuffle_vector(first, second, mask)

    def multiply_add(self, first: Any, second: Any, third: Any) -> Any:
        """first * second + third for vectors of float32."""
        kind = first.type
        function = self.intrinsic(f"llvm.fmuladd.v{kind.count}f32", kind, [kind] * 3)
        return self.builder.call(function, [first, second, third])

    def intrinsic(self, name: str, result: Any, arguments: Sequence[Any]) -> Any:
        """One of LLVM's own functions."""
        function = ir.FunctionType(result, arguments)
        return cgutils.get_or_insert_function(self.builder.module, function, name)


@_vector_operation
def interpolate(
    typing_context: Any,
    table: Any,
    row_offset: Any,
    rows: Any,
    weights: Any,
    start: Any,
    features: Any,
) -> Any:
    """Like `plain.interpolate`: rows are loaded as 64-bit scalars, then split by shuffles.

    That is faster than the processors' own gather instructions, which fetch each half of a row
    separately.
    """
    signature = types.void(table, row_offset, rows, weights, start, features)
    return signature, _emit_interpolation


def _emit_interpolation(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    emit = _Emitter(context, builder, signature, arguments)
    _, row_offset, _, _, start, _ = arguments
    table, rows, weights, features = (emit.array(position) for position in (0, 2, 3, 5))
    block = cgutils.unpack_tuple(builder, rows.shape)[1]
    level = emit.pointer(table.data, _DOUBLE, row_offset, _DOUBLE)

    def rows_of_lanes(indices: Any, lanes: range) -> Any:
        """The features of some of the points: first, second, first, second, ..."""
        loaded = ir.Constant(_HALF_OF_ROWS, ir.Undefined)
        for position, lane in enumerate(lanes):
            index = builder.extract_element(indices, ir.Constant(_INT32, lane))
            row = emit.load(level, _DOUBLE, builder.zext(index, _INT64), _DOUBLE)
            loaded = builder.insert_element(loaded, row, ir.Constant(_INT32, position))
        return builder.bitcast(loaded, _FLOATS)

    half = POINTS_PER_CALL // 2
    sums = [ir.Constant(_FLOATS, None)] * 2
    position = start
    for _corner in range(_CORNERS):
        indices = emit.load(rows.data, _INT32, position, _INDICES)
        weight = emit.load(weights.data, _FLOAT, position, _FLOATS)
        low = rows_of_lanes(indices, range(half))
        high = rows_of_lanes(indices, range(half, POINTS_PER_CALL))
        for feature in range(2):
            values = emit.shuffle(low, high, range(feature, 2 * POINTS_PER_CALL, 2))
            sums[feature] = emit.multiply_add(weight, values, sums[feature])
        position = builder.add(position, block)
    emit.store(sums[0], features.data, start)
    emit.store(sums[1], features.data, builder.add(start, block))
    return context.get_dummy_value()


@_vector_operation
def add_to_row(
    typing_context: Any, table: Any, row: Any, weight: Any, first: Any, second: Any
) -> Any:
    """Like `plain.add_to_row`, with one 64-bit load and store."""
    return types.void(table, row, weight, first, second), _emit_row_addition


def _emit_row_addition(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    emit = _Emitter(context, builder, signature, arguments)
    _, row, weight, first, second = arguments
    address = emit.pointer(emit.array(0).data, _ROW, row, _ROW)

    def pair(low: Any, high: Any) -> Any:
        vector = ir.Constant(_ROW, ir.Undefined)
        vector = builder.insert_element(vector, low, ir.Constant(_INT32, 0))
        return builder.insert_element(vector, high, ir.Constant(_INT32, 1))

    product = builder.fmul(pair(first, second), pair(weight, weight))
    total = builder.fadd(builder.load(address, align=4, typ=_ROW), product)
    builder.store(total, address, align=4)
    return context.get_dummy_value()


@_vector_operation
def prefetch_row(typing_context: Any, table: Any, row: Any) -> Any:
    """Like `plain.prefetch_row`: start to bring the row's cache line to the second-level cache."""
    return types.void(table, row), _emit_prefetch


def _emit_prefetch(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    emit = _Emitter(context, builder, signature, arguments)
    line = emit.pointer(emit.array(0).data, _DOUBLE, arguments[1], _INT8)
    for_reading, second_level, of_data = (ir.Constant(_INT32, value) for value in (0, 2, 1))
    prefetch = emit.intrinsic(
        "llvm.prefetch.p0", ir.VoidType(), [_INT8.as_pointer(), _INT32, _INT32, _INT32]
    )
    builder.call(prefetch, [line, for_reading, second_level, of_data])
    return context.get_dummy_value()


@_vector_operation
def lattice_sum(
    typing_context: Any,
    lattice: Any,
    corner: Any,
    row: Any,
    plane: Any,
    weights: Any,
    point: Any,
) -> Any:
    """Like `plain.lattice_sum`: the nodes along the last axis are neighbours in memory, one vector
    each time."""
    return types.float32(lattice, corner, row, plane, weights, point), _emit_lattice_sum


def _emit_lattice_sum(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    emit = _Emitter(context, builder, signature, arguments)
    _, corner, row, plane, _, point = arguments
    lattice, weights = emit.array(0).data, emit.array(4)
    block = cgutils.unpack_tuple(builder, weights.shape)[2]

    def weight(axis: int, node: int) -> Any:
        line = builder.mul(block, ir.Constant(_INT64, SUPPORT * axis + node))
        return emit.load(weights.data, _FLOAT, builder.add(line, point), _FLOAT)

    zero = ir.Constant(_NODES, None)
    of_rows = [emit.broadcast(weight(1, node), _NODES) for node in range(SUPPORT)]
    total, first = zero, corner
    for step in range(SUPPORT):
        of_plane, at = zero, first
        for factor in of_rows:
            of_plane = emit.multiply_add(factor, emit.load(lattice, _FLOAT, at, _NODES), of_plane)
            at = builder.add(at, row)
        total = emit.multiply_add(emit.broadcast(weight(0, step), _NODES), of_plane, total)
        first = builder.add(first, plane)
    result = ir.Constant(_FLOAT, 0.0)
    for node in range(SUPPORT):
        value = builder.extract_element(total, ir.Constant(_INT32, node))
        result = builder.fadd(result, builder.fmul(weight(2, node), value))
    return result


@called
def apply_layer(
    weight: Floats, bias: Floats, inputs: Floats, outputs: Floats, rectify: bool
) -> None:
    """Like `plain.apply_layer`: the sums of four outputs stay in registers."""
    floor = np.float32(0) if rectify else np.float32(-np.inf)
    for start in range(ZERO, LANES, _STEP):
        for output in range(ZERO, np.uint64(weight.shape[0]), FOUR):
            _layer_tile(weight, bias, inputs, outputs, output, start, floor)


@_vector_operation
def _layer_tile(
    typing_context: Any,
    weight: Any,
    bias: Any,
    inputs: Any,
    outputs: Any,
    output: Any,
    start: Any,
    floor: Any,
) -> Any:
    """Four outputs of a layer, from `output` on, at `POINTS_PER_CALL` points from `start` on."""
    signature = types.void(weight, bias, inputs, outputs, output, start, floor)
    return signature, _emit_layer_tile


def _emit_layer_tile(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    emit = _Emitter(context, builder, signature, arguments)
    *_, output, start, floor = arguments
    weight, bias, inputs, outputs = (emit.array(position) for position in range(4))
    stride_out, stride_in = cgutils.unpack_tuple(builder, weight.strides)  # in bytes
    block = cgutils.unpack_tuple(builder, inputs.shape)[1]
    rows = [builder.add(output, ir.Constant(_INT64, tile)) for tile in range(_OUTPUTS)]
    # Memory at first; LLVM turns it into registers.
    sums = [cgutils.alloca_once(builder, _FLOATS) for _ in rows]
    for row, total in zip(rows, sums, strict=True):
        builder.store(emit.broadcast(emit.load(bias.data, _FLOAT, row, _FLOAT)), total)
    with cgutils.for_range(builder, cgutils.unpack_tuple(builder, inputs.shape)[0]) as loop:
        position = builder.add(builder.mul(loop.index, block), start)
        values = emit.load(inputs.data, _FLOAT, position, _FLOATS)
        for row, total in zip(rows, sums, strict=True):
            offset = builder.add(builder.mul(row, stride_out), builder.mul(loop.index, stride_in))
            factor = emit.broadcast(emit.load(weight.data, _INT8, offset, _FLOAT))
            before = builder.load(total, typ=_FLOATS)
            builder.store(emit.multiply_add(factor, values, before), total)
    lowest = emit.broadcast(floor)
    for row, total in zip(rows, sums, strict=True):
        result = builder.load(total, typ=_FLOATS)
        # An ordered comparison is false for NaN, which so stays NaN.
        below = builder.fcmp_ordered("<", result, lowest)
        result = builder.select(below, lowest, result)
        emit.store(result, outputs.data, builder.add(builder.mul(row, block), start))
    return context.get_dummy_value()
