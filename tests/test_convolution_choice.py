"""Which algorithm computes the gradient of a convolution's input, by shape."""

import pytest
from test_convolution_kernels import geometry_of

from fastnn._compiler.convolution.algorithm import BACKWARD_INPUT, BACKWARD_PARAMETERS, FORWARD
from fastnn._compiler.convolution.choice import choose

CASES = [  # what it is, the geometry, the algorithm
    ("LeNet's second layer", geometry_of((12, 12), 20, 50, 5), "winograd_images"),
    ("LeNet-5's second layer", geometry_of((14, 14), 6, 16, 5), "winograd_images"),
    ("few channels, padded", geometry_of((32, 32), 3, 32, 3, padding=1), "col2im"),
    ("few channels, stride", geometry_of((64, 64), 3, 64, 7, stride=2, padding=3), "col2im"),
    ("5x5, whole vectors", geometry_of((32, 32), 32, 64, 5, padding=2), "winograd"),
    ("3x3 of ResNet-20", geometry_of((32, 32), 16, 16, 3, padding=1), "winograd"),
    ("3x3 of VGG", geometry_of((8, 8), 128, 128, 3, padding=1), "winograd"),
    ("3x3, stride", geometry_of((32, 32), 16, 32, 3, stride=2, padding=1), "direct"),
    ("groups", geometry_of((12, 12), 20, 50, 5, groups=10), "direct"),
    ("1x1", geometry_of((12, 12), 20, 50, 1), "pointwise"),
]


@pytest.mark.parametrize(("name", "geometry", "algorithm"), CASES, ids=[case[0] for case in CASES])
def test_gradient_of_the_input(name, geometry, algorithm):
    assert choose(geometry, BACKWARD_INPUT).name == algorithm


@pytest.mark.parametrize("direction", [FORWARD, BACKWARD_PARAMETERS])
def test_col2im_is_for_the_gradient_of_the_input_alone(direction):
    for _, geometry, _ in CASES:
        assert choose(geometry, direction).name != "col2im"
