"""What losses of rows or elements are reduced to."""

cdef enum:
    MEAN
    SUM
    NONE
