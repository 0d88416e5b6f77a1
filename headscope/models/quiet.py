"""Keep the libraries below us silent while a model loads, and put every global that they or we touch back."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Silence logs, warnings and progress bars of transformers, huggingface_hub and transformer_lens for a while.

    On leaving, the log levels, the handlers of the root logger, the warning filters, the progress-bar switches, torch's
    CPU generator and the environment are as they were. transformer_lens would otherwise leave transformers' logger at
    ERROR for good, and draw random numbers while it wraps a model.

    Example:
        >>> before = logging.getLogger("transformers").level
        >>> with quiet():
        ...     logging.getLogger("transformers").setLevel(logging.ERROR)
        >>> logging.getLogger("transformers").level == before
        True
    """
    import torch
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from transformers.utils import logging as transformers_logging

    root, library, disabled = logging.getLogger(), logging.getLogger("transformers"), logging.root.manager.disable
    level, library_level, handlers = root.level, library.level, list(root.handlers)
    bars, hub_bars = transformers_logging.is_progress_bar_enabled(), not are_progress_bars_disabled()
    environment = dict(os.environ)
    logging.disable(max(disabled, logging.WARNING))
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        transformers_logging.disable_progress_bar()
        try:
            yield
        finally:
            logging.disable(disabled)
            root.setLevel(level)
            library.setLevel(library_level)
            root.handlers[:] = handlers
            if bars:
                transformers_logging.enable_progress_bar()
            # transformers' switch turns the Hub's as well, so the Hub's own comes last.
            (enable_progress_bars if hub_bars else disable_progress_bars)()
            _restore_environment(environment)


def _restore_environment(before: dict[str, str]) -> None:
    for name in set(os.environ) - set(before):
        del os.environ[name]
    for name, value in before.items():
        if os.environ.get(name) != value:
            os.environ[name] = value
