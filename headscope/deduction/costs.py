"""What the protocol costs on a model, before it is run: forwards, arithmetic, memory, hours."""

from dataclasses import dataclass

from headscope.deduction.settings import Settings, planned
from headscope.errors import UsageError
from headscope.grid import Grid
from headscope.tasks.chains import Setup

CHAIN = {"plain": 40, "symbolic": 300}
"""Tokens of a chain with its problem, about: of one problem, so that each demonstration has as many."""

SPEED = 100e12
"""Floating-point operations a second that hours are told for: about a quarter of what one large accelerator's makers
state for 16-bit weights."""

PAPER_K = {"microsoft/phi-4": 8}
"""Where the source takes another k than 5."""

WHOLE = ("phi3",)
"""Architectures that are run whole: paths and the lens need a model that can be cut open."""

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, slots=True)
class Shape:
    """As much of a model as its cost depends on.

    Attributes:
        name: of the model.
        grid: its layers and heads.
        width: of the residual stream.
        parameters: how many.
        architecture: in the words of Hugging Face.
    """

    name: str
    grid: Grid
    width: int
    parameters: float
    architecture: str


SHAPES = (
    Shape("meta-llama/Llama-3.1-8B-Instruct", Grid(32, 32), 4096, 8.03e9, "llama"),
    Shape("Qwen/Qwen3-8B", Grid(36, 32), 4096, 8.19e9, "qwen3"),
    Shape("Qwen/Qwen3-4B", Grid(36, 32), 2560, 4.02e9, "qwen3"),
    Shape("microsoft/phi-4", Grid(40, 40), 5120, 14.66e9, "phi3"),
)
"""The models of arXiv 2605.27824, with the shapes of their published configurations."""


def shape_of(name: str) -> Shape | None:
    """The shape of one of the source's models, by its name with or without the owner; None for any other.

    Args:
        name: as typed.

    Example:
        >>> shape_of("llama-3.1-8b").grid.size, shape_of("gpt2")
        (1024, None)
    """
    short = name.rsplit("/", 1)[-1].lower().removesuffix("-instruct")
    found = {each.name.rsplit("/", 1)[-1].lower().removesuffix("-instruct"): each for each in SHAPES}
    return found.get(short)


def paper_settings(name: str, *, n: int = 500, sets: int = 100, seed: int = 0, regardless: bool = False) -> Settings:
    """The source's own choices: symbols, probability, zero ablation, k = 5 (phi-4: 8), uncertain tokens of five shots.

    Two are ours: five demonstrations (the source draws 500 samples for each of 2, 3, 5, 7 and 9), and 100 random sets
    where it has 3, which could show nothing.

    Args:
        name: of the model.
        n: pairs for each role.
        sets: random sets of each kind.
        seed: of everything that is drawn.
        regardless: go on where the model cannot do the chains.

    Example:
        >>> paper_settings("phi-4").k, paper_settings("Qwen/Qwen3-8B").k
        (8, 5)
    """
    shape = shape_of(name)
    return Settings(
        n=n, chains=max(2, n // 10), measured=max(2, n // 10), k=PAPER_K.get(shape.name if shape else "", 5),
        mode="paper", modes=("zero",), sets=sets, shots=5, setup=Setup(demonstrations=5), seed=seed,
        regardless=regardless, controls=max(4, n // 20),
    )  # fmt: skip


def cost(shape: Shape, settings: Settings, *, dtype: str = "float32") -> dict[str, float]:
    """What the protocol costs at most: a replay from a later layer or position on counts as a whole forward.

    Args:
        shape: of the model.
        settings: what is asked.
        dtype: of the weights.

    Returns:
        `forwards` of one prompt, `tokens` of a prompt, `flops` = 2 x parameters x tokens x forwards (attention's own
        share comes on top), `weights` and `runs` in bytes (one prompt's clean and corrupted runs, with keys, values
        and outputs of every layer), and `hours` at `SPEED`.

    Raises:
        UsageError: for another type of weights.

    Example:
        >>> found = cost(SHAPES[0], paper_settings("llama-3.1-8b"))
        >>> f"{found['forwards']:.1e}", round(found["weights"] / 1e9)
        ('9.2e+06', 32)
    """
    if dtype not in BYTES:
        raise UsageError(f"dtype {dtype!r}", f"one of: {', '.join(BYTES)}", "choose one of them")
    plain = settings.form == "plain" or (settings.form == "auto" and shape.name == "mini")
    setup = settings.setup or Setup()
    tokens = CHAIN["plain"] if plain else CHAIN["symbolic"] * (1 + setup.demonstrations)
    corrupted = 3 if plain or not setup.demonstrations else 4
    forwards = sum(planned(shape.grid, settings, roles=corrupted).values())
    flops = 2 * shape.parameters * tokens * forwards
    return {
        "forwards": float(forwards), "tokens": float(tokens), "flops": flops,
        "weights": shape.parameters * BYTES[dtype],
        "runs": 2 * 5.0 * shape.grid.layers * tokens * shape.width * BYTES[dtype], "hours": flops / SPEED / 3600,
    }  # fmt: skip


_TWIN = "; the weights once more for the untrained twin, in float32 while it is made (--controls 0: none)"


def describe(shape: Shape, settings: Settings, *, dtype: str = "float32") -> str:
    """The cost in sentences.

    Args:
        shape: of the model.
        settings: what is asked.
        dtype: of the weights.

    Example:
        >>> print(describe(SHAPES[2], paper_settings("qwen3-4b"), dtype="bfloat16").splitlines()[0])
        Qwen/Qwen3-4B (qwen3): 36 layers of 32 heads, 4.0e+09 parameters
    """
    found = cost(shape, settings, dtype=dtype)
    parts = planned(shape.grid, settings, roles=3 if found["tokens"] == CHAIN["plain"] else 4)
    most = sorted(parts, key=lambda name: -parts[name])[:3]
    own = settings.k or "as many as the claim allows"
    left_out = "left out: paths among heads and the logit lens, which need a model that can be cut open"
    return "\n".join(
        [
            f"{shape.name} ({shape.architecture}): {shape.grid.layers} layers of {shape.grid.heads} heads, "
            f"{shape.parameters:.1e} parameters",
            f"settings: {settings.n} pairs a role, k {own}, mode {settings.mode}, "
            f"ablation {' and '.join(settings.modes)}, {settings.sets} random sets of each kind",
            f"forwards: {found['forwards']:,.0f} of about {found['tokens']:.0f} tokens at most "
            f"({'; '.join(f'{name} {parts[name]:,}' for name in most)}); own chains are written on top",
            f"arithmetic: {found['flops']:.1e} operations at most: {_hours(found['hours'])} at {SPEED:.0e} a second",
            f"memory: {_size(found['weights'])} of weights ({dtype}), and {_size(found['runs'])} for each prompt that "
            "is held" + (_TWIN if settings.controls else ""),
            *([left_out] if shape.architecture in WHOLE else []),
        ]
    )


def _hours(hours: float) -> str:
    if hours >= 0.1:
        return f"{hours:,.1f} hours"
    return "less than 6 minutes, but a small model takes longer, for there calls cost more than arithmetic:"


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
