"""Direct logit attribution: what each head writes straight into the logit difference."""

from dataclasses import dataclass, field
from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor

from headscope import metrics, replay
from headscope.contract import Method, Score
from headscope.errors import UsageError
from headscope.models import Model
from headscope.models.program import Program, Step
from headscope.progress import track
from headscope.prompts import ABSENT, Pairs
from headscope.replay.spans import program_of

PROBE = 64.0
"""The size of what a norm is probed with: large against any epsilon in it, small against half precision's range."""
WANTED = "direct logit attribution of"


@dataclass(frozen=True, eq=False, kw_only=True)
class Contributions:
    """A run's logit difference as a sum over all that is written into the residual stream where the metric reads.

    Attributes:
        heads: what each head writes.
        attention_bias: what is added to the heads of each layer: the output bias, and the bias of a norm after them.
        mlp: what each MLP writes, its biases included.
        embedding: what stands in the stream before the first block.
        constant: the bias of the last norm and of the unembedding.
        metric: the logit difference itself; `total` is equal to it.
    """

    heads: Float[Tensor, "example layer head"]
    attention_bias: Float[Tensor, "example layer"] = field(repr=False)
    mlp: Float[Tensor, "example layer"] = field(repr=False)
    embedding: Float[Tensor, " example"] = field(repr=False)
    constant: Float[Tensor, " example"] = field(repr=False)
    metric: Float[Tensor, " example"]

    @property
    def total(self) -> Float[Tensor, " example"]:
        """The sum of all contributions."""
        layers = self.heads.sum((1, 2)) + self.attention_bias.sum(1) + self.mlp.sum(1)
        return layers + self.embedding + self.constant


def direct(
    model: Model,
    pairs: Pairs,
    *,
    batch_size: int | None = None,
    memory: int | None = None,
    progress: bool = False,
) -> dict[str, Float[Tensor, "example layer head"]]:
    """What each head's output at the position that is read adds to the logit difference by itself.

    With g the direction of the logit difference, taken back through the last norm with its scale as it is in the run:

        direct(h)            = (z_h W_O_h) . g in the clean run: positive heads write for the answers, negative against
        direct_difference(h) = the same less what it is in the corrupted run, with that run's own scale

    All contributions add up to the logit difference exactly; `contributions` gives the others. The scale is part of the
    run, not of any head: a head that only shrinks the stream gets nothing for it. The norm's centring and weight, and a
    norm after attention (Gemma-2: frozen too), are taken into account; of capped logits the chord between answer and
    foil is taken, which keeps the sum exact. A head's value bias counts as its own. Sources: Elhage et al. 2021 (direct
    path); Wang et al. 2022, section 3.1.

    Args:
        model: a model that can be cut open.
        pairs: the metric must be the logit difference, which alone is linear in the stream.
        batch_size: examples that are held at once; changes speed and memory only.
        memory: bytes for intermediate results, by default half of what is free; changes speed and memory only.
        progress: draw a progress bar.

    Returns:
        Both scores, in logits; NaN throughout under another metric, or where the stream is normalised again after every
        block (BERT, OPT-350M), so that it is no sum of what heads write. Cost: two forwards for each example.

    Raises:
        UsageError: if the model cannot be cut open.

    Example:
        >>> import numpy as np
        >>> from headscope.grid import Grid
        >>> from headscope.models import load
        >>> from headscope.tasks import TASKS
        >>> from headscope.testing import Plant, planted_model
        >>> plant = Plant(induction=((0, 0), (1, 1)))
        >>> model = load(planted_model(plant, grid=Grid(2, 2), vocabulary=32, positions=32), device="cpu")
        >>> pairs = TASKS["induction"].build(model, n=2, rng=np.random.default_rng(0))
        >>> (direct(model, pairs)["direct"].mean(0) > 1).tolist()  # the first head of the pair writes for the second
        [[False, False], [False, True]]
    """
    shape = (len(pairs), model.grid.layers, model.grid.heads)
    names = ("direct", "direct_difference")
    if _obstacle(program_of(model, WANTED), pairs):
        return {name: torch.full(shape, torch.nan, dtype=torch.float64) for name in names}
    limit = replay.budget(model, memory)
    found: list[tuple[Tensor, Tensor]] = []
    portions = list(replay.portions(model, pairs, batch_size=batch_size, memory=limit, runs=1))
    for rows in track(portions, f"{pairs.task}: direct attribution", show=progress, unit="batch"):
        part = pairs.select(rows)
        clean, corrupted = (contributions(model, part, tokens).heads for tokens in (part.tokens, part.corrupted))
        found.append((clean, clean - corrupted))
    return dict(zip(names, (torch.cat(values) for values in zip(*found, strict=True)), strict=True))


