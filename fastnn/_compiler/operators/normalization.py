"""Normalization: of a batch by channel, and of neighbouring channels."""

from __future__ import annotations

from fastnn._compiler.activations import KINDS, activation_of
from fastnn._compiler.graph import Spec
from fastnn._compiler.operators.base import (
    ELEMENTS_PER_NANOSECOND,
    EXPONENTIALS_PER_NANOSECOND,
    ITEMSIZES,
    Call,
    Operator,
    elements,
    require,
    rows,
    same,
    shape_of,
)

# Tall matrices are summed by chunks of rows whose partial sums lie in the workspace
# (kernels/normalization.pyx tells how many).
PARTIAL_SUMS_BYTES = 1 << 20


class BatchNorm(Operator):
    """y = f((x - mean) / sqrt(var + eps) * weight + bias); inputs x, weight, bias, running_mean,
    running_var, batches_tracked (all but x may be None).

    Attributes: `training` (batch statistics, which also move the running averages), `eps`,
    `momentum` (None: cumulative); `activation` and `slope` are set by the fusing pass. Outputs
    after y: the mean and the inverse standard deviation that took part.
    """

    name = "batchnorm"
    layout = "channels"
    updates_state = True
    takes_activation = True

    def infer(self, node):
        x, *parameters = node.inputs
        require(
            len(x.example_shape) >= 1, "got an input of shape (batch,), expected (batch, channels)"
        )
        for value in parameters[:4]:
            require(
                value is None or value.example_shape == (x.columns,),
                f"got {x.columns} channels (shape {x.shape}), expected {shape_of(value)}",
            )
        self.check_averages(node)
        statistic = Spec((x.columns,), x.dtype, batched=False)
        return [same(x), statistic, statistic]

    @staticmethod
    def check_averages(node):
        """ValueError unless the running averages are whole, and can be moved as they are to be."""
        _, _, _, running_mean, running_var, batches_tracked = node.inputs
        require(
            (running_mean is None) == (running_var is None),
            "got one of running_mean and running_var, expected both or neither",
        )
        momentum = node.attributes["momentum"]
        moves = node.attributes["training"] and running_mean is not None
        require(
            not moves or momentum is not None or batches_tracked is not None,
            "got momentum=None without a count of batches, expected a momentum or the count "
            "(num_batches_tracked)",
        )

    def backward(self, node, gradients):
        x, weight, bias = node.inputs[:3]
        _, mean, inverse_std = node.outputs
        dx, dweight, dbias = x.graph.record(
            "batchnorm_backward",
            [gradients[0], x, mean, inverse_std, weight, bias],
            training=node.attributes["training"],
        )
        return [
            dx,
            dweight if weight is not None else None,
            dbias if bias is not None else None,
            None,
            None,
            None,
        ]

    def lower(self, node):
        x, weight, bias, running_mean, running_var, batches_tracked = node.inputs
        y, mean, inverse_std = node.outputs
        attributes = node.attributes
        sizes = [rows(x), x.columns, KINDS[activation_of(node)]]
        slope = attributes.get("slope", 0.0)
        time = elements(x) * (2 / ELEMENTS_PER_NANOSECOND)
        if not attributes["training"]:
            data = [y, mean, inverse_std, running_mean, running_var, x, weight, bias]
            return [Call("batchnorm_inference", data, sizes, [attributes["eps"], slope], time)]
        momentum = -1.0 if attributes["momentum"] is None else attributes["momentum"]
        return [
            Call(
                "batchnorm_forward",
                [y, mean, inverse_std, running_mean, running_var, batches_tracked, x, weight, bias],
                sizes,
                [attributes["eps"], momentum, slope],
                time,
                PARTIAL_SUMS_BYTES,
            )
        ]

    def fold_into(self, node, layer):
        if node.attributes["training"]:
            return None
        _, weight, bias, mean, variance, _ = node.inputs
        return mean.graph.make_node(
            "fold_batchnorm",
            [layer.inputs[1], layer.inputs[2], weight, bias, mean, variance],
            eps=node.attributes["eps"],
        )

    def least_batch(self, node):
        # One value for a channel has no variance.
        return 2 if node.attributes["training"] and node.inputs[0].rows == 1 else 1

    def flops(self, node):
        # Mean 1, variance 3; minus mean, by deviation, weight and bias 4.
        return (8 if node.attributes["training"] else 4) * node.inputs[0].example_size


