"""Bytes that torch's allocator hands out, counted: the same on every machine, whichever library multiplies.

What the process holds in memory is another thing: it grows by the pages of a memory-mapped snapshot that are touched, by
what libraries allocate for themselves, and by freed memory that the C library keeps.
"""

from torch.profiler import profile


def peak_bytes(work):
    """Return the most bytes that tensors made by `work` held at once, those inside of operations too."""
    with profile(profile_memory=True) as profiled:
        work()
    changes = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(changes, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak
