"""The compiler: from a `forward` written in Python to a flat list of steps.

    nn.Module ──trace──▶ Graph ──autodiff──▶ Graph ──fuse──▶ Graph ──plan memory──▶ Plan ──lower──▶ Program
    what it computes     nodes and values    + backward      fewer nodes           arena offsets      steps

============== ====================================================================================
trace.py       runs `forward` once on values that know their shape and dtype, and records it
graph.py       Graph and Node: the record; a graph serves any batch
value.py       Value: what stands for an array in `forward`, an edge of the graph
layout.py      images channels-last inside, and the conversions where layouts meet
autodiff.py    appends backward nodes, following the backward rules in reverse
fuse.py        rewrites: an activation into the layer before it, dead nodes out, results into
               memory of their own; the operators tell what may be fused with what
constants.py   inference: what depends on no input is computed once
memory.py      liveness, one arena, in place where nobody reads the old value again
lower.py       kernels and addresses: the flat list, and a Program of fastnn._core
compile.py     the passes in order, for inference, for gradients and for training
operators/     for each operator its shape rule, its backward rule and the kernel it asks for
activations.py those that a kernel can apply to its own output
convolution/   the algorithms of convolution, and which of them by shape
windows.py     the windows of pooling, as tables that its kernels read
============== ====================================================================================

Every pass is a function of a graph, and prints nothing and measures nothing. What depends on the
batch (sizes, whether a step is worth a team of threads) is affine in it and set by the Program.
The compiler knows parameters only as things with a `storage`; it imports nothing above it.
"""

from fastnn._compiler.compile import (
    CompiledFunction,
    compile_function,
    compile_gradient,
    compile_training,
)

__all__ = ["CompiledFunction", "compile_function", "compile_gradient", "compile_training"]
