"""VGG networks, by configuration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fastnn import nn
from fastnn._checks import whole

Layers = Sequence[int | str]


@dataclass(frozen=True)
class Configuration:
    """The layers of a network, and what the rest of it is by default.

    Parameters
    ----------
    layers : maps of a 3 x 3 convolution, or "pool", in order
    hidden : units of the hidden fully connected layers
    """

    layers: tuple[int | str, ...]
    hidden: tuple[int, ...]
    num_classes: int
    image_size: int
    dropout: float


def stages(maps: Sequence[int], depths: Sequence[int]) -> tuple[int | str, ...]:
    """Stages of `depth` convolutions, each followed by a pool."""
    layers: list[int | str] = []
    for count, depth in zip(maps, depths, strict=True):
        layers += [count] * depth + ["pool"]
    return tuple(layers)


def of_imagenet(*depths: int) -> Configuration:
    """A network of the paper, which differ in the depths of their stages."""
    return Configuration(stages((64, 128, 256, 512, 512), depths), (4096, 4096), 1000, 224, 0.5)


CONFIGURATIONS = {
    "cifar": Configuration(stages((32, 64, 128), (2, 2, 2)), (256,), 10, 32, 0.0),
    "vgg11": of_imagenet(1, 1, 2, 2, 2),
    "vgg13": of_imagenet(2, 2, 2, 2, 2),
    "vgg16": of_imagenet(2, 2, 3, 3, 3),
    "vgg19": of_imagenet(2, 2, 4, 4, 4),
}
POOLED = 7  # the largest image that the classifier sees


class VGG(nn.Module):
    """3 x 3 convolutions and pools (`features`), fully connected layers (`classifier`).

    Parameters
    ----------
    configuration : Configuration
        The layers; `vgg` makes it of its arguments.
    batch_norm : bool
    channels : int
        Of the images.

    Raises
    ------
    ValueError
        As for `vgg`.
    """

    def __init__(self, configuration: Configuration, batch_norm: bool, channels: int):
        super().__init__()
        features: list[nn.Module] = []
        size = whole("image_size", configuration.image_size, 1, where="vgg: ")
        for layer in configuration.layers:
            if layer == "pool":
                features.append(nn.MaxPool2d(2))
                size //= 2
                continue
            if isinstance(layer, str):
                raise ValueError(f"vgg: got layer {layer!r}, expected a number of maps or 'pool'")
            features.append(nn.Conv2d(channels, layer, 3, padding=1))
            if batch_norm:
                features.append(nn.BatchNorm2d(layer))
            features.append(nn.ReLU())
            channels = layer
        if size < 1:
            raise ValueError(
                f"vgg: got image_size={configuration.image_size}, which is nothing after "
                f"{configuration.layers.count('pool')} pools"
            )
        self.features = nn.Sequential(*features)
        pooled = min(POOLED, size)
        self.avgpool = nn.AdaptiveAvgPool2d(pooled)
        classifier: list[nn.Module] = []
        inputs = channels * pooled**2
        for units in configuration.hidden:
            classifier += [nn.Linear(inputs, units), nn.ReLU(), nn.Dropout(configuration.dropout)]
            inputs = units
        self.classifier = nn.Sequential(*classifier, nn.Linear(inputs, configuration.num_classes))
        self.apply(initialize)

    def forward(self, x: Any) -> Any:
        x = self.avgpool(self.features(x))
        return self.classifier(nn.functional.flatten(x))


def initialize(module: nn.Module) -> None:
    """As torchvision does: He's normal, by fan out, and a small normal in linear layers."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.01)
    if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
        nn.init.zeros_(module.bias)


def vgg(
    configuration: str | Layers = "vgg16",
    batch_norm: bool = True,
    num_classes: int | None = None,
    image_size: int | None = None,
    hidden: Sequence[int] | None = None,
    dropout: float | None = None,
    channels: int = 3,
) -> VGG:
    """A VGG network (Simonyan and Zisserman, 2015): 3 x 3 convolutions, 2 x 2 pools.

    The architecture, names of parameters and initialization are those of torchvision's `vgg11` to
    `vgg19` and `vgg11_bn` to `vgg19_bn`, whose state dicts load.

    Parameters
    ----------
    configuration : str or list, default="vgg16"
        "vgg11", "vgg13", "vgg16", "vgg19"; "cifar": (32, 32, pool, 64, 64, pool, 128, 128, pool)
        for images of 32 x 32; or a list of this kind, numbers of maps and "pool".
    batch_norm : bool, default=True
        Whether each convolution is followed by batch normalization.
    num_classes : int, optional
        1000 for the networks of the paper, else 10.
    image_size : int, optional
        224 for the networks of the paper, else 32.
    hidden : sequence of int, optional
        Units of the hidden fully connected layers: 4096, 4096 in the paper, else 256.
    dropout : float, optional
        After each hidden fully connected layer: 0.5 in the paper, else 0.
    channels : int, default=3

    Returns
    -------
    VGG
        From (batch, channels, image_size, image_size) to (batch, num_classes).

    Raises
    ------
    ValueError
        If the configuration is unknown, or the images are too small for its pools.
    TypeError
        If the configuration is neither a name nor a list, or `hidden` no list.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import models
    >>> models.vgg("cifar")(np.zeros((2, 3, 32, 32), np.float32)).shape
    (2, 10)
    >>> model = models.vgg([8, "pool", 16, "pool"], image_size=8, hidden=[], batch_norm=False)
    >>> [(name, parameter.shape) for name, parameter in model.named_parameters()][-2:]
    [('classifier.0.weight', (10, 64)), ('classifier.0.bias', (10,))]
    """
    if not isinstance(configuration, Iterable):
        raise TypeError(f"vgg: got configuration={configuration!r}, expected a name or a list")
    if not (hidden is None or isinstance(hidden, Iterable)):
        raise TypeError(f"vgg: got hidden={hidden!r}, expected a list of units")
    if isinstance(configuration, str):
        if configuration not in CONFIGURATIONS:
            raise ValueError(
                f"vgg: got configuration {configuration!r}, expected a list of layers or one of "
                f"{sorted(CONFIGURATIONS)}"
            )
        base = CONFIGURATIONS[configuration]
        layers = base.layers
    else:
        base, layers = CONFIGURATIONS["cifar"], tuple(configuration)
    chosen = Configuration(
        layers=layers,
        hidden=base.hidden if hidden is None else tuple(hidden),
        num_classes=base.num_classes if num_classes is None else num_classes,
        image_size=base.image_size if image_size is None else image_size,
        dropout=base.dropout if dropout is None else dropout,
    )
    return VGG(chosen, batch_norm, channels)
