"""The rows of the table on images: training steps, single layers, inference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import image_networks
import networks
import numpy as np
from image_layers import BACKWARD, FORWARD, ImageLayer, Passes
from image_networks import ImageNetwork
from numpy.typing import NDArray
from rows import ONNX, TORCH, Peers, Row, check, first_result
from timing import Contender

# Of the largest element: Winograd's algorithm may be 5e-5 off, and PyTorch uses it too.
LAYER_TOLERANCE = 1e-4


def training(network: ImageNetwork, peers: Peers) -> list[Contender]:
    """Forward, loss, backward, update."""
    batches = network.split()
    step = networks.training_step(network)
    losses = networks.first_losses(step, batches)
    contenders = [Contender("fastnn", networks.over_batches(step, batches))]
    if peers.get(TORCH) is None:
        return contenders
    import peers_torch_images

    ways = peers_torch_images.training_steps(network, peers.with_compile)
    for label, (torch_step, tensors) in ways.items():
        found = first_result(label, partial(networks.first_losses, torch_step, tensors))
        if found is not None:
            check(f"losses of PyTorch ({label})", losses, found)
            run = networks.over_batches(torch_step, tensors)
            contenders.append(Contender(TORCH, run, label=label))
    return contenders


def check_near(what: str, expected: NDArray, found: NDArray) -> None:
    """AssertionError where results differ by more than a share of the largest."""
    np.testing.assert_allclose(
        found, expected, rtol=0, atol=LAYER_TOLERANCE * abs(expected).max(), err_msg=what
    )


def layer(case: ImageLayer, peers: Peers) -> list[Contender]:
    """One layer: see image_layers.py for how it is measured."""
    x, dy = case.arrays()
    ours = Passes(case, x, dy)
    results = ours.results()
    contenders = [Contender("fastnn", ours.runner(case.part))]
    if peers.get(TORCH) is None:
        return contenders
    import peers_torch_images

    for label, build in peers_torch_images.layer_passes(case, x, dy, peers.with_compile).items():
        passes: Any = first_result(label, build)
        found = None if passes is None else first_result(label, passes.results)
        if found is None:
            continue
        for number, (expected, value) in enumerate(zip(results, found, strict=True)):
            check_near(f"result {number} of PyTorch ({label})", expected, value)
        contenders.append(Contender(TORCH, passes.runner(case.part), label=label))
    return contenders


def inference(network: ImageNetwork, peers: Peers) -> list[Contender]:
    """From images to logits."""
    x, _ = network.split()[0]
    run = networks.inference(network, x)
    logits = run()
    contenders = [Contender("fastnn", run)]
    others: dict[tuple[str, str], Callable[[], Any]] = {}
    if peers.get(TORCH) is not None:
        import peers_torch_images

        ways = peers_torch_images.inference(network, x, peers.with_compile)
        others |= {(TORCH, label): way for label, way in ways.items()}
        if peers.get(ONNX) is not None:  # its model is exported by PyTorch
            import peers_onnxruntime_images

            others[ONNX, ""] = peers_onnxruntime_images.inference(network, x)
    for (name, label), way in others.items():
        found = first_result(label, way)
        if found is not None:
            check_near(f"logits of {name} ({label})", logits, found)
            contenders.append(Contender(name, way, label=label))
    return contenders


def convolution(*arguments: Any, **options: Any) -> Callable[[Any], Any]:
    """The definition of a convolution."""
    return lambda layers: layers.Conv2d(*arguments, **options)


def normalization(layers: Any) -> Any:
    """BatchNorm and the ReLU that follows it."""
    return layers.Sequential(layers.BatchNorm2d(64), layers.ReLU())


STEPS = {
    "step-vgg-cifar-b64": (image_networks.VGG, 2.2),
    "step-resnet20-cifar-b128": (image_networks.RESNET20, 2.0),
    "step-lenet-b64": (image_networks.LENET, 2.5),
    "step-alexnet-224-b16": (image_networks.ALEXNET, 1.5),
    "step-resnet18-224-b8": (image_networks.RESNET18, 1.5),
}
# (batch, channels, side of the image, filters) of 3 x 3 convolutions in the middle of networks.
MIDDLE_LAYERS = (
    (128, 32, 32, 32),
    (128, 64, 16, 64),
    (64, 64, 32, 64),
    (64, 128, 16, 128),
    (64, 256, 8, 256),
)
CENTRE = (64, 64, 32, 32)
INFERENCE = {
    "infer-vgg-cifar-b1": (replace(image_networks.VGG, batch=1, batches=1), 1.3),
    "infer-vgg-cifar-b64": (replace(image_networks.VGG, batches=1), 1.5),
    "infer-resnet18-224-b1": (replace(image_networks.RESNET18, batch=1, batches=1), 1.2),
}


def layer_cases() -> dict[str, tuple[ImageLayer, float]]:
    """By name a layer and its bar."""
    cases = {}
    for batch, channels, side, filters in MIDDLE_LAYERS:
        case = ImageLayer(
            convolution(channels, filters, 3, padding=1), (batch, channels, side, side)
        )
        cases[f"conv3x3-{batch}x{channels}x{side}x{side}-{filters}"] = (case, 2.0)
    for part, bar in ((FORWARD, 1.5), (BACKWARD, 1.5)):
        case = ImageLayer(convolution(32, 64, 5, padding=2), (64, 32, 32, 32), part)
        cases[f"conv5x5-64x32x32x32-64-{part}"] = (case, bar)
    first = {
        "first3x3-128x3x32x32-32": (convolution(3, 32, 3, padding=1), (128, 3, 32, 32), 1.3),
        "first5x5-128x1x28x28-16": (convolution(1, 16, 5), (128, 1, 28, 28), 1.3),
        "first11x11s4-16x3x224x224-64": (
            convolution(3, 64, 11, stride=4, padding=2),
            (16, 3, 224, 224),
            1.2,
        ),
    }
    for name, (define, shape, bar) in first.items():
        cases[name] = (ImageLayer(define, shape, is_first=True), bar)
    cases["conv1x1-64x64x32x32-128"] = (ImageLayer(convolution(64, 128, 1), CENTRE), 1.3)
    depthwise = convolution(128, 128, 3, padding=1, groups=128)
    cases["depthwise3x3-32x128x28x28"] = (ImageLayer(depthwise, (32, 128, 28, 28)), 1.5)
    for part, bar in ((FORWARD, 1.6), (BACKWARD, 1.2)):
        cases[f"batchnorm2d-relu-64x64x32x32-{part}"] = (
            ImageLayer(normalization, CENTRE, part),
            bar,
        )
    pool = ImageLayer(lambda layers: layers.MaxPool2d(2), CENTRE)
    cases["maxpool2x2-64x64x32x32"] = (pool, 1.2)
    return cases


def image_rows() -> list[Row]:
    """Every row on images, in the order of the table."""
    rows = [Row(name, partial(training, net), {TORCH: bar}) for name, (net, bar) in STEPS.items()]
    rows += [
        Row(name, partial(layer, case), {TORCH: bar}) for name, (case, bar) in layer_cases().items()
    ]
    for name, (network, bar) in INFERENCE.items():
        rows.append(Row(name, partial(inference, network), {ONNX: bar}))
    return rows
