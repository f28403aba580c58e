"""Module.summary: layers as they are written, shapes as users see them, operations counted."""

import numpy as np
import pytest

import fastnn
from fastnn import nn


def images():
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1, bias=False),
        nn.Conv2d(32, 32, 3, padding=1, groups=32),
        nn.Conv2d(32, 8, 3, algorithm="im2col"),
        nn.AvgPool2d(3, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 10),
    )


def test_shapes_are_those_of_the_outputs():
    model = images().eval()
    x = np.zeros((2, 3, 12, 16), np.float32)
    summary = model.summary((3, 12, 16))
    assert [layer.name for layer in summary.layers] == [str(i) for i in range(len(model))]
    for layer, part in zip(summary.layers, model, strict=True):
        x = part(x)
        assert layer.output_shape == x.shape[1:]
        assert layer.kind == type(part).__name__


def test_algorithms():
    algorithms = [layer.algorithm for layer in images().summary((3, 12, 16)).layers]
    assert algorithms == ["direct", *[""] * 3, "winograd", "depthwise", "im2col", *[""] * 4]
    assert "depthwise" in str(images().summary((3, 12, 16)))
    assert "algorithm" not in str(nn.Sequential(nn.Linear(2, 3)).summary((2,)))


def test_operations_of_every_layer():
    flops = [layer.flops for layer in images().summary((3, 12, 16)).layers]
    pixels = 12 * 16
    small = pixels // 4
    # Of 4 x 6 pixels; windows of 3 x 3 that lie one pixel over the edge: 2 x 2 and 5 x 6 taps.
    average = 8 * (2 + 2) * (2 + 3)
    assert flops == [
        pixels * 16 * (2 * 27 + 1),
        pixels * 16 * 4,
        pixels * 16,
        pixels * 16,
        small * 32 * 2 * 9 * 16,
        small * 32 * (2 * 9 + 1),
        4 * 6 * 8 * (2 * 9 * 32 + 1),
        average,
        8 * 2 * 2,
        0,
        2 * 8 * 10 + 10,
    ]


def test_memory_is_that_of_the_compiled_program():
    model = images()
    assert model.summary((3, 12, 16), 8).memory_bytes > model.summary((3, 12, 16), 1).memory_bytes


def test_it_leaves_the_model_as_it_is():
    fastnn.manual_seed(0)
    model = images()
    model[1].eval()
    before = {name: value.copy() for name, value in model.state_dict().items()}
    model.summary((3, 12, 16))
    assert model.training and not model[1].training
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


class Two(nn.Module):
    def __init__(self, takes):
        super().__init__()
        self.takes, self.left, self.right = takes, nn.Linear(4, 3), nn.Linear(2, 3)

    def forward(self, *inputs):
        left, right = self.takes(*inputs)
        return self.left(left) + self.right(right)


@pytest.mark.parametrize(
    ("takes", "shape"),
    [
        (lambda pair: pair, ((4,), (2,))),
        (lambda pair: (pair["a"], pair["b"]), {"a": (4,), "b": (2,)}),
        (lambda left, right: (left, right), [(4,), (2,)]),
        (lambda first, right: (first["a"], right), [{"a": (4,)}, [2]]),
    ],
)
def test_several_inputs(takes, shape):
    layers = Two(takes).summary(shape).layers
    assert [(layer.name, layer.parameters) for layer in layers[:2]] == [("left", 15), ("right", 9)]


@pytest.mark.parametrize(
    ("shape", "batch_size", "error", "message"),
    [
        (4, 1, TypeError, "got input_shape=4, expected a tuple of whole numbers"),
        ((4.0,), 1, TypeError, "got input_shape=4.0, expected a tuple of whole numbers"),
        ((-1,), 1, ValueError, "got input_shape=-1, expected a whole number of 1 or more"),
        ((4,), 0, ValueError, "got batch_size=0"),
    ],
)
def test_what_is_no_shape(shape, batch_size, error, message):
    with pytest.raises(error, match=message):
        nn.Linear(4, 3).summary(shape, batch_size)
