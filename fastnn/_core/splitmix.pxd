"""SplitMix64: random bits by number, so that any of them is there at once (Steele et al. 2014)."""

from libc.stdint cimport uint64_t


cdef inline uint64_t mix64(uint64_t z) noexcept nogil:
    """The finalizer, a bijection."""
    z = (z ^ (z >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * <uint64_t>0x94D049BB133111EB
    return z ^ (z >> 31)


cdef inline uint64_t random_bits(uint64_t seed, uint64_t number) noexcept nogil:
    """The element `number` of the stream of a seed."""
    return mix64(seed + number * <uint64_t>0x9E3779B97F4A7C15)
