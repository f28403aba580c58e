"""LeNet-5."""

from __future__ import annotations

from fastnn import nn
from fastnn._checks import pair


def lenet5(
    num_classes: int = 10, image_size: int | tuple[int, int] = 28, channels: int = 1
) -> nn.Sequential:
    """The LeNet of Caffe (Jia et al., 2014), after LeNet-5 (LeCun et al., 1998).

    Two 5 x 5 convolutions with 20 and 50 maps, each with 2 x 2 max-pooling, then 500 units with
    ReLU and the classes.

    Parameters
    ----------
    num_classes : int, default=10
    image_size : int, or (height, width), default=28
        At least 16.
    channels : int, default=1

    Returns
    -------
    Sequential
        From (batch, channels, height, width) to (batch, num_classes).

    Raises
    ------
    ValueError
        If the images are too small.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import models
    >>> model = models.lenet5()
    >>> model(np.zeros((2, 1, 28, 28), np.float32)).shape
    (2, 10)
    >>> sum(parameter.data.size for parameter in model.parameters())
    431080
    """
    height, width = pair("image_size", image_size, 1)
    if min(height, width) < 16:
        raise ValueError(f"lenet5: got image_size={image_size}, expected 16 or more")
    rows, columns = (((size - 4) // 2 - 4) // 2 for size in (height, width))
    return nn.Sequential(
        nn.Conv2d(channels, 20, 5),
        nn.MaxPool2d(2),
        nn.Conv2d(20, 50, 5),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(50 * rows * columns, 500),
        nn.ReLU(),
        nn.Linear(500, num_classes),
    )
