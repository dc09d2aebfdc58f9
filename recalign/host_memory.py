"""Memory of the host: kept between steps instead of given back to the system."""

import ctypes

# Of glibc's <malloc.h>.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> bool:
    """Tells glibc to keep what is freed; returns whether there is a glibc to tell.

    XLA on a CPU asks for all of a step's temporary memory when the step begins and frees it when it
    ends. By default glibc takes a block that large from the system anew each time, and the system
    clears every page of it. Kept, the process holds on to its peak, which it reaches every step.

    To be called before there are threads: only the one arena that all of them then share grows to
    any size.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False  # another C library
    return all([mallopt(_ARENA_MAX, 1), mallopt(_MMAP_MAX, 0), mallopt(_TRIM_THRESHOLD, -1)])
