"""Winograd's convolution and its gradients against sums over the taps in float64."""

import numpy as np
import pytest
from kernel_runner import aligned, kernel_program

import fastnn
from fastnn import nn
from fastnn._compiler.convolution.algorithm import BACKWARD_INPUT, BACKWARD_PARAMETERS, FORWARD
from fastnn._compiler.convolution.choice import choose
from fastnn._compiler.convolution.geometry import Geometry, output_length
from fastnn._compiler.convolution.space_to_depth import SpaceToDepth
from fastnn._compiler.convolution.winograd import Winograd
from fastnn._compiler.convolution.winograd_few import WinogradFew

# Of the largest value of the reference: the bound of the project, and what float64 leaves.
TOLERANCE = {"float32": 5e-5, "float64": 1e-12}
RELU, LEAKY_RELU, SIGMOID, TANH, ELU = 1, 2, 3, 4, 5


def strided_geometry(height, width, channels, filters, kernel, stride, padding):
    out = tuple(output_length(n, kernel, stride, padding, padding, 1) for n in (height, width))
    return Geometry(
        (height, width),
        channels,
        out,
        filters,
        (kernel, kernel),
        (stride, stride),
        (padding, padding),
    )


def geometry_of(height, width, channels, filters, kernel, padding):
    return strided_geometry(height, width, channels, filters, kernel, 1, padding)


def patches(x, g):
    """(taps, images, out_height, out_width, channels): what each tap sees."""
    (r, s), (h, w), (oh, ow) = g.kernel, g.image, g.out_image
    (sh, sw), (top, left) = g.stride, g.padding
    padded = np.zeros((len(x), (oh - 1) * sh + r + h, (ow - 1) * sw + s + w, x.shape[3]))
    padded[:, top : top + h, left : left + w] = x
    return np.stack(
        [
            padded[:, i : i + (oh - 1) * sh + 1 : sh, j : j + (ow - 1) * sw + 1 : sw]
            for i in range(r)
            for j in range(s)
        ]
    )


def forward_reference(x, weight, bias, g):
    taps = weight.reshape(-1, *weight.shape[2:])
    return np.einsum("tnijc,tck->nijk", patches(x, g), taps) + bias


def weight_reference(x, dy, g):
    return np.einsum("tnijc,nijk->tck", patches(x, g), dy).reshape(*g.kernel, g.channels, g.filters)


def input_reference(dy, weight, g):
    """Each pixel of dy is spread over the pixels that its taps saw."""
    (r, s), (h, w), (oh, ow) = g.kernel, g.image, g.out_image
    (sh, sw), (top, left) = g.stride, g.padding
    dx = np.zeros((len(dy), (oh - 1) * sh + r + h, (ow - 1) * sw + s + w, g.channels))
    for i in range(r):
        for j in range(s):
            dx[:, i : i + (oh - 1) * sh + 1 : sh, j : j + (ow - 1) * sw + 1 : sw] += np.einsum(
                "nijk,ck->nijc", dy, weight[i, j]
            )
    return dx[:, top : top + h, left : left + w]


