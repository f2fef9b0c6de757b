"""Where to compute, with how many threads and in which precision, by the size of the work; one seed for everything."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
from collections.abc import Iterator

import torch

SMALL = 2e7  # multiply-adds in one batch of the widest product, below which a second thread costs more than it brings
LARGE = 2e9  # and above which a graphics processor, if there is one, is worth the transfers


def choose_device(device: str | None, work: float) -> torch.device:
    """The named device, or, for None and "auto", a GPU if there is one and a batch has `work` >= 2e9 multiply-adds.

    Raises:
        ValueError: If the device does not exist here.

    Example:
        >>> choose_device("cpu", 1e12)
        device(type='cpu')
    """
    if device in (None, "auto"):
        return torch.device("cuda" if torch.cuda.is_available() and work >= LARGE / 10 else "cpu")
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"There is no device {device!r} here ({str(error).splitlines()[0]}). Use device='cpu'."
        ) from error
    return torch.device(device)


def choose_threads(threads: int | None, work: float) -> int:
    """The given number of threads, or what suits a batch of `work` multiply-adds: one if small, else what torch has.

    The user's OMP_NUM_THREADS is an upper bound.
    """
    if threads is not None:
        if threads < 1:
            raise ValueError(f"threads is at least 1, got {threads}.")
        return threads
    return 1 if work < SMALL else int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads()))


def choose_precision(precision: str, device: torch.device, work: float) -> str:
    """The given precision; for "auto" bfloat16 where the device multiplies in it and the work is not small, else float32.

    Raises:
        ValueError: If it is none of the three.

    Example:
        >>> choose_precision("auto", torch.device("cpu"), 1e3)
        'float32'
    """
    if precision not in ("auto", "float32", "bfloat16"):
        raise ValueError(f"precision is auto, float32 or bfloat16; got {precision!r}.")
    if precision != "auto":
        return precision
    return "bfloat16" if work >= SMALL and _multiplies_bfloat16(device) else "float32"


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    has: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # newer than the oldest torch we take
    return device.type == "cpu" and any(has.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


@functools.cache
def keep_freed_memory() -> None:
    """Tells glibc to keep up to 256 MiB that were freed, for the rest of the process; elsewhere it does nothing.

    As it comes, it hands the memory of every batch back to the system and asks for it anew: a tenth of the time of
    contrastive divergence.
    """
    trim_threshold, mmap_threshold = -1, -3  # as malloc.h numbers them
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(trim_threshold, 256 << 20)
        mallopt(mmap_threshold, 32 << 20)


@contextlib.contextmanager
def session(seed: int, threads: int) -> Iterator[None]:
    """Seeds torch and sets its threads, and leaves both as they were.

    Example:
        >>> with session(0, 1):
        ...     a = torch.rand(1)
        >>> with session(0, 1):
        ...     bool(a == torch.rand(1))
        True
    """
    keep_freed_memory()
    before = torch.get_num_threads()
    flushes = torch.set_flush_denormal(True)  # probabilities near 0 become denormal floats, a hundred times slower
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            torch.set_num_threads(threads)
            yield
    finally:
        torch.set_num_threads(before)
        if flushes:
            torch.set_flush_denormal(False)
