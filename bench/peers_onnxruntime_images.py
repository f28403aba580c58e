"""ONNX Runtime on images, with models that PyTorch exports from the same weights."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable

import onnxruntime
import torch
from image_networks import ImageNetwork
from numpy.typing import NDArray
from peers_onnxruntime import THREADS
from peers_torch_images import with_weights
from torch import nn


def exported(network: ImageNetwork, x: NDArray) -> bytes:
    """The model in evaluation mode."""
    model = with_weights(network.define(nn), network.model(), torch.contiguous_format).eval()
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter that needs no other package is the old one
        torch.onnx.export(model, (torch.from_numpy(x),), file, dynamo=False)
    return file.getvalue()


def inference(network: ImageNetwork, x: NDArray) -> Callable[[], NDArray]:
    """A function that computes the logits of `x`."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS["count"]
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        exported(network, x), options, providers=["CPUExecutionProvider"]
    )
    feed = {session.get_inputs()[0].name: x}
    return lambda: session.run(None, feed)[0]
