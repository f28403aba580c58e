"""A Program: a flat list of steps over planned memory, run without Python.

    load ──▶ forward steps ──▶ backward steps ──▶ update steps
             (external arrays bound in place: nothing is copied that can be read where it is)

A program is made once, by fastnn._compiler.lower, and run many times. Whatever depends on the
batch (sizes, whether a step is worth a team of threads) is set when the batch changes; a step
itself allocates nothing.
"""

import numpy as np

from fastnn._core.aligned import address_of, aligned_zeros

cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy

from fastnn._core.clock cimport nanoseconds
from fastnn._core.constants cimport Constants, begin_updates, end_updates
from fastnn._core.external cimport External
from fastnn._core.program_lock cimport ProgramLock
from fastnn._core.splitmix cimport random_bits
from fastnn._core.step cimport MAX_DATA, MAX_SCALARS, MAX_SIZES, Kernel, Step
from fastnn._core.taps cimport Taps
from fastnn._core.threads cimport team_size

cnp.import_array()

cdef enum:
    # A serial run shorter than this is not split: waking and joining a team costs 0.5 us when it
    # is awake, and several when it sleeps.
    PARALLEL_WORTH_NANOSECONDS = 3000

# Where a step finds an operand: (kind, value).
ABSENT, ARENA, ADDRESS, EXTERNAL = range(4)


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
    def __cinit__(self, steps, segments, externals, arena, workspace, Py_ssize_t capacity,
                  int threads, keep_alive):
        cdef Py_ssize_t i, bindings = 0
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
        self.lock = ProgramLock()
        self.tables, self.taps = [], Taps([], arena)
        self.constants = Constants(0, [], [])
        self.random = <RandomStream*>self.new_table(sizeof(RandomStream))
        self.steps = <Step*>self.new_table(self.step_count * sizeof(Step))
        self.plans = <StepPlan*>self.new_table(self.step_count * sizeof(StepPlan))
        self.bindings = <Binding*>self.new_table(bindings * sizeof(Binding))
        for i, step in enumerate(steps):
            self.set_step(i, step)

    cdef void* new_table(self, Py_ssize_t size) except NULL:
        """Zeros on cache lines that nothing else lies on, which would wait for this program's writes.
        """
        cdef cnp.ndarray table = aligned_zeros(size, np.uint8)
        self.tables.append(table)
        return cnp.PyArray_DATA(table)

    cdef int set_step(self, Py_ssize_t index, object lowered) except -1:
        cdef Step* step = &self.steps[index]
        cdef StepPlan* plan = &self.plans[index]
        cdef Py_ssize_t i
        cdef size_t arena = address_of(self.arena)
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
            plan.size[i] = Scaled(int(size.per_example), int(size.constant))
        for i, scalar in enumerate(lowered.scalars):
            step.scalar[i] = scalar
        plan.nanoseconds_per_example = lowered.nanoseconds.per_example
        plan.nanoseconds = lowered.nanoseconds.constant
        step.workspace = <char*><size_t>address_of(self.workspace)
        step.workspace_per_thread = lowered.workspace_per_thread
        step.shared_workspace = step.workspace + self.max_threads * step.workspace_per_thread
        step.random_key = &self.random.key
        return 0

    cdef int configure(self, Py_ssize_t batch) except -1:
        """Sizes and team sizes for a batch: needed only where the batch or the team changed."""
        cdef int threads = min(team_size(), self.max_threads)
        if batch == self.batch and threads == self.threads:
            return 0
        if batch < self.least_batch:
            raise ValueError(f"{self.least_batch_reason}: got a batch of {batch}, expected "
                             f"{self.least_batch} or more")
        if batch > self.capacity:
            raise ValueError(f"batch of {batch}: the program was planned for {self.capacity}")
        self.set_sizes(batch, threads)
        return 0

    cdef void set_sizes(self, Py_ssize_t batch, int threads) noexcept nogil:
        """What `configure` does, for a batch and a team that are known to be right."""
        cdef Py_ssize_t i, j
        cdef Scaled* size
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

    cdef void point(self, Py_ssize_t external, void* data) noexcept nogil:
        cdef Py_ssize_t i
        for i in range(self.binding_count):
            if self.bindings[i].external == external:
                self.steps[self.bindings[i].step].data[self.bindings[i].operand] = data

    cdef int bind(self, Py_ssize_t index, object value, bint first) except -1:
        """Points the steps to an array of the user's; `first` lets it set the batch."""
        cdef External external = <External>self.externals[index]
        cdef cnp.ndarray array = external.accept(value)
        cdef Py_ssize_t examples = 0
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
            memcpy(external.staged(self.capacity), cnp.PyArray_DATA(array), examples * sizeof(int64_t))
            self.point(index, external.staged(self.capacity))
            return 0
        external.array = array
        self.point(index, cnp.PyArray_DATA(array))
        return 0

    cdef void run(self, Py_ssize_t begin, Py_ssize_t end) noexcept nogil:
        cdef Py_ssize_t i
        for i in range(begin, end):
            self.steps[i].run(&self.steps[i])

    cdef void run_forward(self) noexcept nogil:
        """The forward steps, with a stop at each tap."""
        cdef Py_ssize_t i, first = 0
        for i in range(self.taps.count):
            self.run(first, self.taps.table[i].step + 1)
            self.taps.take(i, self.batch)
            first = self.taps.table[i].step + 1
        self.run(first, self.backward_start)

    def tap(self, taps):
        """Makes epochs copy values as soon as they are computed, until `untap` with the same list.

        Parameters
        ----------
        taps : list of (forward step, offset of a batched value in the arena, array)
            The array has room for some examples; those behind stay uncopied.
        """
        if not all(0 <= step < self.backward_start for step, _, _ in taps):
            raise ValueError(f"taps: expected steps from 0 to {self.backward_start - 1}")
        self.set_taps([*self.taps.lists, taps])

    def untap(self, taps):
        """Ends what `tap` began; nothing happens if it has not."""
        self.set_taps([others for others in self.taps.lists if others is not taps])

    cdef int set_taps(self, list lists) except -1:
        cdef Taps taps = Taps(lists, self.arena)
        self.lock.acquire()
        self.taps = taps
        self.lock.release()
        return 0

    def keep_constants(self, Py_ssize_t count, owners, buffers):
        """Makes the first `count` steps run once, until something changes that they read.

        Parameters
        ----------
        owners, buffers : what they read, as `Constants` takes it
        """
        self.constants = Constants(count, owners, buffers)

    cdef int refresh_constants(self) except -1:
        """Runs the steps that depend on no input, where they are stale."""
        if self.constants.count == 0 or not self.constants.are_stale():
            return 0
        self.constants.note_sources()
        with nogil:
            self.run(0, self.constants.count)
        self.constants.are_computed = True
        return 0

    cdef void advance_random_key(self) noexcept nogil:
        """A fresh key for dropout, of the seed and the run."""
        self.random.runs += 1
        self.random.key = random_bits(self.random.seed, self.random.runs)

    def seed(self, uint64_t seed, uint64_t runs=0):
        """Sets where the stream of random keys starts."""
        self.random.seed, self.random.runs = seed, runs

    def load(self, Py_ssize_t first, *values):
        """Binds arrays to the externals `first`, `first + 1`, ...; external 0 sets the batch."""
        cdef Py_ssize_t i
        self.lock.acquire()
        try:
            for i, value in enumerate(values):
                self.bind(first + i, value, first + i == 0)
        finally:
            self.lock.release()

    cdef int run_locked(self, Py_ssize_t begin, Py_ssize_t end) except -1:
        """Steps as the only thread in this program, without the interpreter."""
        cdef bint updates = end > self.update_start
        self.lock.acquire()
        if updates:
            begin_updates()
        with nogil:
            if begin == 0:
                self.advance_random_key()
            self.run(begin, end)
        if updates:
            end_updates()
        self.lock.release()
        return 0

    def forward(self):
        self.run_locked(0, self.backward_start)

    def backward(self):
        self.run_locked(self.backward_start, self.update_start)

    def update(self):
        self.run_locked(self.update_start, self.step_count)

    def infer(self, *inputs):
        """Binds the inputs, runs the forward steps and returns the results in new arrays."""
        cdef Py_ssize_t i, j, count = len(inputs)
        cdef External external
        cdef cnp.npy_intp shape[32]
        cdef list results = []
        self.lock.acquire()
        try:
            for i in range(count):
                self.bind(i, inputs[i], i == 0)
            for i in range(count, len(self.externals)):
                external = <External>self.externals[i]
                shape[0] = self.batch
                for j in range(len(external.shape)):
                    shape[j + external.batched] = external.shape[j]
                result = cnp.PyArray_EMPTY(<int>len(external.shape) + external.batched, shape,
                                           external.type_number, False)
                self.point(i, cnp.PyArray_DATA(<cnp.ndarray>result))
                external.array = result  # as long as steps point there
                results.append(result)
            self.refresh_constants()
            with nogil:
                self.advance_random_key()
                self.run(self.constants.count, self.backward_start)
        finally:
            self.lock.release()
        return results

    def require_batch(self, Py_ssize_t least, str reason):
        """Refuses smaller batches."""
        self.least_batch, self.least_batch_reason = least, reason

    def watch(self, size_t loss, size_t statistics, bint is_double):
        """Tells where the loss and a loss operator's statistics lie (0 for none)."""
        self.loss, self.statistics, self.is_double = <void*>loss, <void*>statistics, is_double

    cdef double read(self, void* array, Py_ssize_t index) noexcept nogil:
        if self.is_double:
            return (<double*>array)[index]
        return (<float*>array)[index]

    def train_step(self, *inputs):
        """Binds the inputs, runs every step and returns the loss."""
        cdef Py_ssize_t i
        self.lock.acquire()
        try:
            for i in range(len(inputs)):
                self.bind(i, inputs[i], i == 0)
            begin_updates()
            with nogil:
                self.advance_random_key()
                self.run(0, self.step_count)
            end_updates()
            return self.read(self.loss, 0)
        finally:
            self.lock.release()

    def read_loss(self):
        """The loss of the last forward run."""
        return self.read(self.loss, 0)

    def read_statistics(self):
        """(sum of losses, sum of weights, correct rows, rows that count) of the last run, or None."""
        if self.statistics == NULL:
            return None
        return tuple(self.read(self.statistics, i) for i in range(4))

    def set_scalar(self, Py_ssize_t step, Py_ssize_t slot, double value):
        if not (0 <= step < self.step_count and 0 <= slot < MAX_SCALARS):
            raise IndexError(f"no scalar {slot} of step {step}")
        self.steps[step].scalar[slot] = value

    def time_steps(self, Py_ssize_t repetitions):
        """Nanoseconds that each step takes at the loaded batch, the shortest of some runs."""
        cdef Py_ssize_t i, r
        cdef cnp.ndarray times = np.full(self.step_count, np.inf)
        cdef double* best = <double*>cnp.PyArray_DATA(times)
        cdef double elapsed
        with nogil:
            for r in range(repetitions):  # no-cython-lint
                for i in range(self.step_count):
                    elapsed = -nanoseconds()
                    self.steps[i].run(&self.steps[i])
                    elapsed += nanoseconds()
                    if elapsed < best[i]:
                        best[i] = elapsed
        return times
