"""Preprocessing that remembers what it learned on the training set.

Each class learns a mean, and some also a scale, from the training data in ``fit``. ``transform``
then applies those same numbers to any data, so that validation and test data are treated exactly
as the training data were. What was learned can be saved and loaded again.

Samples lie along the first axis; the other axes may have any shape. Integer, boolean and float16
data come out as float32; other floats keep their type. Input arrays are never modified.

=================  ================================================================================
_base.py           `Preprocessor`: fit, transform and back, what was learned as a dict
_transforms.py     its subclasses, by what is averaged over
_samples.py        a few samples at a time
_saved.py          reading the files that they write
=================  ================================================================================
"""

from fastnn.preprocessing._base import NotFittedError, Preprocessor
from fastnn.preprocessing._saved import load
from fastnn.preprocessing._transforms import ChannelMean, MeanImage, Standardize, ZeroCenter

__all__ = [
    "ChannelMean",
    "MeanImage",
    "NotFittedError",
    "Preprocessor",
    "Standardize",
    "ZeroCenter",
    "load",
]