@torch.no_grad()
def contributions(model: Model, pairs: Pairs, tokens: Tensor) -> Contributions:
    """The logit difference after some tokens, taken apart.

    Args:
        model: a model that can be cut open.
        pairs: what is read, and the mask.
        tokens: the pairs' own clean or corrupted tokens.

    Returns:
        The parts, in logits (double precision, on the CPU). Cost: one forward for each example.

    Raises:
        UsageError: if the model cannot be cut open, the metric is not linear in its residual stream, or the prompts
            do not fit the model or memory.

    Example:
        >>> from transformers import GPT2Config, GPT2LMHeadModel
        >>> from headscope.models import load
        >>> plain = GPT2LMHeadModel(GPT2Config(n_layer=2, n_head=4, n_embd=16, vocab_size=50, n_positions=32))
        >>> model, tokens = load(plain, device="cpu"), torch.tensor([[1, 2, 3], [4, 5, 6]])
        >>> pairs = Pairs(task="t", tokens=tokens, corrupted=tokens + torch.tensor([0, 1, 0]), mask=tokens > 0,
        ...               groups=tokens[:, 0], answers=tokens[:, :1], foils=tokens[:, 1:2],
        ...               positions={"end": torch.tensor([2, 2])})
        >>> found = contributions(model, pairs, pairs.tokens)
        >>> bool((found.total - found.metric).abs().max() < 1e-5)
        True
    """
    program = program_of(model, WANTED)
    if obstacle := _obstacle(program, pairs):
        expected = "a logit difference, and a model whose residual stream is a sum of what its parts write"
        raise UsageError(f"direct logit attribution of {obstacle}", expected, "use patching or attribution")
    base = cast(replay.Base, replay.start(model, pairs, tokens))
    everyone = torch.arange(len(base), device=base.mask.device)
    before = [base.reader.gather(stream, everyone)[:, 0] for stream in base.residual]
    z = [base.reader.gather(each.flatten(2), everyone)[:, 0] for each in base.z]
    last = base.last[:, 0]
    norm = frozen(program.norm, last)
    words, constant = _direction(program, base.reader.pairs, base.reader.columns, program.norm(last))
    back = norm.back(words)
    heads, biases, mlps = [], [], []
    for layer, block in enumerate(program.blocks):
        written = block.out(z[layer])
        join = frozen(lambda a, block=block: block.join(torch.zeros_like(a), a), written)
        into = join.back(back)
        heads.append((z[layer] * (into @ block.out.weight.T)).unflatten(1, (program.heads, -1)).sum(-1))
        bias = torch.zeros_like(constant) if block.out.bias is None else into @ block.out.bias
        biases.append(bias + back @ join.offset)
        middle = block.join(before[layer], written)
        after = before[layer + 1] if layer + 1 < len(before) else last
        mlps.append(((after - middle) * back).sum(-1))
    parts = {
        "heads": torch.stack(heads, 1), "attention_bias": torch.stack(biases, 1), "mlp": torch.stack(mlps, 1),
        "embedding": (before[0] * back).sum(-1), "constant": constant + words @ norm.offset, "metric": base.metric,
    }  # fmt: skip
    return Contributions(**{name: part.cpu().double() for name, part in parts.items()})


class Frozen(NamedTuple):
    """A norm with its scale held: x -> scale * gain * centred(x) + offset, for each row of what it was frozen at.

    Attributes:
        gain: its weight, up to a factor that `scale` makes good.
        scale: one number for each row.
        offset: its bias.
        centred: whether it takes the mean away first.
    """

    gain: Float[Tensor, " d_model"]
    scale: Float[Tensor, "row 1"]
    offset: Float[Tensor, " d_model"]
    centred: bool

    def back(self, direction: Float[Tensor, "row d_model"]) -> Float[Tensor, "row d_model"]:
        """A direction after the norm as one before it.

        Args:
            direction: one for each row.
        """
        before = self.scale * self.gain * direction
        return before - before.mean(-1, keepdim=True) if self.centred else before


