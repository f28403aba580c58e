"""Numbers that a kernel and the planning of its workspace both have: they must be the same.

A kernel's numbers are folded into its machine code and have no name at run time, so they are read
in the source.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

KERNELS = Path(__file__).parents[1] / "fastnn" / "_core" / "kernels"
ALGORITHMS = "fastnn._compiler.convolution"
OPERATORS = "fastnn._compiler.operators"

# (file of kernels, Python module, names; "theirs: ours" where they differ)
SHARED = [
    ("conv_depthwise_parameters.pyx", f"{ALGORITHMS}.depthwise", ["CHUNKS"]),
    ("patches.pxd", f"{ALGORITHMS}.direct", ["BAND_ELEMENTS", "BAND_PIXELS"]),
    ("conv_direct_parameters.pyx", f"{ALGORITHMS}.direct", ["PARTS", "PARTIAL_ELEMENTS"]),
    ("im2col.pyx", f"{ALGORITHMS}.im2col", ["PARTS"]),
    ("conv_col2im.pyx", f"{ALGORITHMS}.col2im", ["UNIT", "BAND_ELEMENTS"]),
    (
        "winograd_tiling.pxd",
        f"{ALGORITHMS}.winograd",
        ["BLOCK_BYTES", "MOST_GROUPS", "GRADIENT_BLOCK_BYTES"],
    ),
    ("winograd_tiles.pxd", f"{ALGORITHMS}.winograd", ["UNIT", "GROUP_TILES"]),
    ("conv_winograd.pyx", f"{ALGORITHMS}.winograd", ["TEAM_WORTH_BYTES"]),
    (
        "conv_winograd_gradient.pyx",
        f"{ALGORITHMS}.winograd",
        ["SUMS_BYTES", "MOST_CHUNKS", "TASK_CHANNELS"],
    ),
    ("loss.pyx", f"{OPERATORS}.loss", ["CHUNK: PARTIAL_SUM_CHUNK"]),
    ("update.pyx", f"{OPERATORS}.update", ["CHUNK: NORM_CHUNK"]),
]
PAIRS = [
    (file, theirs, module, ours or theirs)
    for file, module, names in SHARED
    for theirs, _, ours in (name.partition(": ") for name in names)
]


@pytest.mark.skipif(not KERNELS.is_dir(), reason="the kernels' source is not beside the tests")
@pytest.mark.parametrize(("file", "theirs", "module", "ours"), PAIRS)
def test_a_kernel_and_its_plan_agree(file, theirs, module, ours):
    (number,) = re.findall(rf"^    {theirs} = (\d+)", (KERNELS / file).read_text(), re.MULTILINE)
    assert getattr(importlib.import_module(module), ours) == int(number)
