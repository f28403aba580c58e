"""Every operator of the table: values, gradients, threads, sizes, layouts, instruction sets."""

from __future__ import annotations

import os
from pathlib import Path

import children
import numpy as np
import pytest
from convolution_table import CONVOLUTIONS
from image_operator_table import IMAGES
from operator_case import (
    Instance,
    check_gradients,
    check_values,
    gradients,
    make,
    reference,
    state_of,
)
from operator_table import TABLE

import fastnn
from fastnn import nn
from fastnn._compiler.graph import OPERATORS, Graph
from fastnn._core import dispatch

DTYPES = (np.float32, np.float64)
WIDTHS = (1, 3, 10, 17, 48, 100)

EVERY_CASE = [*TABLE, *IMAGES, *CONVOLUTIONS]
every_case = pytest.mark.parametrize("case", EVERY_CASE, ids=str)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)


# What no row can have: random results (test_dropout.py), updates (test_optim.py), and what passes
# put in the place of other nodes (test_graphs.py, test_constants.py).
WITHOUT_ROW = {
    *("dropout", "dropout_backward", "dropout_channels", "dropout_channels_backward"),
    *("sgd_update", "count_step", "squared_norm", "clip_factor"),
    *("add_gradient", "fold_batchnorm"),
}


def test_every_operator_has_a_row(monkeypatch):
    recorded = set()
    make_node = Graph.make_node

    def watch(graph, name, *arguments, **attributes):
        recorded.add(name)
        return make_node(graph, name, *arguments, **attributes)

    monkeypatch.setattr(Graph, "make_node", watch)
    for case in EVERY_CASE:
        gradients(make(case, 6, 17))
    assert set(OPERATORS) - WITHOUT_ROW <= recorded


@every_case
@every_dtype
def test_values(case, dtype):
    for width in WIDTHS:
        for batch in (case.least_batch, 7, 33):
            check_values(make(case, batch, width, dtype), dtype)
    check_values(make(case, *case.most, dtype), dtype)


@every_case
def test_gradients_against_central_differences(case):
    for batch, width in ((case.least_batch, 1), (5, 3), (6, 17)):
        instance = make(case, batch, width)
        check = fastnn.gradient_check(instance.module, *instance.inputs, samples=24)
        assert check, f"batch {batch}, width {width}\n{check}"


@every_case
def test_gradients_against_the_reference(case):
    for batch, width in ((33, 17), (9, 48), (6, 100)):
        check_gradients(case, batch, width)


@every_case
@every_dtype
def test_any_number_of_threads_gives_the_same_bits(case, dtype):
    for batch, width in (case.most, (5, 7)):
        results = []
        for threads in (1, 2, 3):
            with fastnn.num_threads(threads):
                instance = make(case, batch, width, dtype)
                found = gradients(instance)[1]
                found["output"] = make(case, batch, width, dtype).module(*instance.inputs)
                results.append(found)
        for name in results[0]:
            for other in results[1:]:
                np.testing.assert_array_equal(results[0][name], other[name], err_msg=name)


def one_element(x, row, feature):
    """The index of an element: features are the last axis, but the second of images."""
    if x.ndim == 4:
        return row, feature, 1, 1
    return (row, *[0] * (x.ndim - 2), feature)