class Case:
    """Random operands of one convolution, and its kernels run on them."""

    def __init__(self, g, images, dtype, algorithm=None, seed=0):
        rng = np.random.default_rng(seed)
        self.g, self.images, self.dtype = g, images, dtype
        self.algorithm = algorithm or Winograd()
        assert self.algorithm.fits(g, FORWARD)
        self.x = rng.standard_normal((images, *g.image, g.channels)).astype(dtype)
        self.dy = rng.standard_normal((images, *g.out_image, g.filters)).astype(dtype)
        self.weight = rng.standard_normal((*g.kernel, g.channels, g.filters)).astype(dtype)
        self.bias = rng.standard_normal(g.filters).astype(dtype)

    def program(self, direction, data, activation=0, slope=0.0, threads=1):
        itemsize = np.dtype(self.dtype).itemsize
        need = self.algorithm.workspace(self.g, direction, itemsize)
        at = [
            int(n.at(self.images)) if hasattr(n, "at") else n
            for n in (need.per_thread, need.shared)
        ]
        return kernel_program(
            f"conv2d_{self.algorithm.name}_{direction}",
            self.dtype,
            data,
            self.g.sizes(activation),
            [slope],
            *at,
            threads=threads,
            batch=self.images,
        )

    def prepared(self, direction, threads=1):
        elements = self.algorithm.prepared_elements(self.g, direction)
        if not elements:
            return aligned(self.weight)
        prepared = aligned(np.full(elements, np.nan, self.dtype))
        kernel_program(
            f"conv2d_{self.algorithm.name}_weight",
            self.dtype,
            [prepared, aligned(self.weight)],
            self.g.sizes(0, direction == BACKWARD_INPUT),
            threads=threads,
            batch=self.images,
        ).forward()
        return prepared

    def forward(self, activation=0, slope=0.0, threads=1, bias=True):
        y = aligned(np.full_like(self.dy, np.nan))
        data = [y, aligned(self.x), self.prepared(FORWARD, threads)]
        data.append(aligned(self.bias) if bias else None)
        self.program(FORWARD, data, activation, slope, threads).forward()
        return y

    def backward_input(self, activation=0, slope=0.0, threads=1, output=None):
        dx = aligned(np.full_like(self.x, np.nan))
        data = [dx, aligned(self.dy), self.prepared(BACKWARD_INPUT, threads), output]
        self.program(BACKWARD_INPUT, data, activation, slope, threads).forward()
        return dx

    def backward_parameters(self, threads=1, bias=True):
        dweight = aligned(np.full_like(self.weight, np.nan))
        dbias = aligned(np.full_like(self.bias, np.nan)) if bias else None
        data = [dweight, dbias, aligned(self.x), aligned(self.dy)]
        self.program(BACKWARD_PARAMETERS, data, threads=threads).forward()
        return dweight, dbias

    def doubles(self):
        return (a.astype(np.float64) for a in (self.x, self.dy, self.weight, self.bias))


def assert_close(got, reference, dtype):
    assert got.shape == reference.shape
    error = np.abs(got - reference).max() / np.abs(reference).max()
    assert error < TOLERANCE[dtype], error


def check_all(case):
    x, dy, weight, bias = case.doubles()
    assert_close(case.forward(), forward_reference(x, weight, bias, case.g), case.dtype)
    assert_close(case.backward_input(), input_reference(dy, weight, case.g), case.dtype)
    dweight, dbias = case.backward_parameters()
    assert_close(dweight, weight_reference(x, dy, case.g), case.dtype)
    assert_close(dbias, dy.sum(axis=(0, 1, 2)), case.dtype)


