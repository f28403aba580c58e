"""What operators should give: their formulas in NumPy and SciPy, for float64."""

from __future__ import annotations

import numpy as np


def linear(state, x, layer=""):
    return x @ state[f"{layer}weight"].T + state.get(f"{layer}bias", 0)


def relu(x):
    return np.maximum(x, 0)


def leaky(x, slope):
    return np.where(x > 0, x, slope * x)


def elu(x, alpha=1.0):
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def largest_piece(x, pieces):
    return x.reshape(*x.shape[:-1], pieces, -1).max(-2)


def log_softmax(x):
    shifted = x - x.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def softmax(x):
    exponential = np.exp(x - x.max(-1, keepdims=True))
    return exponential / exponential.sum(-1, keepdims=True)


def normalized(state, x, mean, var, layer=""):
    weight, bias = state.get(f"{layer}weight", 1), state.get(f"{layer}bias", 0)
    return (x - mean) / np.sqrt(var + 1e-5) * weight + bias


def normalized_by_batch(state, x, layer=""):
    axes = tuple(range(x.ndim - 1))
    return normalized(state, x, x.mean(axes), x.var(axes), layer)


def normalized_by_running(state, x, layer=""):
    mean, var = state[f"{layer}running_mean"], state[f"{layer}running_var"]
    return normalized(state, x, mean, var, layer)


def reduced(losses, reduction, count=None):
    if reduction == "none":
        return losses
    total = losses.sum()
    return total if reduction == "sum" else total / (losses.size if count is None else count)


def class_weights(width):
    return np.linspace(0.5, 1.5, width)


def cross_entropy(x, labels, weight=None, ignore_index=-100, reduction="mean", smoothing=0.0):
    classes = x.shape[1]
    weight = np.ones(classes) if weight is None else weight
    counts = labels != ignore_index
    label = np.where(counts, labels, 0)
    log_p = log_softmax(x)
    losses = -(1 - smoothing) * weight[label] * log_p[np.arange(len(x)), label]
    if smoothing:
        losses = losses - smoothing / classes * (log_p * weight).sum(1)
    return reduced(np.where(counts, losses, 0), reduction, weight[label][counts].sum())


def squared_error(x, target, reduction="mean"):
    return reduced((x - target) ** 2, reduction)


def binary_cross_entropy(x, target, weight=1.0, pos_weight=1.0, reduction="mean"):
    of_positive = np.log1p(np.exp(-np.abs(x))) + np.maximum(-x, 0)
    losses = (1 - target) * x + (1 + (pos_weight - 1) * target) * of_positive
    return reduced(losses * weight, reduction)


def multi_margin(x, labels, p=1, margin=1.0, weight=None, reduction="mean"):
    rows, classes = np.arange(len(x)), x.shape[1]
    violation = np.maximum(margin - x[rows, labels][:, None] + x, 0) ** p
    violation[rows, labels] = 0
    losses = violation.sum(1) / classes
    return reduced(losses if weight is None else losses * weight[labels], reduction)
