"""ONNX Runtime as a peer, with a model built from the same weights."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import onnxruntime
from networks import Network
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

THREADS = {"count": 2}


def prepare(threads: int) -> str:
    """Remembers the threads; returns the version."""
    THREADS["count"] = threads
    return onnxruntime.__version__


def graph(network: Network) -> onnx.ModelProto:
    """Gemm and Relu nodes."""
    state = network.model().state_dict()
    names = [key[: -len(".weight")] for key, value in state.items() if value.ndim == 2]
    nodes, value = [], "x"
    for i, name in enumerate(names):
        last = i == len(names) - 1
        output = "logits" if last else f"linear{i}"
        operands = [value, f"{name}.weight", f"{name}.bias"]
        nodes.append(helper.make_node("Gemm", operands, [output], transB=1))
        if not last:
            value = f"relu{i}"
            nodes.append(helper.make_node("Relu", [output], [value]))
    ends = [("x", network.widths[0]), ("logits", network.widths[-1])]
    described = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width])]
        for name, width in ends
    ]
    constants = [numpy_helper.from_array(array, key) for key, array in state.items()]
    made = helper.make_graph(nodes, "network", *described, initializer=constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def inference(network: Network, x: NDArray) -> Callable[[], NDArray]:
    """A function that computes the logits of `x`."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS["count"]
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        graph(network).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    feed = {"x": x}
    return lambda: session.run(None, feed)[0]
