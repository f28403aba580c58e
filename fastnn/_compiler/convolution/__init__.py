"""How convolutions are computed: algorithms, and which of them by shape.

                      ┌ geometry.py      sizes, strides, padding, dilation, groups
    Conv2d ──choice.py┤
    (operator)        └ algorithm.py     what an algorithm tells the compiler: where it fits, in
                           │             what form it reads weights, the workspace it needs
                           ├── depthwise.py       one filter for each channel
                           ├── pointwise.py       1 x 1: the fully connected layer on every pixel
                           ├── space_to_depth.py  strided 11 x 11: Winograd's on blocks of pixels
                           ├── winograd.py        F(4 x 4, 3 x 3) and F(2 x 2, 5 x 5)
                           ├── winograd_few.py    the same for an image or a few, in inference
                           ├── winograd_images.py the same with images in the lanes, not channels
                           ├── col2im.py          the input's gradient, where channels are few
                           ├── direct.py          an implicit product with patches, for anything
                           └── im2col.py          the textbook's explicit patch matrix

`operations.py` estimates what some of them take.

An algorithm has kernels in `fastnn/_core/kernels/`: one that prepares weights, and one for each
direction (forward, to the input, to the parameters), which are chosen apart. The numbers that its
file here needs to plan their workspace (block sizes, counts of partial sums) the kernels publish.
"""
