"""What a Program consists of, for the loops that run it (epoch.pyx)."""

from libc.stdint cimport uint64_t

from fastnn._core.constants cimport Constants
from fastnn._core.program_lock cimport ProgramLock
from fastnn._core.step cimport MAX_SIZES, Step
from fastnn._core.taps cimport Taps

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

cdef struct RandomStream:
    # The key of a run is made of the seed and the number of the run.
    uint64_t seed
    uint64_t runs
    uint64_t key


cdef class Program:
    cdef Step* steps
    cdef StepPlan* plans
    cdef Binding* bindings
    cdef RandomStream* random
    cdef list tables              # own the memory of these
    cdef readonly Taps taps
    cdef Py_ssize_t step_count, binding_count
    cdef Py_ssize_t backward_start, update_start
    cdef readonly Py_ssize_t batch, capacity
    cdef int threads, max_threads
    cdef readonly list externals
    cdef readonly list kernel_names
    cdef object arena, workspace, keep_alive
    cdef readonly Py_ssize_t least_batch
    cdef readonly str least_batch_reason
    cdef Constants constants
    cdef void* loss
    cdef void* statistics
    cdef bint is_double
    # A program works in one arena, so that threads take turns.
    cdef ProgramLock lock

    cdef void* new_table(self, Py_ssize_t size) except NULL
    cdef int set_step(self, Py_ssize_t index, object lowered) except -1
    cdef int configure(self, Py_ssize_t batch) except -1
    cdef void set_sizes(self, Py_ssize_t batch, int threads) noexcept nogil
    cdef void point(self, Py_ssize_t external, void* data) noexcept nogil
    cdef int bind(self, Py_ssize_t index, object value, bint first) except -1
    cdef int set_taps(self, list lists) except -1
    cdef void run_forward(self) noexcept nogil
    cdef void run(self, Py_ssize_t begin, Py_ssize_t end) noexcept nogil
    cdef int refresh_constants(self) except -1
    cdef void advance_random_key(self) noexcept nogil
    cdef int run_locked(self, Py_ssize_t begin, Py_ssize_t end) except -1
    cdef double read(self, void* array, Py_ssize_t index) noexcept nogil
