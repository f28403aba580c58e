"""A Program: a flat list of steps over planned memory, run without Python.

    load ──▶ forward steps ──▶ backward steps ──▶ update steps
             (external arrays bound in place: nothing is copied that can be read where it is)

A program is made once, by fastnn._compiler.lower, and run many times. Whatever depends on the
batch (sizes, whether a step is worth a team of threads) is set when the batch changes; a step
itself allocates nothing.
"""

import numpy as np

cimport numpy as cnp
from cython.parallel cimport prange
from cpython.exc cimport PyErr_CheckSignals
from cpython.object cimport PyObject
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.math cimport isfinite
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy

from fastnn._core.augmentation cimport Augmentation
from fastnn._core.external cimport External
from fastnn._core.step cimport MAX_DATA, MAX_SCALARS, MAX_SIZES, Kernel, Step
from fastnn._core.threads cimport fork_count, team_size

cnp.import_array()

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject* thing)

cdef extern from "pythread.h":
    ctypedef void* PyThread_type_lock
    PyThread_type_lock PyThread_allocate_lock()
    void PyThread_free_lock(PyThread_type_lock lock)
    int PyThread_acquire_lock_timed(PyThread_type_lock lock, long long microseconds,
                                    int interruptible) nogil
    void PyThread_release_lock(PyThread_type_lock lock)
    unsigned long PyThread_get_thread_ident()
    enum:
        PY_LOCK_ACQUIRED

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
    # Rows of a batch are gathered by the team above this size.
    GATHER_WORTH_BYTES = 65536
    MAX_INPUTS = 8
    # How long `epoch` computes before it looks at signals and progress.
    ATTENTION_NANOSECONDS = 30_000_000
    # How long a thread waits for another's run before it looks at signals.
    WAIT_MICROSECONDS = 50_000

# Where a step finds an operand: (kind, value).
ABSENT, ARENA, ADDRESS, EXTERNAL = range(4)


# Counts what may have changed parameters: updates, and views of them that were handed out.
cdef uint64_t value_changes = 0


def note_value_change():
    """Tells programs that a parameter's values may change: what they keep of it is stale."""
    global value_changes
    value_changes += 1


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


cdef void gather_rows(char* rows, const char* source, const int64_t* indices, Py_ssize_t count,
                      Py_ssize_t row_bytes, int threads) noexcept nogil:
    """rows[i] = source[indices[i]]"""
    cdef Py_ssize_t i
    if count * row_bytes < GATHER_WORTH_BYTES or threads == 1:
        for i in range(count):
            memcpy(rows + i * row_bytes, source + indices[i] * row_bytes, row_bytes)
        return
    for i in prange(count, schedule="static", num_threads=threads):
        memcpy(rows + i * row_bytes, source + indices[i] * row_bytes, row_bytes)


def take_snapshot(arrays):
    """Copies each array of the first list to its partner in the second."""
    for source, copy in zip(*arrays):
        copy[...] = source