class FoldBatchNorm(Operator):
    """weight' = weight * scale, bias' = (bias - mean) * scale + shift, by output channel, with
    scale = bn_weight / sqrt(var + eps); inputs weight, bias, bn_weight, bn_bias, mean, var, of
    which bias, bn_weight and bn_bias may be None."""

    name = "fold_batchnorm"

    def infer(self, node):
        weight, mean = node.inputs[0], node.inputs[4]
        return [same(weight), same(mean)]

    def lower(self, node):
        weight, mean = node.inputs[0], node.inputs[4]
        return [
            Call(
                "fold_batchnorm",
                [*node.outputs, *node.inputs],
                [weight.example_size // mean.example_size, mean.example_size],
                [node.attributes["eps"]],
            )
        ]


class BatchNormBackward(Operator):
    """dx, dweight, dbias; inputs dy, x, mean, inverse_std, weight, bias.

    The gradient of a fused activation is found from x. Attribute `without_dx`: nobody reads dx.
    """

    name = "batchnorm_backward"
    layout = "channels"
    in_place = ((0, 0),)
    differentiates_activation = True

    def infer(self, node):
        x = node.inputs[1]
        per_channel = Spec((x.columns,), x.dtype, batched=False)
        return [same(x), per_channel, per_channel]

    def skip_outputs(self, node, unread):
        node.attributes["without_dx"] = 0 in unread

    def lower(self, node):
        x = node.inputs[1]
        dx, dweight, dbias = node.outputs
        if node.attributes.get("without_dx"):
            dx = None
        return [
            Call(
                "batchnorm_backward",
                [dx, dweight, dbias, *node.inputs],
                [rows(x), x.columns, KINDS[activation_of(node)], int(node.attributes["training"])],
                [node.attributes.get("slope", 0.0)],
                elements(x) * (3 / ELEMENTS_PER_NANOSECOND),
                PARTIAL_SUMS_BYTES,
            )
        ]

    def flops(self, node):
        # The normalized x again 2, the sums of dy and of dy times it 3, dx 5.
        return (5 if node.attributes.get("without_dx") else 10) * node.inputs[0].example_size


class LocalResponse(Operator):
    """y = x (k + alpha / size * sum of x^2 over `size` neighbouring channels)^-beta.

    Attributes: `size`, `alpha`, `beta`, `k`.
    """

    name = "local_response"
    layout = "channels"
    kernel = "local_response_forward"

    def infer(self, node):
        x = node.inputs[-1]
        require(
            len(x.example_shape) >= 1,
            "got an input of shape (batch,), expected (batch, channels, ...)",
        )
        return [same(x)]

    def backward(self, node, gradients):
        x = node.inputs[0]
        return x.graph.record("local_response_backward", [gradients[0], x], **node.attributes)

    def lower(self, node):
        x = node.inputs[-1]
        attributes = node.attributes
        time = elements(x) * (2 / EXPONENTIALS_PER_NANOSECOND)
        # Two copies of a pixel with room for a window and two vectors (kernels/local_response.pyx).
        workspace = 2 * (x.columns + attributes["size"] + 2 * 16) * ITEMSIZES[x.dtype]
        return [
            Call(
                self.kernel,
                [node.outputs[0], *node.inputs],
                [rows(x), x.columns, attributes["size"]],
                [attributes["alpha"], attributes["beta"], attributes["k"]],
                time,
                workspace,
            )
        ]

    def flops(self, node):
        return node.inputs[0].example_size * (node.attributes["size"] + 4)


class LocalResponseBackward(LocalResponse):
    """dx; inputs dy, x."""

    name = "local_response_backward"
    kernel = "local_response_backward"
