"""Products of fully connected layers against float64, at widths that are no whole vectors."""

import numpy as np
import pytest
from kernel_runner import aligned, kernel_program

from fastnn._compiler.operators.base import PANEL_WORKSPACE_BYTES, PRODUCTS
from fastnn._compiler.operators.linear import STRIPS_ELEMENTS

# (rows, columns, depth): columns whose last few are dot products, others beside them, and from
# (128, 192, 40) on gradients that copy their rows into strips, more than a workspace takes at once,
# from (2, 7, 256) on sums of two halves, and from (16, 1000, 300) on weights that pass by in order.
SHAPES = [
    (128, 65, 128),
    (129, 100, 784),
    (130, 97, 143),
    (255, 82, 130),
    (1023, 100, 257),
    (128, 67, 2048),
    (128, 67, 2049),
    (127, 100, 784),
    (64, 100, 784),
    (128, 101, 150),
    (128, 100, 127),
    (128, 20, 200),
    (64, 3, 100),
    (128, 192, 40),
    (33, 250, 17),
    (100, 224, 1500),
    (1201, 208, 300),
    (129, 512, 1025),
    (2, 7, 256),
    (31, 10, 999),
    (128, 130, 301),
    (127, 33, 1999),
    (16, 1000, 300),
    (5, 129, 2050),
    (31, 4100, 65),
]
THREADS = (1, 2, 3, 8)


def operands(shape, dtype, seed=0):
    """a, b, start, and an output that is full of NaN; NaN behind a, which nothing may read."""
    rows, columns, depth = shape
    rng = np.random.default_rng(seed)
    whole = aligned(np.full(rows * depth + 64, np.nan, dtype))
    a = whole[: rows * depth].reshape(rows, depth)
    a[...] = rng.standard_normal(a.shape)
    b = aligned(rng.standard_normal((depth, columns)).astype(dtype))
    start = aligned(rng.standard_normal(columns).astype(dtype))
    return a, b, start, aligned(np.full(rows * columns + 64, np.nan, dtype))


def run(kernel, shape, dtype, data, sizes, threads):
    rows, columns, _ = shape
    whole = data[0]
    kernel_program(
        kernel,
        dtype,
        data,
        sizes,
        [0.0],
        PANEL_WORKSPACE_BYTES + STRIPS_ELEMENTS * np.dtype(dtype).itemsize,
        PRODUCTS.HALVES_MOST_ROWS * columns * np.dtype(dtype).itemsize,
        threads=threads,
    ).forward()
    assert np.isnan(whole[rows * columns :]).all()
    return whole[: rows * columns].reshape(rows, columns).copy()


def assert_sums(got, a, b, start, dtype):
    """|error| within c depth eps sum |a||b|."""
    a, b, start = (np.float64(v) for v in (a, b, start))
    bound = np.finfo(dtype).eps * (np.abs(a) @ np.abs(b) + np.abs(start)) * np.sqrt(len(b))
    assert (np.abs(got - (a @ b + start)) <= bound).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
def test_forward(shape, dtype):
    rows, columns, depth = shape
    a, b, start, y = operands(shape, dtype)
    sizes = [rows, columns, depth, 0]
    results = [
        run("linear_forward", shape, dtype, [y, a, b, start], sizes, threads) for threads in THREADS
    ]
    assert_sums(results[0], a, b, start, dtype)
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])
    without = run("linear_forward", shape, dtype, [y, a, b, None], sizes, 2)
    assert_sums(without, a, b, 0 * start, dtype)
    relu = run("linear_forward", shape, dtype, [y, a, b, start], [rows, columns, depth, 1], 2)
    np.testing.assert_array_equal(relu, np.maximum(results[0], 0))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
def test_backward_to_the_input(shape, dtype):
    """dx (rows, columns) = dy (rows, depth) @ weight^T, weight (columns, depth)."""
    rows, columns, depth = shape
    dy, b, start, dx = operands(shape, dtype)
    weight = aligned(np.ascontiguousarray(b.T))
    x = aligned(np.random.default_rng(1).standard_normal((rows, columns)).astype(dtype))
    results = [
        run(
            "linear_backward_input",
            shape,
            dtype,
            [dx, dy, weight, None],
            [rows, depth, columns, 0],
            threads,
        )
        for threads in THREADS
    ]
    assert_sums(results[0], dy, b, 0 * start, dtype)
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])
    relu = run(
        "linear_backward_input", shape, dtype, [dx, dy, weight, x], [rows, depth, columns, 1], 2
    )
    np.testing.assert_array_equal(relu, results[0] * (x > 0))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
def test_backward_to_the_parameters(shape, dtype):
    """dweight (rows, columns) = x^T dy, of x (depth, rows) and dy (depth, columns)."""
    rows, columns, depth = shape
    a, dy, _, dweight = operands(shape, dtype)
    x = aligned(np.full(rows * depth + 64, np.nan, dtype))
    x[: rows * depth].reshape(depth, rows)[...] = a.T
    dbias = aligned(np.zeros(columns, dtype))
    results = [
        run(
            "linear_backward_parameters",
            shape,
            dtype,
            [dweight, dbias, x, dy],
            [depth, columns, rows],
            threads,
        )
        for threads in THREADS
    ]
    assert_sums(results[0], a, dy, np.zeros(columns), dtype)
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])
    bound = np.finfo(dtype).eps * np.sqrt(depth) * np.abs(np.float64(dy)).sum(axis=0)
    assert (np.abs(dbias - np.float64(dy).sum(axis=0)) <= bound).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_value_reaches_its_row_and_column(bad):
    shape = (130, 100, 784)
    a, b, start, y = operands(shape, "float32")
    a[7, 783] = bad
    b[3, 98] = bad
    result = run("linear_forward", shape, "float32", [y, a, b, start], [*shape, 0], 2)
    finite = np.ones((130, 100), bool)
    finite[7] = finite[:, 98] = False
    np.testing.assert_array_equal(np.isfinite(result), finite)