def frozen(norm: Step, at: Float[Tensor, "row d_model"]) -> Frozen:
    """Take a norm apart by what it does, whatever its class: LayerNorm, RMSNorm, Gemma's, or none at all.

    What it makes of zero is its bias; a shift of its input tells whether it centres; a probe of entries of one size
    gives its weight; and the scale is what then is left.

    Args:
        norm: the norm.
        at: where its scale is held.

    Raises:
        UsageError: if it does not centre, scale and shift.

    Example:
        >>> norm = torch.nn.LayerNorm(4)
        >>> x = torch.tensor([[1.0, 2.0, 3.0, 6.0]])
        >>> held = frozen(norm, x)
        >>> torch.allclose(held.scale * held.gain * (x - x.mean()) + held.offset, norm(x))
        True
    """
    probe = PROBE * (1 - 2 * (torch.arange(at.shape[-1], device=at.device) % 2)).to(at)[None]
    offset = norm(torch.zeros_like(probe))[0]
    found = norm(probe)
    tolerance = max(1e-3, 8 * torch.finfo(at.dtype).eps)
    centred = bool((norm(probe + PROBE / 2) - found).norm() <= tolerance * (found - offset).norm())

    def centre(x: Tensor) -> Tensor:
        return x - x.mean(-1, keepdim=True) if centred else x

    gain = (found[0] - offset) / centre(probe)[0]
    shown, made = gain * centre(at), norm(at) - offset
    size = (shown * shown).sum(-1, keepdim=True)
    scale = torch.where(size > 0, (shown * made).sum(-1, keepdim=True) / size, 1.0)
    if not bool((made - scale * shown).norm() <= tolerance * made.norm()):
        given = "a norm that does something else than to centre, scale and shift"
        raise UsageError(given, "LayerNorm, RMSNorm or the like", "use patching or attribution")
    return Frozen(gain, scale, offset, centred)


def _obstacle(program: Program, pairs: Pairs) -> str:
    """Why the metric is not linear in the residual stream; empty where it is."""
    return f"metric {metrics.name_of(pairs)!r}" if pairs.metric != "logit_difference" else not_a_sum(program)


def not_a_sum(program: Program) -> str:
    """Why a model's logits cannot be taken apart into what its heads write; empty where they can.

    Args:
        program: the model, cut open.

    Returns:
        The kind of model, in words: such as one that normalises the stream again after every block (BERT).

    Example:
        >>> from transformers import GPT2Config, GPT2LMHeadModel
        >>> from headscope.models import load
        >>> plain = GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=50, n_positions=32))
        >>> not_a_sum(program_of(load(plain, device="cpu")))
        ''
    """
    if program.transform is not None:
        return "a model that transforms the stream again before the unembedding"
    one = torch.arange(program.d_model, device=program.unembed.weight.device).to(program.unembed.weight)[None]
    stream, written = one.sin(), one.cos()
    tolerance = max(1e-3, 8 * torch.finfo(one.dtype).eps)
    for block in program.blocks:
        for add in (block.join, block.leave):
            with torch.no_grad():
                gap = (add(stream, written) - stream - add(torch.zeros_like(stream), written)).norm()
            if float(gap) > tolerance * float(stream.norm()):
                return "a model that normalises the stream again after every block"
    return ""


def _direction(
    program: Program, pairs: Pairs, columns: Tensor | None, hidden: Tensor
) -> tuple[Float[Tensor, "example d_model"], Float[Tensor, " example"]]:
    """The direction of the logit difference in the last hidden state, and what the unembedding's bias adds to it."""
    weights, bias = program.unembed.weight, program.unembed.bias
    if columns is not None:
        weights, bias = weights[:, columns], None if bias is None else bias[columns]
    raw = (hidden @ weights if bias is None else torch.addmm(bias, hidden, weights)).float()
    sets = [each.to(raw.device) for each in (pairs.answers, pairs.foils)]
    answers, foils = (raw.gather(1, each.clamp(min=0)) for each in sets)
    real = (sets[0] != ABSENT)[:, :, None] & (sets[1] != ABSENT)[:, None, :]
    chord = _chord(answers[:, :, None], foils[:, None, :], program.softcap) * real
    chord = chord / real.sum((1, 2), keepdim=True)
    share = torch.zeros_like(raw)
    for each, part in zip(sets, (chord.sum(2), -chord.sum(1)), strict=True):
        share.scatter_add_(1, each.clamp(min=0), part)
    share = share.to(weights)
    return share @ weights.T, torch.zeros_like(share[:, 0]) if bias is None else share @ bias


def _chord(one: Tensor, other: Tensor, softcap: float | None) -> Tensor:
    """How steeply capped logits rise between two raw ones; 1 where they are not capped."""
    if softcap is None:
        return torch.ones_like(one - other)
    gap = one - other
    capped = [torch.tanh(each / softcap) for each in (one, other)]
    tangent = 1 - torch.tanh((one + other) / (2 * softcap)) ** 2
    # Two logits that are nearly equal have no chord in floating point; the tangent between them is as good there.
    return torch.where(gap.abs() < 1e-3 * softcap, tangent, softcap * (capped[0] - capped[1]) / gap)


DIRECT = Method(
    name="direct",
    function=direct,
    needs=Pairs,
    scores=tuple(
        Score(
            name=name,
            meaning=f"it writes for the answers and against the foils by itself{more}",
            unit="logits",
            absent="only a logit difference of a model that adds up what its heads write can be taken apart",
        )
        for name, more in (("direct", ""), ("direct_difference", ", more than in the corrupted run"))
    ),
    source="Elhage et al. 2021; Wang et al. 2022 (arXiv 2211.00593), section 3.1",
    about="what each head writes straight into the logit difference",
    across=False,
)
