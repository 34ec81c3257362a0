"""How this process gets memory from the system."""

from __future__ import annotations

import ctypes
import os
import sys

HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"
"""PyTorch's variable: 1 for huge pages in tensors of 2 MiB and more."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt's names in malloc.h
_KEPT, _FROM_HEAP = 2**31 - 1, 2**25  # the largest that mallopt takes


def keep_memory() -> None:
    """Keep freed memory for the next update, and have it in huge pages where Linux gives them.

    An update on a processor allocates and frees the same blocks of some MiB again and again. By
    default the C library returns them to the system, which clears them in pages of 4 KiB when they
    are next touched. Call before the first tensor is made. It sets the whole process, so it is for
    commands, not for a library's functions; what the environment says already (``MALLOC_...``,
    ``GLIBC_TUNABLES``, ``THP_MEM_ALLOC_ENABLE``) is left alone. Results do not change by a bit.
    """
    os.environ.setdefault(HUGE_PAGES, "1")
    if any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        if hasattr(library, "mallopt"):  # musl has none
            library.mallopt(_TRIM_THRESHOLD, _KEPT)
            library.mallopt(_MMAP_THRESHOLD, _FROM_HEAP)
