"""A Program: a flat list of steps over planned memory, run without Python.

    load ──▶ forward steps ──▶ backward steps ──▶ update steps
             (external arrays bound in place: nothing is copied that can be read where it is)

A program is made once, by fastnn._compiler.lower, and run many times. Whatever depends on the
batch (sizes, whether a step is worth a team of threads) is set when the batch changes; a step
itself allocates nothing.
"""

import numpy as np

cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.math cimport isfinite
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from fastnn._core.step cimport MAX_DATA, MAX_SCALARS, MAX_SIZES, Kernel, Step
from fastnn._core.threads cimport team_size

cnp.import_array()

cdef extern from "time.h" nogil:
    ctypedef long time_t
    cdef struct timespec:
        time_t tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec* now)
    enum:
        CLOCK_MONOTONIC

cdef enum:
    # A serial run shorter than this is not split: waking and joining a team costs 0.5 us when it
    # is awake, and several when it sleeps.
    PARALLEL_WORTH_NANOSECONDS = 3000
    CACHE_LINE = 64
    # What a kernel may read (and never use) beyond the last element of a buffer.
    SLACK_BYTES = 64
    SIGNAL_CHECK_NANOSECONDS = 30_000_000

# Where a step finds an operand: (kind, value).
ABSENT, ARENA, ADDRESS, EXTERNAL = range(4)


def aligned_empty(Py_ssize_t count, dtype):
    """An uninitialized array at the start of a cache line, with slack to read beyond its end."""
    dtype = np.dtype(dtype)
    raw = np.empty(count * dtype.itemsize + CACHE_LINE + SLACK_BYTES, np.uint8)
    start = -raw.ctypes.data % CACHE_LINE
    return raw[start:start + count * dtype.itemsize].view(dtype)


def aligned_zeros(Py_ssize_t count, dtype):
    """As `aligned_empty`, all zero."""
    array = aligned_empty(count, dtype)
    array[:] = 0
    return array


cdef struct Scaled:
    # A number that is affine in the batch: per_example * batch + constant.
    Py_ssize_t per_example
    Py_ssize_t constant

cdef struct StepPlan:
    Scaled size[MAX_SIZES]
    double nanoseconds_per_example
    double nanoseconds

cdef struct Binding:
    # Step `step` reads or writes external array `external` through its operand `operand`.
    Py_ssize_t step
    Py_ssize_t operand
    Py_ssize_t external


cdef class External:
    """An array of the user's (or a staging copy of it) that steps read or write in place.

    Parameters
    ----------
    name : what to call it in an error ("input", "target").
    shape : shape of one example.
    dtype : what the kernels expect.
    classes : for labels: valid are 0 <= label < classes, and `ignore_index`.
    """
    cdef readonly str name
    cdef readonly tuple shape
    cdef readonly object dtype
    cdef readonly Py_ssize_t classes
    cdef readonly int64_t ignore_index
    cdef readonly bint batched
    cdef int type_number
    cdef cnp.ndarray array       # kept alive while steps point into it
    cdef object staging          # rows gathered by `epoch`

    def __init__(self, name, shape, dtype, batched=True, classes=0, ignore_index=-100):
        self.name = name
        self.shape = tuple(shape)
        self.dtype = np.dtype(dtype)
        self.batched = batched
        self.classes = classes
        self.ignore_index = ignore_index
        self.type_number = self.dtype.num

    cdef cnp.ndarray accept(self, object value):
        """`value` as a C-contiguous array of the right type and shape, copied only where needed."""
        cdef cnp.ndarray array
        cdef Py_ssize_t i, rank = len(self.shape), offset = 1 if self.batched else 0
        if isinstance(value, np.ndarray):
            array = value
        else:
            array = np.asarray(value)
        if (cnp.PyArray_TYPE(array) != self.type_number or not cnp.PyArray_ISCARRAY_RO(array)):
            array = self.convert(array)
        if cnp.PyArray_NDIM(array) != rank + offset:
            self.refuse_shape(array)
        for i in range(rank):
            if cnp.PyArray_DIM(array, <int>(i + offset)) != <Py_ssize_t>self.shape[i]:
                self.refuse_shape(array)
        return array

    def convert(self, array):
        kind, wanted = array.dtype.kind, self.dtype.kind
        if kind not in ("biu" if wanted == "i" else "biuf"):
            expected = "integers" if wanted == "i" else "real numbers"
            raise TypeError(f"{self.name}: got dtype {array.dtype}, expected {expected}")
        return np.ascontiguousarray(array, self.dtype)

    def refuse_shape(self, array):
        axes = (["batch"] if self.batched else []) + [str(n) for n in self.shape]
        raise ValueError(
            f"{self.name}: got shape {array.shape}, expected ({', '.join(axes)}"
            f"{',' if len(axes) == 1 else ''})"
        )

    cdef int check_labels(self, cnp.ndarray array) except -1:
        cdef const int64_t* labels = <const int64_t*>cnp.PyArray_DATA(array)
        cdef Py_ssize_t i, bad = -1
        for i in range(cnp.PyArray_SIZE(array)):
            if (labels[i] < 0 or labels[i] >= self.classes) and labels[i] != self.ignore_index:
                bad = i
                break
        if bad >= 0:
            raise ValueError(
                f"{self.name}: label {labels[bad]} at index {bad} is out of range, expected "
                f"0 <= label < {self.classes}"
            )
        return 0


