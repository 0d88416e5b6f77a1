"""How methods run, and what is left when somebody stops them."""

from typing import NamedTuple

from headscope.errors import HeadscopeError
from headscope.models import Model
from headscope.runs import Run


class Setting(NamedTuple):
    """How methods run: the model, examples held at once, bytes, progress bars or none, and further metrics."""

    model: Model
    batch_size: int
    memory: int | None
    progress: bool
    metrics: tuple[str, ...] = ()


class Interrupted(HeadscopeError):
    """Ctrl-C during an analysis; `run` holds what was finished."""

    exit_code = 130

    def __init__(self, run: Run, done: int, planned: int, *, resumes: bool = False) -> None:
        kept = "what was finished is kept" if done else "nothing was finished yet"
        fix = f"{kept}; give fewer tasks, methods or examples for a shorter run"
        super().__init__(
            f"interrupted after {done} of {planned} cells",
            "the analysis to go on to its end",
            "run the same command again: it goes on where this one stopped" if resumes else fix,
        )
        self.run = run
