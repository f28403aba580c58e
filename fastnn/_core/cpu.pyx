"""What the processor can do and how this module was built."""

cdef extern from *:
    """
    #ifdef _OPENMP
    #define FASTNN_HAS_OPENMP 1
    #else
    #define FASTNN_HAS_OPENMP 0
    #endif
    static int fastnn_x86_level(void) {
    #if defined(__x86_64__) && defined(__GNUC__)
      __builtin_cpu_init();
      if (!__builtin_cpu_supports("sse4.2")) return 1;
      if (!(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
            __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2"))) return 2;
      if (!(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
            __builtin_cpu_supports("avx512vl"))) return 3;
      return 4;
    #else
      return 0;
    #endif
    }
    """
    enum:
        FASTNN_HAS_OPENMP
    int fastnn_x86_level() nogil


def x86_level():
    """The level of x86-64 of this processor, 1 to 4; 0 on another architecture."""
    return fastnn_x86_level()


def has_openmp():
    """Whether the core was compiled with OpenMP."""
    return FASTNN_HAS_OPENMP == 1