cdef struct Rows:
    # The rows of an input in the caller's memory, and a place to gather a batch of them.
    char* data
    char* staged
    Py_ssize_t row_bytes


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
    cdef Py_ssize_t least_batch
    cdef str least_batch_reason
    # The first `constant_count` steps run only when parameters or buffers may have changed: another
    # count of changes, views of parameters in other hands, or buffers with other contents.
    cdef Py_ssize_t constant_count
    cdef bint has_constants
    cdef uint64_t seen_changes
    cdef list owners              # (view that keeps the owner alive, references that are ours)
    cdef list buffers             # (array, copy)
    cdef void* loss
    cdef void* statistics
    cdef bint is_double
    # A program works in one arena, so that threads take turns.
    cdef PyThread_type_lock lock
    cdef unsigned long owner
    cdef int forks

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
        self.make_lock()
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
        if self.lock != NULL:
            PyThread_free_lock(self.lock)

    cdef int make_lock(self) except -1:
        self.lock = PyThread_allocate_lock()
        if self.lock == NULL:
            raise MemoryError("no memory for the lock of a program")
        self.owner, self.forks = 0, fork_count()
        return 0

    cdef int acquire(self) except -1:
        """Takes the program for this thread; waits, with Ctrl-C working, while another runs it."""
        cdef int state
        if self.forks != fork_count():
            self.make_lock()  # whoever held it stayed behind in the parent process
        state = PyThread_acquire_lock_timed(self.lock, 0, 0)
        while state != PY_LOCK_ACQUIRED:
            if self.owner == PyThread_get_thread_ident():
                raise RuntimeError("a callback called the step or module that is just running")
            with nogil:
                state = PyThread_acquire_lock_timed(self.lock, WAIT_MICROSECONDS, 1)
            if state != PY_LOCK_ACQUIRED:
                PyErr_CheckSignals()
        self.owner = PyThread_get_thread_ident()
        return 0

    cdef void release(self) noexcept:
        self.owner = 0
        PyThread_release_lock(self.lock)

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
        step.shared_workspace = step.workspace + self.max_threads * step.workspace_per_thread
        step.random_key = &self.random_key
        return 0

    cdef int configure(self, Py_ssize_t batch) except -1:
        """Sizes and team sizes for a batch: needed only where the batch or the team changed."""
        cdef Py_ssize_t i, j
        cdef Scaled* size
        cdef int threads = min(team_size(), self.max_threads)
        if batch == self.batch and threads == self.threads:
            return 0
        if batch < self.least_batch:
            raise ValueError(f"{self.least_batch_reason}: got a batch of {batch}, expected "
                             f"{self.least_batch} or more")
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
            memcpy(external.staged(self.capacity), cnp.PyArray_DATA(array), examples * sizeof(int64_t))
            self.point(index, external.staged(self.capacity))
            return 0
        external.array = array
        self.point(index, cnp.PyArray_DATA(array))
        return 0

    cdef void run(self, Py_ssize_t begin, Py_ssize_t end) noexcept nogil:
        global value_changes
        cdef Py_ssize_t i
        value_changes += end > self.update_start
        for i in range(begin, end):
            self.steps[i].run(&self.steps[i])

    def keep_constants(self, Py_ssize_t count, owners, buffers):
        """Makes the first `count` steps run once, until something changes that they read.

        Parameters
        ----------
        owners : pairs of an array and how many views of the memory behind it are fastnn's own
        buffers : arrays that are compared with what they were
        """
        self.constant_count = count
        self.owners = list(owners)
        self.buffers = [(array, np.empty_like(array)) for array in buffers]
        self.has_constants = False

    cdef bint constants_are_stale(self) except -1:
        cdef cnp.ndarray view, array, copy
        cdef Py_ssize_t expected
        if not self.has_constants or self.seen_changes != value_changes:
            return True
        for view, expected in self.owners:
            if Py_REFCNT(<PyObject*>cnp.PyArray_BASE(view)) > expected:
                return True
        for array, copy in self.buffers:
            if memcmp(cnp.PyArray_DATA(array), cnp.PyArray_DATA(copy), cnp.PyArray_NBYTES(array)):
                return True
        return False

    cdef int refresh_constants(self) except -1:
        """Runs the steps that depend on no input, where they are stale."""
        if self.constant_count == 0 or not self.constants_are_stale():
            return 0
        self.seen_changes = value_changes
        for array, copy in self.buffers:
            copy[...] = array
        with nogil:
            self.run(0, self.constant_count)
        self.has_constants = True
        return 0

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
        self.acquire()
        try:
            for i, value in enumerate(values):
                self.bind(first + i, value, first + i == 0)
        finally:
            self.release()

    cdef int run_locked(self, Py_ssize_t begin, Py_ssize_t end) except -1:
        """Steps as the only thread in this program, without the interpreter."""
        self.acquire()
        with nogil:
            if begin == 0:
                self.advance_random_key()
            self.run(begin, end)
        self.release()
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
        self.acquire()
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
                self.run(self.constant_count, self.backward_start)
        finally:
            self.release()
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
        self.acquire()
        try:
            for i in range(len(inputs)):
                self.bind(i, inputs[i], i == 0)
            with nogil:
                self.advance_random_key()
                self.run(0, self.step_count)
            return self.read(self.loss, 0)
        finally:
            self.release()

    def read_loss(self):
        """The loss of the last forward run."""
        return self.read(self.loss, 0)

    def read_statistics(self):
        """(sum of losses, sum of weights, correct rows, rows that count) of the last run, or None."""
        if self.statistics == NULL:
            return None
        return tuple(self.read(self.statistics, i) for i in range(4))

    cdef void point_to_rows(self, const Rows* rows, Py_ssize_t index, const int64_t* indices,
                            Py_ssize_t first, Py_ssize_t count) noexcept nogil:
        """Points an input to `count` rows of its array: in place, or gathered by indices."""
        if indices == NULL:
            self.point(index, rows.data + first * rows.row_bytes)
        else:
            gather_rows(rows.staged, rows.data, indices + first, count, rows.row_bytes,
                        self.threads)
            self.point(index, rows.staged)

    def epoch(self, arrays, indices, Py_ssize_t batch_size, bint train, callback=None,
              snapshot=None, Augmentation augmentation=None):
        """Runs over all rows (those that `indices` names, in its order) by batches.

        The interpreter is free meanwhile; some 30 times a second signals are checked and
        `callback(batches, examples, loss_sum, correct, counted)` is called.

        Parameters
        ----------
        arrays : one array for each input
        indices : int64 array or None
        train : whether backward and update steps run too
        snapshot : None, or a pair of lists of uint8 arrays: the first are copied to the second
            while the loss is finite, from time to time
        augmentation : None, or what makes the first input of its array, which holds bytes

        Returns
        -------
        (batches, examples, sum of loss * examples, correct rows, rows that count, finite):
        not `finite` if the loss of the batch after those was not a finite number; nothing was
        updated with it.
        """
        self.acquire()
        try:
            return self.run_epoch(arrays, indices, batch_size, train, callback, snapshot,
                                  augmentation)
        finally:
            self.release()

    cdef tuple run_epoch(self, arrays, indices, Py_ssize_t batch_size, bint train, callback,
                         snapshot, Augmentation augmentation):
        cdef Py_ssize_t i, examples = 0, batches = 0, first = 0, count, inputs = len(arrays)
        cdef Py_ssize_t total, rows
        cdef const int64_t* order = NULL
        cdef cnp.ndarray index_array
        cdef External external
        cdef double loss = 0, loss_sum = 0, correct = 0, counted = 0
        cdef Rows inputs_rows[MAX_INPUTS]
        cdef bint finite = True, attend, save = False, augmented = augmentation is not None
        cdef timespec now
        cdef double last_look, time
        cdef list bound = self.externals[:inputs]
        if not 0 < inputs <= MAX_INPUTS or batch_size < 1:
            raise ValueError(f"got {inputs} arrays and a batch size of {batch_size}, expected 1 to "
                             f"{MAX_INPUTS} arrays and a batch size of 1 or more")
        for i in range(inputs):
            external = <External>bound[i]
            if i == 0 and augmentation is not None:
                if augmentation.shape != external.shape or augmentation.dtype != external.dtype:
                    raise ValueError(f"{external.name}: augmentation gives {augmentation.shape} of "
                                     f"{augmentation.dtype}, expected {external.shape} of "
                                     f"{external.dtype}")
                external.array = augmentation.accept(arrays[i])
            else:
                external.array = external.accept(arrays[i])
            if external.classes:
                external.check_labels(external.array)
                external.array = external.array.copy()
            inputs_rows[i] = Rows(<char*>cnp.PyArray_DATA(external.array),
                                  external.staged(self.capacity), external.row_bytes)
        rows = cnp.PyArray_DIM((<External>bound[0]).array, 0)
        for external in bound:
            if cnp.PyArray_DIM(external.array, 0) != rows:
                raise ValueError(f"{external.name}: got {len(external.array)} examples, expected "
                                 f"{rows} as in {(<External>bound[0]).name}")
        total = rows
        if indices is not None:
            given = np.asarray(indices)
            if given.dtype.kind not in "iu":
                raise TypeError(f"indices: got dtype {given.dtype}, expected integers")
            if given.ndim != 1:
                raise ValueError(f"indices: got shape {given.shape}, expected (examples,)")
            index_array = np.array(given, np.int64, order="C")
            total = len(index_array)
            if total and not (0 <= index_array.min() and index_array.max() < rows):
                raise ValueError(f"indices: got values from {index_array.min()} to "
                                 f"{index_array.max()}, expected 0 <= index < {rows}")
            order = <const int64_t*>cnp.PyArray_DATA(index_array)
        if total == 0:
            raise ValueError("got an empty data set, expected one example or more")
        if train and 0 < total % batch_size < self.least_batch:
            raise ValueError(f"{self.least_batch_reason}: with {total} examples in batches of "
                             f"{batch_size} the last batch would have {total % batch_size}, expected "
                             f"{self.least_batch} or more: take another batch size")
        clock_gettime(CLOCK_MONOTONIC, &now)
        last_look = now.tv_sec * 1e9 + now.tv_nsec
        while first < total and finite:
            self.configure(min(batch_size, total - first))
            save = snapshot is not None
            with nogil:
                attend = False
                # As long as nobody waits and the batches are whole, the interpreter is left alone.
                while first < total and not attend:
                    count = min(batch_size, total - first)
                    if count != self.batch:
                        break
                    for i in range(inputs):
                        if i == 0 and augmented:
                            augmentation.fill(inputs_rows[i].staged, inputs_rows[i].data, order,
                                              first, count, self.threads)
                            self.point(i, inputs_rows[i].staged)
                        else:
                            self.point_to_rows(&inputs_rows[i], i, order, first, count)
                    self.advance_random_key()
                    self.run(0, self.backward_start)
                    loss = self.read(self.loss, 0)
                    finite = isfinite(loss)
                    if not finite:
                        break
                    if save:
                        # These parameters gave a finite loss: the best time to keep them.
                        with gil:
                            take_snapshot(snapshot)
                        save = False
                    if train:
                        self.run(self.backward_start, self.step_count)
                    loss_sum += loss * count
                    if self.statistics != NULL:
                        correct += self.read(self.statistics, 2)
                        counted += self.read(self.statistics, 3)
                    first += count
                    examples += count
                    batches += 1
                    clock_gettime(CLOCK_MONOTONIC, &now)
                    time = now.tv_sec * 1e9 + now.tv_nsec
                    attend = time - last_look > ATTENTION_NANOSECONDS
            last_look = now.tv_sec * 1e9 + now.tv_nsec
            PyErr_CheckSignals()
            if callback is not None:
                callback(batches, examples, loss_sum, correct, counted)
        return batches, examples, loss_sum, correct, counted, finite

    def set_scalar(self, Py_ssize_t step, Py_ssize_t slot, double value):
        if not (0 <= step < self.step_count and 0 <= slot < MAX_SCALARS):
            raise IndexError(f"no scalar {slot} of step {step}")
        self.steps[step].scalar[slot] = value

    def time_steps(self, Py_ssize_t repetitions):
        """Nanoseconds that each step takes at the loaded batch, the shortest of some runs."""
        cdef Py_ssize_t i, r
        cdef timespec start, end
        times = np.full(self.step_count, np.inf)
        cdef double[::1] best = times
        cdef double elapsed
        with nogil:
            for r in range(repetitions):  # no-cython-lint
                for i in range(self.step_count):
                    clock_gettime(CLOCK_MONOTONIC, &start)
                    self.steps[i].run(&self.steps[i])
                    clock_gettime(CLOCK_MONOTONIC, &end)
                    elapsed = (end.tv_sec - start.tv_sec) * 1e9 + (end.tv_nsec - start.tv_nsec)
                    if elapsed < best[i]:
                        best[i] = elapsed
        return times
