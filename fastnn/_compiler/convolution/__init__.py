"""How convolutions are computed: algorithms, and which of them by shape.

                      ┌ geometry.py      sizes, strides, padding, dilation, groups
    Conv2d ──choice.py┤
    (operator)        └ algorithm.py     what an algorithm tells the compiler: where it fits, the form
                           │             of the weights that it reads, the workspace of each direction
          ┌────────────────┼────────────────┬─────────────────┬────────────────┐
      direct.py       winograd.py    space_to_depth.py   depthwise.py      im2col.py
      implicit GEMM   F(4,3), F(2,5) strided 11 x 11     one filter for    the textbook's,
      for anything    for stride 1   by Winograd's       each channel      for comparison

An algorithm has kernels in `fastnn/_core/kernels/`: one that prepares weights, and one for each
direction (forward, to the input, to the parameters), which are chosen apart. Numbers that both a
kernel and its file here need are named alike in both.
"""