@every_case
@every_dtype
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=str)
def test_what_is_no_finite_number_is_not_hidden(case, value, dtype):
    for width in (10, 17, 48):
        instance = make(case, 9, width, dtype)
        row = 3
        instance.inputs[0][one_element(instance.inputs[0], row, width // 2)] = value
        expected = reference(case, state_of(instance.module), instance.inputs)
        output = instance.module(*instance.inputs)
        if case.mixes:
            assert not np.isfinite(output[~np.isfinite(expected)]).any()
            assert np.isfinite(np.delete(output, row, 0)).all()
            continue
        np.testing.assert_array_equal(np.isnan(output), np.isnan(expected))
        infinite = np.isinf(expected)
        np.testing.assert_array_equal(output[infinite], expected[infinite])
        if np.isnan(value) and case.rowwise:
            assert np.isnan(output[row]).any()
            assert np.isfinite(np.delete(output, row, 0)).all()


LAYOUTS = {
    "Fortran": np.asfortranarray,
    "every other column": lambda a: np.repeat(a, 2, -1)[..., ::2],
    "every other row": lambda a: np.repeat(a, 2, 0)[::2],
    "negative strides": lambda a: np.flip(np.flip(a).copy()),
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "read-only": lambda a: read_only(a),
    "unaligned": lambda a: unaligned(a),
}


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def unaligned(array):
    memory = np.zeros(array.nbytes + 1, np.uint8)
    shifted = memory[1:].view(array.dtype).reshape(array.shape)
    shifted[...] = array
    return shifted


@every_case
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_of_the_input(case, layout):
    for dtype in DTYPES:
        instance = make(case, 9, 17, dtype)
        wanted = instance.module(*instance.inputs)
        wanted_gradients = gradients(make(case, 9, 17, dtype))[1]
        given = tuple(LAYOUTS[layout](array) for array in instance.inputs)
        before = [array.copy() for array in given]
        output = make(case, 9, 17, dtype).module(*given)
        assert output.dtype == wanted.dtype
        np.testing.assert_array_equal(output, wanted)
        found = gradients(Instance(case, make(case, 9, 17, dtype).module, given, wanted))[1]
        for name, array in wanted_gradients.items():
            np.testing.assert_array_equal(found[name], array, err_msg=name)
        for array, copy in zip(given, before, strict=True):
            np.testing.assert_array_equal(array, copy)


@every_dtype
@pytest.mark.parametrize("momentum", [0.1, 0.5, None])
def test_running_averages(momentum, dtype):
    layer = nn.BatchNorm1d(17, momentum=momentum).astype(dtype)
    mean, var = np.zeros(17), np.ones(17)
    rng = np.random.default_rng(0)
    for batch in range(1, 4):
        x = rng.normal(3, 2, (33, 17)).astype(dtype)
        layer(x)
        share = 1 / batch if momentum is None else momentum
        mean = (1 - share) * mean + share * x.mean(0, dtype=np.float64)
        var = (1 - share) * var + share * x.astype(np.float64).var(0, ddof=1)
    allowed = 16 * np.finfo(dtype).eps
    np.testing.assert_allclose(layer.running_mean, mean, rtol=allowed)
    np.testing.assert_allclose(layer.running_var, var, rtol=allowed)
    assert layer.num_batches_tracked == 3


@every_dtype
def test_a_pullback_moves_no_running_average_twice(dtype):
    x = np.random.default_rng(0).normal(size=(33, 17)).astype(dtype)
    once, twice = (nn.BatchNorm1d(17).astype(dtype) for _ in range(2))
    once(x)
    output, pullback = fastnn.vjp(twice, x)
    first, second = pullback(np.ones_like(output)), pullback(np.ones_like(output))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(once.running_mean, twice.running_mean)


@pytest.mark.parametrize("level", dispatch.usable_levels())
def test_instruction_set(level):
    paths = [str(Path(__file__).parent), str(Path(fastnn.__file__).parents[1])]
    code = (
        "import convolution_table, image_operator_table, operator_case, operator_table\n"
        "from fastnn._core import dispatch\n"
        f"assert dispatch.isa() == {level!r}\n"
        "every_case = [*operator_table.TABLE, *image_operator_table.IMAGES]\n"
        "every_case += convolution_table.CONVOLUTIONS\n"
        "print(operator_case.check_table(every_case))"
    )
    found = children.run(code, FASTNN_ISA=level, PYTHONPATH=os.pathsep.join(paths))
    assert found.returncode == 0, found.stderr
    assert int(found.stdout) == len(EVERY_CASE)
