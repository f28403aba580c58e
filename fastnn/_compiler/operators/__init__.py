"""The table of operators: for each its shape rule, its backward rule and its kernel.

An operator is added by writing a class in the file of its family and naming it here;
docs/adding-an-operator.md walks through one.
"""

from fastnn._compiler.graph import OPERATORS
from fastnn._compiler.operators.activation import (
    Activation,
    ActivationBackward,
    LearnedELU,
    LearnedELUBackward,
    PReLU,
    PReLUBackward,
    Softmax,
    SoftmaxBackward,
)
from fastnn._compiler.operators.arithmetic import Add, AddGradient, Affine, Copy, Multiply
from fastnn._compiler.operators.convolution import (
    Conv2d,
    Conv2dBackwardInput,
    Conv2dBackwardParameters,
    Conv2dWeight,
)
from fastnn._compiler.operators.dropout import (
    Dropout,
    DropoutBackward,
    DropoutChannels,
    DropoutChannelsBackward,
)
from fastnn._compiler.operators.image import Crop, Pad
from fastnn._compiler.operators.layout import Relabel, ToChannelsLast, ToPlain, Transpose
from fastnn._compiler.operators.linear import (
    Linear,
    LinearBackwardInput,
    LinearBackwardParameters,
)
from fastnn._compiler.operators.loss import (
    BinaryCrossEntropy,
    BinaryCrossEntropyBackward,
    CrossEntropy,
    CrossEntropyBackward,
    MultiMargin,
    MultiMarginBackward,
    SquaredError,
    SquaredErrorBackward,
)
from fastnn._compiler.operators.maxout import Maxout, MaxoutBackward
from fastnn._compiler.operators.normalization import (
    BatchNorm,
    BatchNormBackward,
    FoldBatchNorm,
    LocalResponse,
    LocalResponseBackward,
)
from fastnn._compiler.operators.pooling import (
    AveragePool,
    AveragePoolBackward,
    MaxPool,
    MaxPoolBackward,
    Upsample,
)
from fastnn._compiler.operators.structure import Concatenate, Reshape, Slice, Unslice
from fastnn._compiler.operators.update import ClipFactor, CountStep, SGDUpdate, SquaredNorm

__all__ = ["OPERATORS"]

OPERATORS.update(
    (operator.name, operator())
    for operator in (
        *(Linear, LinearBackwardInput, LinearBackwardParameters),
        *(Conv2d, Conv2dBackwardInput, Conv2dBackwardParameters, Conv2dWeight),
        *(Activation, ActivationBackward, Softmax, SoftmaxBackward),
        *(PReLU, PReLUBackward, LearnedELU, LearnedELUBackward),
        *(BatchNorm, BatchNormBackward, FoldBatchNorm),
        *(LocalResponse, LocalResponseBackward),
        *(Maxout, MaxoutBackward),
        *(Dropout, DropoutBackward, DropoutChannels, DropoutChannelsBackward),
        *(Add, AddGradient, Multiply, Affine, Copy),
        *(Reshape, Concatenate, Slice, Unslice),
        *(ToChannelsLast, ToPlain, Relabel, Transpose),
        *(MaxPool, MaxPoolBackward, AveragePool, AveragePoolBackward, Upsample),
        *(Pad, Crop),
        *(CrossEntropy, CrossEntropyBackward, MultiMargin, MultiMarginBackward),
        *(SquaredError, SquaredErrorBackward, BinaryCrossEntropy, BinaryCrossEntropyBackward),
        *(SGDUpdate, CountStep, SquaredNorm, ClipFactor),
    )
)
