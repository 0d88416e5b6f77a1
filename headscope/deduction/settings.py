"""What is asked of a deductive circuit, and how."""

from dataclasses import dataclass

from headscope.deduction.confidence import UNCERTAIN
from headscope.deduction.forward import MODES
from headscope.deduction.freerun import ABLE
from headscope.deduction.heads import RANKED
from headscope.errors import UsageError
from headscope.grid import Grid
from headscope.tasks.chains import Setup

CLAIM = 0.03
"""The share of heads that arXiv 2605.27824 speaks of."""

SWEPT = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2)
"""Shares of all heads, of which the first are ablated too (`headscope.deduction.heads.merged`)."""

FREE = 10
"""Random sets of each control in own chains, which are written one token after the other."""

EDGED = 5
"""Heads of each role and kind among which paths are patched (the source: 5)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a deductive circuit is sought and tested.

    Attributes:
        n: pairs for each role.
        chains: gold chains for confidence, the lens and own chains.
        measured: chains, prompts and sentences on which sets of heads are ablated.
        k: heads of each role and kind; None: as many as `claim` allows, 1 at least.
        claim: the share of all heads that the claim is about.
        mode: `default` (rank by the logit difference, both directions) or `paper` (by probability, equation 1).
        sets: random sets of each control; the source has 3.
        swept: random sets of each control for the other shares of heads at which ablation is swept (see `SWEPT`), and
            for heads that a control selects; the claimed share has `sets`. 0: none.
        controls: pairs of each role on which the same heads are sought on the untrained twin and with exchanged twins
            (`headscope.deduction.controls`). 0: no controls, and no second model in memory.
        modes: how heads are removed.
        tasks: other tasks on which they are removed too.
        threshold: gold tokens below this probability are uncertain.
        shots: of how many solved problems tokens are read for confidence, from the last; the source: 5.
        form: `symbolic`, `plain` or `auto`.
        setup: what problems are like.
        able: the least share of steps that the model must get right in its own chains.
        regardless: go on where it does not.
        seed: draws problems, other prompts, random sets and resamples.

    Raises:
        UsageError: with everything that is wrong at once.

    Example:
        >>> Settings(n=1, mode="papers")
        Traceback (most recent call last):
        headscope.errors.UsageError: n 1; mode 'papers'
          expected: 2 or more; one of: default, paper
          to fix it: correct these options of Settings
    """

    n: int = 100
    chains: int = 100
    measured: int = 24
    k: int | None = None
    claim: float = CLAIM
    mode: str = "default"
    sets: int = 100
    swept: int = 20
    controls: int = 30
    modes: tuple[str, ...] = MODES
    tasks: tuple[str, ...] = ("ioi", "agreement")
    threshold: float = UNCERTAIN
    shots: int = 1
    form: str = "auto"
    setup: Setup | None = None
    able: float = ABLE
    regardless: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        whole = "2 or more"
        checks = [
            (f"n {self.n}", self.n >= 2, whole),
            (f"chains {self.chains}", self.chains >= 2, whole),
            (f"measured {self.measured}", self.measured >= 2, whole),
            (f"k {self.k}", self.k is None or self.k >= 1, "1 or more"),
            (f"claim {self.claim}", 0 < self.claim <= 1, "above 0, up to 1"),
            (f"mode {self.mode!r}", self.mode in RANKED, f"one of: {', '.join(RANKED)}"),
            (f"sets {self.sets}", self.sets >= 1, "1 or more; 20 at least to show p < .05"),
            (f"swept {self.swept}", self.swept >= 0, "0 or more; 20 at least to show p < .05"),
            (f"controls {self.controls}", self.controls == 0 or self.controls >= 4, "4 or more pairs, or 0 for none"),
            (f"modes {self.modes}", bool(self.modes) and set(self.modes) <= set(MODES), f"any of: {', '.join(MODES)}"),
            (f"threshold {self.threshold}", 0 < self.threshold <= 1, "above 0, up to 1"),
            (f"shots {self.shots}", self.shots >= 1, "1 or more"),
            (f"able {self.able}", 0 <= self.able <= 1, "a share from 0 to 1"),
            (f"seed {self.seed}", self.seed >= 0, "0 or more"),
        ]
        if wrong := [(given, expected) for given, fine, expected in checks if not fine]:
            given, expected = ("; ".join(part) for part in zip(*wrong, strict=True))
            raise UsageError(given, expected, "correct these options of Settings")


def sizes(grid: Grid) -> tuple[int, ...]:
    """How many heads the swept shares are, each number once and one head at least.

    Args:
        grid: the model's layers and heads.

    Example:
        >>> sizes(Grid(6, 16)), sizes(Grid(32, 32))
        ((1, 2, 3, 5, 10, 19), (5, 10, 20, 31, 51, 102, 205))
    """
    return tuple(sorted({max(1, round(share * grid.size)) for share in SWEPT}))


def claimed_size(grid: Grid, settings: "Settings") -> int:
    """Which of the swept sizes is the claimed share's: it gets as many random sets as the selection itself.

    Args:
        grid: the model's layers and heads.
        settings: what is asked.

    Example:
        >>> claimed_size(Grid(6, 16), Settings())
        3
    """
    return min(sizes(grid), key=lambda size: abs(size - settings.claim * grid.size))


def planned(grid: Grid, settings: Settings, *, roles: int = 3) -> dict[str, int]:
    """How many runs of one prompt a study takes, by what they are for; every one is a forward or a part of one.

    Args:
        grid: the model's layers and heads.
        settings: what is asked.
        roles: how many corruptions; 4 with demonstrations.

    Returns:
        An upper limit: replays from a later layer on count as whole ones; for own chains each token that is written
        comes on top.

    Example:
        >>> planned(Grid(6, 16), Settings())["heads"]
        115800
    """
    modes, examples = len(settings.modes), settings.measured
    swept, controls = len(sizes(grid)), min(settings.controls, settings.n)
    chosen = 1 + roles + swept + (2 if controls else 0)
    everywhere = 2 * settings.sets
    random = everywhere + 2 * settings.sets + 2 * settings.swept * (swept - 1 + (2 if controls else 0))
    edges = 2 * EDGED * (2 * EDGED - 1) // 2
    return {
        "confidence and lens": 3 * settings.chains,
        "heads": roles * settings.n * (2 + 4 * grid.size),
        "paths": roles * settings.n * (2 + 2 * EDGED + edges),
        "controls": 2 * roles * controls * (4 + 4 * grid.size) + (settings.chains if controls else 0),
        "ablation on chains": examples * modes * (2 + chosen + random),
        "ablation on text": examples * modes * (2 + chosen + everywhere),
        "ablation on tasks": len(settings.tasks) * examples * modes * (2 + chosen + everywhere),
        "own chains": settings.chains + examples * modes * (2 + chosen + 2 * min(FREE, settings.sets)),
    }
