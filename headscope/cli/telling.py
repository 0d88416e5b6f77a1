"""`--verbose`: what is being done, how long it took and how much memory there was, on standard error."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Iterator

NAME = "headscope"
"""The logger of the library."""


@contextlib.contextmanager
def telling(*, wanted: bool) -> Iterator[None]:
    """Show what the library logs, for as long as a command runs; all is as before afterwards.

    Args:
        wanted: show it; otherwise nothing is done.
    """
    if not wanted:
        yield
        return
    logger = logging.getLogger(NAME)
    before, handler, began = logger.level, _handler(), time.monotonic()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.info("%.1f s in all; most memory held at once: %s", time.monotonic() - began, _peak())
        logger.removeHandler(handler)
        logger.setLevel(before)


def _handler() -> logging.Handler:
    from rich.console import Console
    from rich.logging import RichHandler
    from tqdm import tqdm

    class Beside(RichHandler):
        """Lines that do not run into a progress bar."""

        def emit(self, record: logging.LogRecord) -> None:
            with tqdm.external_write_mode(file=sys.stderr):
                super().emit(record)

    shown = Console(stderr=True, highlight=False)
    if shown.is_terminal:
        return Beside(console=shown, show_path=False, show_level=False, markup=False, log_time_format="%H:%M:%S")
    # A file has no width: one line for each message.
    found = logging.StreamHandler(sys.stderr)
    found.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    return found


def _peak() -> str:
    parts = []
    with contextlib.suppress(ImportError):  # not on Windows
        import resource

        unit = 1 if sys.platform == "darwin" else 2**10
        parts.append(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20:.0f} MiB")
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        parts.append(f"{torch.cuda.max_memory_allocated() / 2**20:.0f} MiB on the accelerator")
    return ", ".join(parts) or "not known here"
