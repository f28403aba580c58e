"""Residual networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastnn import nn
from fastnn._checks import whole
from fastnn.nn import functional as F


class BasicBlock(nn.Module):
    """``relu(shortcut(x) + bn2(conv2(relu(bn1(conv1(x))))))``

    Where the shape changes, the shortcut is a 1 x 1 convolution with batch normalization
    (``projection``, the paper's option B), or takes every second pixel and adds maps of zeros
    (option A).
    """

    def __init__(self, inputs: int, outputs: int, stride: int, projection: bool):
        super().__init__()
        self.stride, self.wider = stride, inputs != outputs
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if projection and (stride != 1 or self.wider):
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def shortcut(self, x: Any) -> Any:
        if self.downsample is not None:
            return self.downsample(x)
        if self.stride != 1:
            x = F.avg_pool2d(x, 1, self.stride)  # of one pixel: it takes every second
        return F.concatenate([x, x * 0]) if self.wider else x

    def forward(self, x: Any) -> Any:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.shortcut(x))


class ResNet(nn.Module):
    """A first convolution, stages of ``BasicBlock``, the average of each map, a classifier.

    The first stage keeps the size of the image, each other one halves it. `resnet` and `resnet18`
    build it.

    Parameters
    ----------
    first : Conv2d
        The first convolution.
    pool : Module
        What follows it.
    maps : sequence of int
        Channels of each stage.
    depth_of_stage : int
        Blocks of each stage.
    projection : bool
        Whether a shortcut that changes the shape is a 1 x 1 convolution.
    num_classes : int
    """

    def __init__(
        self,
        first: nn.Conv2d,
        pool: nn.Module,
        maps: Sequence[int],
        depth_of_stage: int,
        projection: bool,
        num_classes: int,
    ):
        super().__init__()
        self.conv1 = first
        self.bn1 = nn.BatchNorm2d(first.out_channels)
        self.maxpool = pool
        inputs = first.out_channels
        self.stages = len(maps)
        for stage, outputs in enumerate(maps):
            blocks: list[nn.Module] = []
            for block in range(depth_of_stage):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(BasicBlock(inputs, outputs, stride, projection))
                inputs = outputs
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs, num_classes)
        self.apply(initialize)

    def forward(self, x: Any) -> Any:
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        for stage in range(self.stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        return self.fc(F.flatten(self.avgpool(x)))


def initialize(module: nn.Module) -> None:
    """He's normal by fan out, as torchvision does; linear layers stay as they are."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def resnet(
    depth: int = 20, num_classes: int = 10, shortcut: str = "A", channels: int = 3
) -> ResNet:
    """A residual network for CIFAR (He et al., 2015, section 4.2).

    A 3 x 3 convolution, then three stages of ``(depth - 2) / 6`` blocks of two 3 x 3 convolutions
    with 16, 32 and 64 maps, the average of each map, and the classes.

    Parameters
    ----------
    depth : int, default=20
        Layers with weights, 6 n + 2: 20, 32, 44 and 56 in the paper (and 110).
    num_classes : int, default=10
    shortcut : {"A", "B"}, default="A"
        What passes by a block that changes the shape: every second pixel and maps of zeros, without
        parameters (A, the paper's choice for CIFAR), or a 1 x 1 convolution (B).
    channels : int, default=3

    Returns
    -------
    ResNet
        From (batch, channels, height, width) to (batch, num_classes); images of any size.

    Raises
    ------
    ValueError
        If there is no such depth or shortcut.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import models
    >>> model = models.resnet(depth=20)
    >>> model(np.zeros((2, 3, 32, 32), np.float32)).shape
    (2, 10)
    >>> sum(parameter.data.size for parameter in model.parameters())
    269722
    """
    depth = whole("depth", depth, 1, where="resnet: ")
    if depth < 8 or depth % 6 != 2:
        raise ValueError(f"resnet: got depth={depth}, expected 6 n + 2, as 20, 32, 44 or 56")
    if shortcut not in ("A", "B"):
        raise ValueError(f"resnet: got shortcut={shortcut!r}, expected 'A' or 'B'")
    first = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
    blocks = (depth - 2) // 6
    return ResNet(first, nn.Identity(), (16, 32, 64), blocks, shortcut == "B", num_classes)


def resnet18(num_classes: int = 1000, channels: int = 3) -> ResNet:
    """ResNet-18 for large images (He et al., 2015, table 1).

    The architecture, names of parameters and initialization are those of torchvision's `resnet18`,
    whose state dicts load.

    Parameters
    ----------
    num_classes : int, default=1000
    channels : int, default=3

    Returns
    -------
    ResNet
        From (batch, channels, height, width) to (batch, num_classes); images of any size.

    Examples
    --------
    >>> from fastnn import models
    >>> model = models.resnet18()
    >>> sum(parameter.data.size for parameter in model.parameters())
    11689512
    """
    first = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
    pool = nn.MaxPool2d(3, stride=2, padding=1)
    return ResNet(first, pool, (64, 128, 256, 512), 2, True, num_classes)
