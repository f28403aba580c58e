"""The networks that people start from, short enough to be read and changed.

Each function builds a `fastnn.nn.Module` with fresh weights, drawn as PyTorch (torchvision, for the
networks that it has) draws them. State dicts of torchvision's ``alexnet``, ``vgg`` and ``resnet18``
load key for key.
"""

from fastnn.models._alexnet import AlexNet, alexnet
from fastnn.models._lenet import lenet5
from fastnn.models._mlp import mlp
from fastnn.models._resnet import ResNet, resnet, resnet18
from fastnn.models._vgg import VGG, vgg

__all__ = [
    "VGG",
    "AlexNet",
    "ResNet",
    "alexnet",
    "lenet5",
    "mlp",
    "resnet",
    "resnet18",
    "vgg",
]
