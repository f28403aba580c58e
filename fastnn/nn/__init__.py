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
from fastnn.nn.linear import Linear, Maxout
from fastnn.nn.loss import BCEWithLogitsLoss, CrossEntropyLoss, MSELoss, MultiMarginLoss
from fastnn.nn.module import Module
from fastnn.nn.normalization import BatchNorm1d
from fastnn.nn.parameter import Parameter
from fastnn.nn.pooling import MaxPool2d
from fastnn.nn.structure import Dropout, Flatten, Identity, ModuleList, Sequential

__all__ = [
    "ELU",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "CrossEntropyLoss",
    "Dropout",
    "Flatten",
    "Identity",
    "LeakyReLU",
    "Linear",
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
    "functional",
    "init",
]
