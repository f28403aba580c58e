"""What a network is made of."""

from fastnn.nn import functional, init
from fastnn.nn.activation import (
    ELU,
    LeakyReLU,
    LogSoftmax,
    PReLU,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
)
from fastnn.nn.convolution import Conv2d
from fastnn.nn.dropout import Dropout, Dropout2d
from fastnn.nn.image import Upsample, UpsamplingNearest2d, ZeroPad2d
from fastnn.nn.linear import Linear, Maxout
from fastnn.nn.loss import BCEWithLogitsLoss, CrossEntropyLoss, MSELoss, MultiMarginLoss
from fastnn.nn.module import Module
from fastnn.nn.normalization import BatchNorm1d, BatchNorm2d, LocalResponseNorm
from fastnn.nn.parameter import Parameter
from fastnn.nn.pooling import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d
from fastnn.nn.structure import Flatten, Identity, ModuleList, Sequential

__all__ = [
    "ELU",
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv2d",
    "CrossEntropyLoss",
    "Dropout",
    "Dropout2d",
    "Flatten",
    "Identity",
    "LeakyReLU",
    "Linear",
    "LocalResponseNorm",
    "LogSoftmax",
    "MSELoss",
    "MaxPool2d",
    "Maxout",
    "Module",
    "ModuleList",
    "MultiMarginLoss",
    "PReLU",
    "Parameter",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "Upsample",
    "UpsamplingNearest2d",
    "ZeroPad2d",
    "functional",
    "init",
]
