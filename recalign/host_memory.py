"""Memory of the host: kept between steps instead of given back to the system."""

import ctypes

# Of glibc's <malloc.h>.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep_freed_memory(*, one_arena: bool = False) -> bool:
    """Tells glibc to keep what is freed; returns whether there is a glibc to tell.

    XLA on a CPU asks for all of a step's temporary memory when the step begins and frees it when it
    ends. By default glibc takes a block that large from the system anew each time, and the system
    clears every page of it. Kept, the process holds on to its peak, which it reaches every step.

    Only the main thread's arena grows to any size, so JAX is told to run a step on the thread that
    asks for it. To be called before JAX starts its devices, and before there are other threads.
    `one_arena` is for all threads, where steps run on another than the main one: XLA compiles on
    every core, and its threads then wait for one another, half as long again on two cores.
    """
    import jax

    jax.config.update("jax_cpu_enable_async_dispatch", False)
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False  # another C library
    settings = {_MMAP_MAX: 0, _TRIM_THRESHOLD: -1, **({_ARENA_MAX: 1} if one_arena else {})}
    taken = [mallopt(*setting) for setting in settings.items()]
    return all(taken)
