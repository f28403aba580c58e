"""Healthy networks on digits, for the tests to break."""

import fastnn
from fastnn import nn, optim


def relu_network():
    return nn.Sequential(
        nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)
    )


def batchnorm_network(batchnorm=nn.BatchNorm1d):
    return nn.Sequential(
        *(nn.Linear(64, 64), batchnorm(64), nn.ReLU(), nn.Dropout(0.1)),
        *(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10)),
    )


def sigmoid_network():
    return nn.Sequential(
        nn.Linear(64, 64), nn.Sigmoid(), nn.Linear(64, 32), nn.Sigmoid(), nn.Linear(32, 10)
    )


def tanh_network():
    return nn.Sequential(
        nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10)
    )


def convolutional_network():
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(64, 10)),
    )


HEALTHY = {
    "relu": relu_network,
    "batchnorm": batchnorm_network,
    "sigmoid": sigmoid_network,
    "tanh": tanh_network,
    "convolutional": convolutional_network,
}


def sgd(lr=0.05):
    return optim.SGD(lr=lr, momentum=0.9, weight_decay=1e-4)


def seeded(build, seed=0):
    fastnn.manual_seed(seed)
    return build()
