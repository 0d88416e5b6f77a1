"""Which examples run together when slopes are asked for: by first difference, in portions that fit into memory."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from headscope import metrics
from headscope.errors import UsageError
from headscope.models import Model
from headscope.models.families import FAMILIES
from headscope.models.program import Program
from headscope.progress import track
from headscope.prompts import EMBEDDING_CONTRAST, Pairs
from headscope.replay.front import budget, check_fit
from headscope.replay.gradient import Span, span_of
from headscope.replay.memory import out_of_memory
from headscope.replay.plan import CPU_TOKENS, GPU_TOKENS


def row_bytes(program: Program, tokens: int, keys: int, *, logits: int = 0) -> int:
    """Bytes that one row of `slopes` keeps for the way back, by count of the tensors that live at once.

    Args:
        program: the model.
        tokens: positions that run.
        keys: positions that they see.
        logits: how many the metric reads, if it reads the whole vocabulary.
    """
    block, width, inner = program.blocks[0], program.d_model, program.heads * program.d_head
    hidden = block.mlp_operations // (2 * width)
    # Attention weights are kept where no fused kernel does the work: with grouped queries, and for capped scores,
    # whose models also have more norms, in more steps.
    capped = any(each.softcap for each in program.blocks)
    weights = 4 if capped else 2 * (program.kv_heads < program.heads)
    flat = (18 if capped else 4) * width + 6 * inner + hidden + weights * program.heads * keys
    cached = 2 * keys * program.kv_heads * program.d_head
    return program.unembed.weight.element_size() * len(program.blocks) * (tokens * flat + cached) + 32 * logits


@dataclass(frozen=True, eq=False, kw_only=True)
class Work:
    """How a method that works on spans runs.

    Attributes:
        model: the model.
        pairs: the examples.
        names: what it finds out.
        copies: rows for each example.
        batch_size: examples that are held at once.
        memory: bytes for intermediate results.
        label: of a progress bar; empty: none.
        shared: whether only what differs between the twins matters.
        shape: of what it finds out of one example; None: a number for each layer and head.
    """

    model: Model
    pairs: Pairs
    names: Sequence[str]
    copies: int = 1
    batch_size: int | None = None
    memory: int | None = None
    label: str = ""
    shared: bool = True
    shape: tuple[int, ...] | None = None


Found = Mapping[str, Float[Tensor, "example ..."]]


def by_span(work: Work, compute: Callable[[Span], Found]) -> dict[str, Float[Tensor, "example ..."]]:
    """Go through all examples in spans that fit into memory.

    Args:
        work: what is asked for.
        compute: what it is of the examples of one span.

    Returns:
        The same of all examples (double precision, on the CPU), in their order. Examples whose twins do not differ
        before what is read have 0 where `work.shared`.

    Raises:
        UsageError: if the model cannot be cut open, the prompts do not fit it, or not even one fits into memory.

    Example:
        >>> from transformers import GPT2Config, GPT2LMHeadModel
        >>> from headscope.models import load
        >>> plain = GPT2LMHeadModel(GPT2Config(n_layer=2, n_head=4, n_embd=16, vocab_size=50, n_positions=32))
        >>> model, tokens = load(plain, device="cpu"), torch.tensor([[1, 2, 3], [4, 5, 6]])
        >>> pairs = Pairs(task="t", tokens=tokens, corrupted=tokens + torch.tensor([0, 1, 0]), mask=tokens > 0,
        ...               groups=tokens[:, 0], answers=tokens[:, :1], foils=tokens[:, 1:2],
        ...               positions={"end": torch.tensor([2, 2])})
        >>> work = Work(model=model, pairs=pairs, names=["norm"], shape=())
        >>> found = by_span(work, lambda span: {"norm": span.clean.norm(dim=(1, 2))})
        >>> found["norm"].shape
        torch.Size([2])
    """
    pairs, grid = work.pairs, work.model.grid
    shape = (grid.layers, grid.heads) if work.shape is None else work.shape
    with torch.inference_mode(False):
        program = program_of(work.model)
        for tokens in (pairs.tokens, pairs.corrupted):
            check_fit(work.model, pairs, tokens)
        result = {name: torch.zeros(len(pairs), *shape, dtype=torch.float64) for name in work.names}
        spans = list(_spans(program, work))
        for rows, start in track(spans, work.label, show=bool(work.label), unit="batch"):
            for part, found in _computed(program, pairs, rows, start, compute):
                for name, value in found.items():
                    result[name][part] = value.cpu().double()
    return result


def program_of(model: Model, wanted: str = "a gradient through") -> Program:
    """A model's program.

    Args:
        model: the model.
        wanted: what needs it, for the message.

    Raises:
        UsageError: if it has none, with the reason.
    """
    program, reason = getattr(model, "cut", (None, "it offers no parts to run"))
    if program is None:
        raise UsageError(
            f"{wanted} model {model.name!r}: {reason}",
            f"a model that can be cut open, of the kinds {', '.join(FAMILIES)}",
            "use patching or ablation, which run any model whole",
        )
    return program


def _computed(
    program: Program, pairs: Pairs, rows: Tensor, start: int, compute: Callable[[Span], Found]
) -> Iterator[tuple[Tensor, Found]]:
    """One span; in halves if memory does not suffice."""
    try:
        yield rows, compute(span_of(program, pairs.select(rows), start=start))
        return
    except (RuntimeError, MemoryError) as problem:
        if not out_of_memory(problem):
            raise
        if len(rows) == 1:
            given = (
                f"the gradient of one prompt of {int(pairs.mask[rows].sum())} tokens, which does not fit into memory"
            )
            raise UsageError(given, "enough free memory", "use shorter prompts or a smaller model") from problem
    if program.unembed.weight.device.type == "cuda":
        torch.cuda.empty_cache()
    for half in rows.tensor_split(2):
        yield from _computed(program, pairs, half, start, compute)


def _spans(program: Program, work: Work) -> Iterator[tuple[Tensor, int]]:
    """Examples that run together, by their first difference, and where they start."""
    pairs, width = work.pairs, work.pairs.mask.shape[1]
    first, last = pairs.first_difference, pairs.reads.amax(1)
    if not program.causal or pairs.metric == EMBEDDING_CONTRAST:  # every position sees or is read with every other
        first, last = torch.where(first < width, 0, width), torch.full_like(last, width - 1)
    runs, begin, end = first <= last, first, last + 1
    if not work.shared:
        runs, begin = torch.ones_like(runs), torch.zeros_like(first)
    order = runs.nonzero()[:, 0]
    order = order[begin[order].argsort(stable=True)]
    memory, logits = budget(work.model, work.memory), _logits(program, pairs)
    tokens = GPU_TOKENS if work.model.device.type == "cuda" else CPU_TOKENS
    at = 0
    while at < len(order):
        rest = order[at : at + tokens]
        low, high = int(begin[rest[0]]), end[rest].cummax(0).values
        count = torch.arange(1, len(rest) + 1) * work.copies
        each = torch.tensor([row_bytes(program, top - low, top, logits=logits) for top in high.tolist()])
        fits = (count * each <= memory) & (count * (high - low) <= tokens)
        # An example whose twins differ late would run many positions that they share.
        pays = (high - begin[rest]) * 4 >= (high - low) * 3
        fits &= pays | (count * (high - low) <= tokens // 8)
        size = max(1, min(int(fits.cumprod(0).sum()), work.batch_size or len(rest)))
        yield rest[:size], low
        at += size


def _logits(program: Program, pairs: Pairs) -> int:
    """How many logits of each example are differentiated, where they are more than a few."""
    if metrics.columns(pairs) is not None:
        return 0
    return (2 if pairs.metric == metrics.KL else 1) * pairs.reads.shape[1] * program.unembed.weight.shape[1]