cdef class Program:
    """Steps in the order forward, backward, update, and the memory that they work in.

    Parameters
    ----------
    steps : list of fastnn._compiler.lower.LoweredStep
    segments : (number of forward steps, of backward steps, of update steps)
    externals : list of External
    arena : array that all (ARENA, offset) operands lie in
    workspace : array shared by all steps, one step at a time
    capacity : the largest batch that the arena was planned for
    threads : the largest team that the workspace was planned for
    keep_alive : whatever owns the memory behind (ADDRESS, pointer) operands
    """
    cdef Step* steps
    cdef StepPlan* plans
    cdef Binding* bindings
    cdef Py_ssize_t step_count, binding_count
    cdef Py_ssize_t backward_start, update_start
    cdef readonly Py_ssize_t batch, capacity
    cdef int threads, max_threads
    cdef uint64_t random_key
    cdef uint64_t random_seed
    cdef uint64_t runs
    cdef readonly list externals
    cdef readonly list kernel_names
    cdef object arena, workspace, keep_alive
    cdef Py_ssize_t scalar_outputs

    def __cinit__(self, steps, segments, externals, arena, workspace, Py_ssize_t capacity,
                  int threads, keep_alive):
        cdef Py_ssize_t i, j, bindings = 0
        self.step_count = len(steps)
        self.backward_start = segments[0]
        self.update_start = segments[0] + segments[1]
        self.externals = list(externals)
        self.kernel_names = [step.name for step in steps]
        self.arena, self.workspace, self.keep_alive = arena, workspace, keep_alive
        self.capacity, self.max_threads = capacity, threads
        self.batch, self.threads = -1, 0
        for step in steps:
            bindings += sum(kind == EXTERNAL for kind, _ in step.data)
        self.binding_count = 0
        self.steps = <Step*>calloc(self.step_count + 1, sizeof(Step))
        self.plans = <StepPlan*>calloc(self.step_count + 1, sizeof(StepPlan))
        self.bindings = <Binding*>calloc(bindings + 1, sizeof(Binding))
        if self.steps == NULL or self.plans == NULL or self.bindings == NULL:
            raise MemoryError("no memory for the steps of a program")
        for i, step in enumerate(steps):
            self.set_step(i, step)

    def __dealloc__(self):
        free(self.steps)
        free(self.plans)
        free(self.bindings)

    cdef int set_step(self, Py_ssize_t index, object lowered) except -1:
        cdef Step* step = &self.steps[index]
        cdef StepPlan* plan = &self.plans[index]
        cdef Py_ssize_t i
        cdef size_t arena = self.arena.ctypes.data
        if (len(lowered.data) > MAX_DATA or len(lowered.sizes) > MAX_SIZES
                or len(lowered.scalars) > MAX_SCALARS):
            raise ValueError(f"{lowered.name}: more operands than a step holds")
        step.run = <Kernel>PyCapsule_GetPointer(lowered.kernel, b"fastnn.kernel")
        for i, (kind, value) in enumerate(lowered.data):
            if kind == ARENA:
                step.data[i] = <void*>(arena + <size_t>value)
            elif kind == ADDRESS:
                step.data[i] = <void*><size_t>value
            elif kind == EXTERNAL:
                self.bindings[self.binding_count] = Binding(index, i, value)
                self.binding_count += 1
        for i, size in enumerate(lowered.sizes):
            plan.size[i] = Scaled(size.per_example, size.constant)
        for i, scalar in enumerate(lowered.scalars):
            step.scalar[i] = scalar
        plan.nanoseconds_per_example = lowered.nanoseconds.per_example
        plan.nanoseconds = lowered.nanoseconds.constant
        step.workspace = <char*><size_t>self.workspace.ctypes.data
        step.workspace_per_thread = lowered.workspace_per_thread
        step.random_key = &self.random_key
        return 0

    cdef int configure(self, Py_ssize_t batch) except -1:
        """Sizes and team sizes for a batch: needed only where the batch or the team changed."""
        cdef Py_ssize_t i, j
        cdef Scaled* size
        cdef int threads = min(team_size(), self.max_threads)
        if batch == self.batch and threads == self.threads:
            return 0
        if batch > self.capacity:
            raise ValueError(f"batch of {batch}: the program was planned for {self.capacity}")
        for i in range(self.step_count):
            for j in range(MAX_SIZES):
                size = &self.plans[i].size[j]
                self.steps[i].size[j] = size.per_example * batch + size.constant
            if (self.plans[i].nanoseconds_per_example * batch + self.plans[i].nanoseconds
                    >= PARALLEL_WORTH_NANOSECONDS):
                self.steps[i].threads = threads
            else:
                self.steps[i].threads = 1
        self.batch = batch
        self.threads = threads
        return 0

    cdef void point(self, Py_ssize_t external, void* data) noexcept nogil:
        cdef Py_ssize_t i
        for i in range(self.binding_count):
            if self.bindings[i].external == external:
                self.steps[self.bindings[i].step].data[self.bindings[i].operand] = data

    cdef int bind(self, Py_ssize_t index, object value, bint first) except -1:
        """Points the steps to an array of the user's; `first` lets it set the batch."""
        cdef External external = <External>self.externals[index]
        cdef cnp.ndarray array = external.accept(value)
        cdef Py_ssize_t examples
        if external.batched:
            examples = cnp.PyArray_DIM(array, 0)
            if first:
                if examples == 0:
                    raise ValueError(f"{external.name}: got an empty batch")
                self.configure(examples)
            elif examples != self.batch:
                raise ValueError(f"{external.name}: got {examples} examples, expected {self.batch} "
                                 f"as in {(<External>self.externals[0]).name}")
        if external.classes:
            external.check_labels(array)
        external.array = array
        self.point(index, cnp.PyArray_DATA(array))
        return 0

    cdef void run(self, Py_ssize_t begin, Py_ssize_t end) noexcept nogil:
        cdef Py_ssize_t i
        for i in range(begin, end):
            self.steps[i].run(&self.steps[i])

    cdef void advance_random_key(self) noexcept nogil:
        """A fresh key for dropout: SplitMix64 (Steele et al. 2014) of the seed and the run."""
        cdef uint64_t z
        self.runs += 1
        z = self.random_seed + self.runs * <uint64_t>0x9E3779B97F4A7C15
        z = (z ^ (z >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
        z = (z ^ (z >> 27)) * <uint64_t>0x94D049BB133111EB
        self.random_key = z ^ (z >> 31)

    def seed(self, uint64_t seed, uint64_t runs=0):
        """Sets where the stream of random keys starts."""
        self.random_seed, self.runs = seed, runs

    def load(self, Py_ssize_t first, *values):
        """Binds arrays to the externals `first`, `first + 1`, ...; external 0 sets the batch."""
        cdef Py_ssize_t i
        for i, value in enumerate(values):
            self.bind(first + i, value, first + i == 0)

    def forward(self):
        with nogil:
            self.advance_random_key()
            self.run(0, self.backward_start)

    def backward(self):
        with nogil:
            self.run(self.backward_start, self.update_start)

    def update(self):
        with nogil:
            self.run(self.update_start, self.step_count)

    def set_scalar(self, Py_ssize_t step, Py_ssize_t slot, double value):
        if not (0 <= step < self.step_count and 0 <= slot < MAX_SCALARS):
            raise IndexError(f"no scalar {slot} of step {step}")
        self.steps[step].scalar[slot] = value

    def run_all(self, *inputs):
        """Binds the inputs and runs every step: what a training step is, in one call."""
        cdef Py_ssize_t i
        for i in range(len(inputs)):
            self.bind(i, inputs[i], i == 0)
        with nogil:
            self.advance_random_key()
            self.run(0, self.step_count)

    def time_steps(self, Py_ssize_t repetitions):
        """Nanoseconds that each step takes at the loaded batch, the shortest of some runs."""
        cdef Py_ssize_t i, r
        cdef timespec start, end
        times = np.full(self.step_count, np.inf)
        cdef double[::1] best = times
        cdef double elapsed
        with nogil:
            for r in range(repetitions):
                for i in range(self.step_count):
                    clock_gettime(CLOCK_MONOTONIC, &start)
                    self.steps[i].run(&self.steps[i])
                    clock_gettime(CLOCK_MONOTONIC, &end)
                    elapsed = (end.tv_sec - start.tv_sec) * 1e9 + (end.tv_nsec - start.tv_nsec)
                    if elapsed < best[i]:
                        best[i] = elapsed
        return times