SHAPES = [
    # height, width, channels, filters, kernel, padding, images
    (5, 5, 1, 1, 3, 0, 1),
    (5, 7, 3, 10, 3, 1, 3),
    (7, 8, 16, 17, 3, 1, 1),
    (8, 13, 17, 16, 3, 2, 3),
    (13, 5, 64, 3, 3, 0, 1),
    (13, 13, 10, 64, 3, 1, 3),
    (3, 3, 64, 17, 3, 2, 1),
    (32, 32, 16, 48, 3, 1, 3),
    (5, 5, 1, 3, 5, 0, 3),
    (5, 7, 3, 1, 5, 2, 1),
    (7, 8, 16, 17, 5, 1, 3),
    (8, 13, 17, 64, 5, 4, 1),
    (13, 8, 10, 16, 5, 2, 3),
    (27, 27, 16, 20, 5, 2, 3),
    (9, 9, 130, 150, 3, 1, 5),
    (6, 6, 200, 170, 3, 1, 1),  # few tiles and large weights: shared by the team
    (7, 8, 5, 6, 3, 3, 2),  # more padding than a kernel covers
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
def test_against_a_sum_over_taps(shape, dtype):
    check_all(Case(geometry_of(*shape[:-1]), shape[-1], dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_number_of_threads_gives_the_same_bits(shape, dtype):
    case = Case(geometry_of(*shape[:-1]), shape[-1], dtype)
    one = [case.forward(RELU), case.backward_input(), *case.backward_parameters()]
    for threads in (2, 3):
        several = [
            case.forward(RELU, threads=threads),
            case.backward_input(threads=threads),
            *case.backward_parameters(threads),
        ]
        for a, b in zip(one, several, strict=True):
            np.testing.assert_array_equal(a, b)


FEW = [
    # height, width, channels, filters, kernel, padding, images
    (4, 4, 1, 1, 3, 0, 1),
    (5, 7, 3, 10, 3, 1, 3),
    (7, 7, 16, 17, 3, 1, 1),
    (7, 7, 33, 48, 3, 1, 1),
    (8, 5, 64, 3, 3, 2, 2),
    (3, 3, 100, 40, 3, 2, 1),
    (14, 14, 31, 64, 3, 1, 1),
    (9, 9, 130, 150, 3, 1, 5),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", FEW)
def test_few_tiles_against_a_sum_over_taps(shape, dtype):
    case = Case(geometry_of(*shape[:-1]), shape[-1], dtype, WinogradFew())
    x, _, weight, bias = case.doubles()
    reference = forward_reference(x, weight, bias, case.g)
    one = case.forward()
    assert_close(one, reference, dtype)
    assert_close(case.forward(bias=False), reference - bias, dtype)
    for threads in (2, 3):
        np.testing.assert_array_equal(case.forward(threads=threads), one)


def test_few_tiles_write_nothing_beyond_the_output():
    case = Case(geometry_of(7, 9, 5, 11, 3, 1), 2, "float32", WinogradFew())
    whole = aligned(np.full(case.dy.size + 64, 7, "float32"))
    y = whole[: case.dy.size].reshape(case.dy.shape)
    case.program(
        FORWARD, [y, aligned(case.x), case.prepared(FORWARD), aligned(case.bias)]
    ).forward()
    np.testing.assert_array_equal(y, case.forward())
    assert (whole[case.dy.size :] == 7).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_few_tiles_show_a_bad_value(bad):
    case = Case(geometry_of(7, 9, 17, 10, 3, 1), 2, "float32", WinogradFew())
    case.x[1, 3, 4, 2] = bad
    y = case.forward(RELU)
    assert not np.isfinite(y[1]).all()
    assert np.isfinite(y[0]).all()


STRIDED = [
    # height, width, channels, filters, kernel, stride, padding, images
    (31, 35, 3, 16, 11, 4, 2, 2),
    (224, 40, 3, 10, 11, 4, 2, 1),
    (13, 8, 1, 3, 5, 2, 2, 3),
    (9, 14, 17, 20, 6, 2, 0, 1),
    (20, 20, 2, 64, 9, 2, 4, 2),
    (17, 18, 4, 17, 7, 3, 1, 2),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", STRIDED)
def test_strides_by_blocks_of_pixels(shape, dtype):
    *sizes, images = shape
    case = Case(strided_geometry(*sizes), images, dtype, SpaceToDepth())
    check_all(case)
    one = [case.forward(RELU), case.backward_input(), *case.backward_parameters()]
    three = [
        case.forward(RELU, threads=3),
        case.backward_input(threads=3),
        *case.backward_parameters(3),
    ]
    for a, b in zip(one, three, strict=True):
        np.testing.assert_array_equal(a, b)


ACTIVATIONS = {
    # kind: (f, f' by the output, slope)
    RELU: (lambda v: np.maximum(v, 0), lambda y: (y > 0) * 1.0, 0.0),
    LEAKY_RELU: (lambda v: np.where(v > 0, v, 0.1 * v), lambda y: np.where(y > 0, 1, 0.1), 0.1),
    SIGMOID: (lambda v: 1 / (1 + np.exp(-v)), lambda y: y * (1 - y), 0.0),
    TANH: (np.tanh, lambda y: 1 - y * y, 0.0),
    ELU: (
        lambda v: np.where(v > 0, v, 0.7 * np.expm1(np.minimum(v, 0))),
        lambda y: np.where(y > 0, 1, y + 0.7),
        0.7,
    ),
}
BOTH = [
    (Winograd(), geometry_of(7, 9, 17, 10, 3, 1)),
    (Winograd(), geometry_of(6, 7, 3, 16, 5, 2)),
    (SpaceToDepth(), strided_geometry(19, 23, 3, 10, 11, 4, 2)),
]


@pytest.mark.parametrize(("algorithm", "geometry"), BOTH)
@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_activations_forward_and_backward(kind, algorithm, geometry):
    f, derivative, slope = ACTIVATIONS[kind]
    case = Case(geometry, 2, "float64", algorithm)
    case.weight *= 0.1  # within the curved part of sigmoid and tanh
    x, dy, weight, bias = case.doubles()
    y = case.forward(kind, slope)
    assert_close(y, f(forward_reference(x, weight, bias, geometry)), "float64")
    output = aligned(f(x))
    dx = case.backward_input(kind, slope, output=output)
    assert_close(dx, input_reference(dy, weight, geometry) * derivative(output), "float64")
    np.testing.assert_array_equal(dx, case.backward_input(kind, slope, threads=2, output=output))


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_activations_of_few_tiles(kind):
    f, _, slope = ACTIVATIONS[kind]
    case = Case(geometry_of(7, 9, 17, 10, 3, 1), 2, "float64", WinogradFew())
    x, _, weight, bias = case.doubles()
    y = case.forward(kind, slope, threads=2)
    assert_close(y, f(forward_reference(x, weight, bias, case.g)), "float64")


@pytest.mark.parametrize(("algorithm", "geometry"), BOTH)
def test_without_bias(algorithm, geometry):
    case = Case(geometry, 2, "float64", algorithm)
    x, dy, weight, _ = case.doubles()
    assert_close(case.forward(bias=False), forward_reference(x, weight, 0, geometry), "float64")
    dweight, dbias = case.backward_parameters(bias=False)
    assert dbias is None
    assert_close(dweight, weight_reference(x, dy, geometry), "float64")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize(("algorithm", "geometry"), BOTH)
def test_a_bad_value_is_seen_in_every_result(algorithm, geometry, bad):
    case = Case(geometry, 2, "float32", algorithm)
    case.x[1, 3, 4, 2] = bad
    y = case.forward(RELU)
    reference = forward_reference(case.x, case.weight, case.bias, geometry)
    # Differences of infinities are NaN in the transforms, so that more of a tile may be bad.
    assert np.isnan(y[np.isnan(reference)]).all()
    assert not np.isfinite(y[1]).all()
    assert np.isfinite(y[0]).all()
    dweight, dbias = case.backward_parameters()
    assert not np.isfinite(dweight).all()
    assert np.isfinite(dbias).all()
    case.dy[0, 1, 1, 5] = bad
    dx = case.backward_input()
    assert not np.isfinite(dx[0]).all()
    assert np.isfinite(dx[1]).all()
    assert not np.isfinite(case.backward_parameters()[1][5])


def test_weights_are_summed_in_chunks_and_blocks_of_many_tiles():
    """More tiles than a block, more threads than chunks, and sums that only the team holds."""
    for shape in [
        (64, 64, 16, 16, 3, 1, 6),
        (40, 40, 80, 64, 5, 2, 2),
        (16, 16, 320, 300, 3, 1, 16),
    ]:
        case = Case(geometry_of(*shape[:-1]), shape[-1], "float32")
        x, dy, _, _ = case.doubles()
        one = case.backward_parameters(threads=1)
        assert_close(one[0], weight_reference(x, dy, case.g), "float32")
        assert_close(one[1], dy.sum(axis=(0, 1, 2)), "float32")
        for threads in (2, 9):
            for a, b in zip(one, case.backward_parameters(threads), strict=True):
                np.testing.assert_array_equal(a, b)


def test_nothing_is_written_beyond_an_output():
    case = Case(geometry_of(7, 9, 5, 11, 3, 1), 2, "float32")
    guarded = {}
    for name, like in (("y", case.dy), ("dx", case.x), ("dweight", case.weight)):
        whole = aligned(np.full(like.size + 64, 7, "float32"))
        guarded[name] = (whole, whole[: like.size].reshape(like.shape))
    data = [guarded["y"][1], aligned(case.x), case.prepared(FORWARD), aligned(case.bias)]
    case.program(FORWARD, data).forward()
    data = [guarded["dx"][1], aligned(case.dy), case.prepared(BACKWARD_INPUT), None]
    case.program(BACKWARD_INPUT, data).forward()
    data = [guarded["dweight"][1], None, aligned(case.x), aligned(case.dy)]
    case.program(BACKWARD_PARAMETERS, data).forward()
    for whole, result in guarded.values():
        assert (whole[result.size :] == 7).all()


def test_what_fits():
    winograd, few, blocks = Winograd(), WinogradFew(), SpaceToDepth()
    assert few.fits(geometry_of(8, 8, 4, 4, 3, 1), FORWARD)
    assert not few.fits(geometry_of(8, 8, 4, 4, 3, 1), BACKWARD_INPUT)
    assert not few.fits(geometry_of(8, 8, 4, 4, 5, 1), FORWARD)
    assert not few.fits(strided_geometry(8, 8, 4, 4, 3, 2, 1), FORWARD)
    assert winograd.fits(geometry_of(8, 8, 4, 4, 3, 1), FORWARD)
    assert not winograd.fits(geometry_of(8, 8, 4, 4, 4, 1), FORWARD)
    assert not winograd.fits(strided_geometry(8, 8, 4, 4, 3, 2, 1), FORWARD)
    assert blocks.fits(strided_geometry(64, 64, 3, 8, 11, 4, 2), FORWARD)
    assert not blocks.fits(strided_geometry(64, 64, 3, 8, 7, 2, 3), FORWARD)  # 4 x 4 taps
    assert not blocks.fits(geometry_of(8, 8, 4, 4, 3, 1), FORWARD)


def chosen(geometry, largest_batch):
    return choose(geometry, FORWARD, largest_batch=largest_batch).name


def test_inference_of_a_few_images_transforms_weights_where_they_are_used():
    deep = geometry_of(7, 7, 512, 512, 3, 1)
    assert [chosen(deep, batch) for batch in (None, 1, 2, 3)] == [
        "winograd",
        "winograd_few",
        "winograd_few",
        "winograd",
    ]
    assert chosen(geometry_of(14, 14, 256, 256, 3, 1), 1) == "winograd"
    assert chosen(geometry_of(7, 7, 128, 128, 3, 1), 1) == "winograd"
    assert chosen(geometry_of(4, 4, 512, 512, 3, 1), 1) == "direct"
    assert chosen(geometry_of(7, 7, 512, 8, 3, 1), 1) == "direct"


def test_programs_of_different_largest_batch_agree():
    """The first is planned for one image; the last runs one in a program planned for nine."""
    fastnn.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(40, 128, 3, padding=1), nn.ReLU(), nn.Conv2d(128, 260, 3, padding=1)
    ).eval()
    x = np.random.default_rng(0).standard_normal((9, 40, 7, 6), dtype=np.float32)

    def forward_kernels():
        (compiled,) = model._programs.programs.values()
        names = compiled.lowered.program.kernel_names
        return [name for name in names if name.startswith("conv2d") and "weight" not in name]

    one = model(x[:1])
    assert forward_kernels() == ["conv2d_winograd_forward", "conv2d_winograd_few_forward"]
    all_nine = model(x)
    assert forward_kernels() == ["conv2d_winograd_forward"] * 2
    np.testing.assert_allclose(one, all_nine[:1], atol=1e-5)
    np.testing.assert_allclose(model(x[:1]), one, atol=1e-5)
