"""The way in: run prompts once, then ask what the metric would be under edits."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headscope import metrics
from headscope.errors import UsageError
from headscope.models import Model
from headscope.models.program import Program
from headscope.prompts import EMBEDDING_CONTRAST, Pairs
from headscope.replay import engine
from headscope.replay.base import Base, run
from headscope.replay.edits import Edits
from headscope.replay.memory import available, out_of_memory
from headscope.replay.whole import Whole, measure_whole, replay_whole, run_whole

Run = Base | Whole
SHARE = 0.5
"""The part of free memory that is used where no budget is set."""


def budget(model: Model, memory: int | None = None) -> int:
    """Bytes that a sweep may take beside the model: what was asked for, or half of what is free.

    Args:
        model: where it runs.
        memory: what was asked for.

    Example:
        >>> from transformers import GPT2Config, GPT2LMHeadModel
        >>> from headscope.models import load
        >>> plain = GPT2LMHeadModel(GPT2Config(n_layer=2, n_head=4, n_embd=16, vocab_size=50, n_positions=32))
        >>> model = load(plain, device="cpu")
        >>> budget(model, 2**20), budget(model) > 0
        (1048576, True)
    """
    return int(available(model.device) * SHARE) if memory is None else memory


def start(
    model: Model, pairs: Pairs, tokens: Int[Tensor, "example position"], *, also: Sequence[metrics.Metric] = ()
) -> Run:
    """Run prompts once and keep what counterfactual runs start from.

    Args:
        model: the model; where its architecture is known, replays start in its middle. Its weights must stay as they
            are as long as the run is used.
        pairs: what is read, and the mask.
        tokens: the pairs' own clean or corrupted tokens.
        also: further metrics, by name or as functions, which `measure` reads off the same sweep.

    Returns:
        The run, with its `metric` and every head's `z`, and the further metrics in `also`, by name. Cost: a forward or
        two for each example, two more under the metric `embedding_contrast`, one more under `kl`.

    Raises:
        UsageError: if the prompts do not fit the model, there is no such metric or it does not fit the answers, reads
            where there is no token or needs the model's parts and there are none, or memory does not suffice.

    Example:
        >>> from transformers import GPT2Config, GPT2LMHeadModel
        >>> from headscope.models import load
        >>> plain = GPT2LMHeadModel(GPT2Config(n_layer=2, n_head=4, n_embd=16, vocab_size=50, n_positions=32))
        >>> model, tokens = load(plain, device="cpu", check=False), torch.arange(12).view(3, 4)
        >>> pairs = Pairs(task="t", tokens=tokens, corrupted=tokens + 1, mask=tokens >= 0, groups=torch.arange(3),
        ...               positions={"end": torch.full((3,), 3)}, answers=tokens[:, :1], foils=tokens[:, 1:2])
        >>> base = start(model, pairs, pairs.corrupted)
        >>> base.metric.shape, [z.shape for z in base.z]
        (torch.Size([3]), [torch.Size([3, 4, 4, 4]), torch.Size([3, 4, 4, 4])])
    """
    check_fit(model, pairs, tokens)
    program, reason = _parts(model)
    try:
        if program is not None:
            return run(program, pairs, tokens, also)
        if EMBEDDING_CONTRAST in (pairs.metric, *also):
            given = f"metric {EMBEDDING_CONTRAST!r} for model {model.name!r}: {reason}"
            raise UsageError(given, "a metric of logits", "take another metric, or a model of a known architecture")
        return run_whole(model, pairs, tokens, also=also)
    except (RuntimeError, MemoryError) as problem:
        if not out_of_memory(problem):
            raise
        given = f"{len(pairs)} prompts of {tokens.shape[1]} tokens, whose run does not fit into memory"
        raise UsageError(given, "enough free memory", "set a smaller batch_size (or memory)") from problem


def _parts(model: Model) -> tuple[Program | None, str]:
    program, reason = getattr(model, "cut", (None, "it offers no parts"))
    return program, reason


def check_fit(model: Model, pairs: Pairs, tokens: Tensor) -> None:
    """Raise unless the model can run these tokens.

    Args:
        model: the model.
        pairs: whose tokens they are.
        tokens: what is to run.

    Raises:
        UsageError: if they are too long, outside the vocabulary or not of the pairs' shape.
    """
    if tokens.shape != pairs.tokens.shape:
        given = f"tokens {tuple(tokens.shape)} for pairs of {tuple(pairs.tokens.shape)}"
        raise UsageError(given, "the pairs' own clean or corrupted tokens", "give pairs.tokens or pairs.corrupted")
    if tokens.shape[1] > model.max_length:
        given = f"prompts of {tokens.shape[1]} tokens for model {model.name!r}"
        raise UsageError(given, f"at most {model.max_length} tokens", "shorten the prompts or pick another model")
    _check_ids(model, tokens)
    texts = (None, None) if pairs.contrast is None else (pairs.contrast.paraphrase, pairs.contrast.distractor)
    for name, text in zip(("paraphrase", "distractor"), texts, strict=True):
        if text is None:
            continue
        if text.shape[1] > model.max_length:
            given = f"a {name} of {text.shape[1]} tokens for model {model.name!r}"
            raise UsageError(given, f"at most {model.max_length} tokens", "shorten it or pick another model")
        _check_ids(model, text)


def _check_ids(model: Model, tokens: Tensor) -> None:
    low, high = (int(tokens.min()), int(tokens.max())) if tokens.numel() else (0, 0)
    if low < 0 or high >= model.vocabulary:
        given = f"token ids from {low} to {high} for model {model.name!r}"
        raise UsageError(given, f"ids from 0 to {model.vocabulary - 1}", "tokenise with the model's own tokenizer")


def replay(base: Run, edits: Edits, *, memory: int | None = None, progress: str = "") -> Float[Tensor, "example edit"]:
    """The metric of every example under every edit; exact.

    Args:
        base: the run that is edited, from `start`.
        edits: what is replaced in each counterfactual run.
        memory: bytes for intermediate results; by default half of what is free.
        progress: the label of a progress bar; empty: none.

    Returns:
        The metric (double precision, on the CPU).

    Raises:
        UsageError: if the edits do not fit the run, the model's architecture does not allow them, or memory does not
            suffice for a single run.

    Example:
        >>> from headscope.replay import edits_of, single_heads
        >>> from transformers import GPT2Config, GPT2LMHeadModel
        >>> from headscope.models import load
        >>> plain = GPT2LMHeadModel(GPT2Config(n_layer=2, n_head=4, n_embd=16, vocab_size=50, n_positions=32))
        >>> model, tokens = load(plain, device="cpu", check=False), torch.arange(12).view(3, 4)
        >>> pairs = Pairs(task="t", tokens=tokens, corrupted=tokens + 1, mask=tokens >= 0, groups=torch.arange(3),
        ...               positions={"end": torch.full((3,), 3)}, answers=tokens[:, :1], foils=tokens[:, 1:2])
        >>> clean, corrupted = start(model, pairs, pairs.tokens), start(model, pairs, pairs.corrupted)
        >>> replay(corrupted, edits_of(single_heads(model.grid), clean.z, pairs.mask)).shape
        torch.Size([3, 8])
    """
    if isinstance(base, Whole):
        return replay_whole(base, edits, memory=memory, progress=progress)
    return engine.replay(base, edits, memory=memory, progress=progress)


def measure(
    base: Run, edits: Edits, *, memory: int | None = None, progress: str = ""
) -> dict[str, Float[Tensor, "example edit"]]:
    """Several metrics of every example under every edit, in one sweep; exact.

    Args:
        base: the run that is edited, from `start(..., also=...)`.
        edits: what is replaced in each counterfactual run.
        memory: bytes for intermediate results; by default half of what is free.
        progress: the label of a progress bar; empty: none.

    Returns:
        The pairs' own metric first, as `replay` gives it, and each further one under its name (double precision, on the
        CPU). Cost: that of `replay`; where a metric needs all of the vocabulary, its logits where the metrics read.

    Raises:
        UsageError: as for `replay`.

    Example:
        >>> from headscope.replay import edits_of, single_heads
        >>> from transformers import GPT2Config, GPT2LMHeadModel
        >>> from headscope.models import load
        >>> plain = GPT2LMHeadModel(GPT2Config(n_layer=2, n_head=4, n_embd=16, vocab_size=50, n_positions=32))
        >>> model, tokens = load(plain, device="cpu", check=False), torch.arange(12).view(3, 4)
        >>> pairs = Pairs(task="t", tokens=tokens, corrupted=tokens + 1, mask=tokens >= 0, groups=torch.arange(3),
        ...               positions={"end": torch.full((3,), 3)}, answers=tokens[:, :1], foils=tokens[:, 1:2])
        >>> clean, corrupted = start(model, pairs, pairs.tokens), start(model, pairs, pairs.corrupted, also=["kl"])
        >>> found = measure(corrupted, edits_of(single_heads(model.grid), clean.z, pairs.mask))
        >>> {name: tuple(values.shape) for name, values in found.items()}
        {'logit_difference': (3, 8), 'kl': (3, 8)}
    """
    if isinstance(base, Whole):
        return measure_whole(base, edits, memory=memory, progress=progress)
    return engine.measure(base, edits, memory=memory, progress=progress)


def portions(
    model: Model,
    pairs: Pairs,
    *,
    batch_size: int | None,
    memory: int,
    runs: int = 2,
    also: Sequence[metrics.Metric] = (),
) -> Iterator[Tensor]:
    """Indices of examples that are run together, so that what is kept of them takes at most half of the memory.

    Args:
        model: the model.
        pairs: the examples.
        batch_size: at most so many at once; None: as many as fit.
        memory: bytes.
        runs: finished runs that are held at the same time.
        also: further metrics that they are started for.

    Yields:
        Indices of the next examples; of a single one where not even that fits.

    Example:
        >>> from transformers import GPT2Config, GPT2LMHeadModel
        >>> from headscope.models import load
        >>> plain = GPT2LMHeadModel(GPT2Config(n_layer=2, n_head=4, n_embd=16, vocab_size=50, n_positions=32))
        >>> model, tokens = load(plain, device="cpu"), torch.arange(12).view(3, 4)
        >>> pairs = Pairs(task="t", tokens=tokens, corrupted=tokens, mask=tokens >= 0, groups=torch.arange(3),
        ...               answers=tokens[:, :1], foils=tokens[:, 1:2])
        >>> [rows.tolist() for rows in portions(model, pairs, batch_size=2, memory=2**20)]
        [[0, 1], [2]]
    """
    kept = 4 * runs * model.vocabulary * (metrics.KL in (pairs.metric, *also))  # the clean run's logits
    fit = max(1, memory // 2 // (example_bytes(model, pairs.tokens.shape[1], runs=runs) + kept))
    return iter(torch.arange(len(pairs)).split(min(fit, batch_size or fit)))


def example_bytes(model: Model, width: int, *, runs: int = 2) -> int:
    """Bytes that one example takes in finished runs that are held, and while the last of them is made.

    Args:
        model: the model.
        width: positions, padding included.
        runs: how many are held.
    """
    program, _ = _parts(model)
    inner = model.grid.heads * model.d_head
    if program is None:
        return 4 * width * model.grid.layers * inner * (runs + 1)
    block, shared = program.blocks[0], program.kv_heads * program.d_head
    # Residual stream, z, keys and values of each layer, and what its attention and MLP write once that is asked for.
    kept = len(program.blocks) * (3 * program.d_model + inner + 2 * shared)
    making = 5 * program.d_model + 3 * inner + block.mlp_operations // (2 * program.d_model)
    patterns = 3 * program.heads * width if any(each.softcap is not None for each in program.blocks) else 0
    return program.unembed.weight.element_size() * width * (runs * (kept + inner) + making + patterns)
