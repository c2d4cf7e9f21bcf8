"""The C library's memory: freed memory stays with the process, for the next image.

By default glibc gives an image's memory back to the system when it is freed. The next image then
costs a page fault for each 4 kB, and the system clears each page. The faults took half of the
time of decoding a JPEG.
"""

import ctypes

# Of malloc.h. https://man7.org/linux/man-pages/man3/mallopt.3.html
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MMAP_THRESHOLD_MAX = 32 * 2**20  # glibc refuses more


def keep_freed(size: int) -> bool:
    """Keep up to `size` bytes of freed memory for each thread, and larger blocks not at all.

    0 changes nothing. Returns False where the C library has no such option, as musl.
    """
    if not size:
        return True
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    # Both: setting one ends glibc's own adjustment of the other, whose start is 128 kB.
    threshold = min(size, _MMAP_THRESHOLD_MAX)
    return bool(mallopt(_M_MMAP_THRESHOLD, threshold) and mallopt(_M_TRIM_THRESHOLD, size))
