"""From the last residual stream to the metrics, for only the positions and words that they read."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from headscope import metrics
from headscope.errors import UsageError
from headscope.models.cutting import last_stream
from headscope.models.program import Program
from headscope.prompts import ABSENT, EMBEDDING_CONTRAST, Pairs, which

AT_ONCE = 2**21
"""Logits (or entries of hidden states) that are computed at once."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Reader:
    """Reads metrics off the residual stream after the last block.

    Attributes:
        program: the model, cut open.
        pairs: what the metric compares, with answers re-indexed into `columns`.
        columns: the words whose logits any of the metrics needs; None: all.
        reads: the positions that any of them reads, one or several per example.
        present: False where `reads` is padding.
        also: the same examples under further metrics.
        spots: which of `reads` logits are needed at.
        reference: the clean run's logits at `end`, under `kl`.
        contrast: the difference of the two embeddings of length 1 that `embedding_contrast` compares with.
    """

    program: Program
    pairs: Pairs
    columns: Int[Tensor, " column"] | None
    reads: Int[Tensor, "example read"]
    present: Bool[Tensor, "example read"]
    also: tuple[Pairs, ...] = ()
    spots: Int[Tensor, "example spot"] | None = None
    reference: Float[Tensor, "example vocabulary"] | None = None
    contrast: Float[Tensor, "example d_model"] | None = None

    @classmethod
    def of(cls, program: Program, pairs: Pairs, also: Sequence[metrics.Metric] = ()) -> "Reader":
        """The reader of the pairs' own metric, and of others.

        Args:
            program: the model, cut open.
            pairs: the prompts and their metric.
            also: further metrics.

        Returns:
            The reader. Cost: none, but under `embedding_contrast` two forwards for each example, and under `kl` one.

        Raises:
            UsageError: if there is no such metric, it does not fit the answers, or it reads where an example has no
                token.
        """
        metrics.check(pairs)
        every = (pairs, *metrics.further(pairs, also))
        device = program.unembed.weight.device
        columns = _columns(every)
        compacted = tuple(metrics.compact(each, columns) for each in every)
        reads, spots = _places(every)
        names = {each.metric for each in every if isinstance(each.metric, str)}
        return cls(
            program=program,
            pairs=compacted[0],
            columns=None if columns is None else columns.to(device),
            reads=reads.clamp(min=0).to(device),
            present=(reads != ABSENT).to(device),
            also=compacted[1:],
            spots=None if spots is None else spots.to(device),
            reference=_clean_logits(program, pairs) if metrics.KL in names else None,
            contrast=_contrast(program, pairs) if EMBEDDING_CONTRAST in names else None,
        )

    @property
    def numbers(self) -> int:
        """How many numbers of the weights' size live at once while one row is read."""
        words = self.program.unembed.weight.shape[1] if self.columns is None else len(self.columns)
        # Logits in single precision and thrice in double; under kl the clean run's as well, and what is made of both.
        each = words * (7 if self.reference is None else 16)
        width, at = self.program.d_model, 0 if self.spots is None else self.spots.shape[1]
        return self.reads.shape[1] * 5 * width + at * each

    def gather(
        self, stream: Float[Tensor, "row position d_model"], examples: Int[Tensor, " row"], start: int = 0
    ) -> Float[Tensor, "row read d_model"]:
        """The stream at the positions that are read; `start` is the position of its first column."""
        rows = torch.arange(len(examples), device=stream.device)
        return stream[rows[:, None], (self.reads[examples] - start).clamp(min=0)]

    def value(self, stream: Float[Tensor, "row read d_model"], examples: Int[Tensor, " row"]) -> Float[Tensor, " row"]:
        """The pairs' own metric, in double precision on the CPU.

        Args:
            stream: the residual stream after the last block, where the metrics read.
            examples: the example of each row.

        Raises:
            UsageError: if it is NaN or infinite.
        """
        return self._measured(stream, examples, (self.pairs,))[0]

    def values(
        self, stream: Float[Tensor, "row read d_model"], examples: Int[Tensor, " row"]
    ) -> Float[Tensor, "metric row"]:
        """All metrics, the pairs' own first; the logits are computed once.

        Args:
            stream: the residual stream after the last block, where the metrics read.
            examples: the example of each row.

        Raises:
            UsageError: if one is NaN or infinite.
        """
        return self._measured(stream, examples, (self.pairs, *self.also))

    def _measured(self, stream: Tensor, examples: Tensor, every: Sequence[Pairs]) -> Tensor:
        logit = any(each.metric != EMBEDDING_CONTRAST for each in every)
        width = self.program.unembed.weight.shape[1] if self.columns is None else len(self.columns)
        spots = self.spots.shape[1] if logit and self.spots is not None else 0
        hidden = stream.shape[1] * stream.shape[2] * any(each.metric == EMBEDDING_CONTRAST for each in every)
        step = max(1, AT_ONCE // max(1, width * spots * (1 if self.reference is None else 2), hidden))
        parts = []
        for rows in torch.arange(len(examples), device=stream.device).split(step):
            logits = self._logits(stream[rows], examples[rows]) if logit else None
            parts.append(torch.stack([self._metric(each, logits, stream[rows], examples[rows]) for each in every]))
        return torch.cat(parts, 1) if parts else torch.zeros(len(every), 0, dtype=torch.float64)

    def _logits(self, stream: Tensor, examples: Tensor) -> Tensor:
        if self.spots is not None and self.contrast is not None:  # the stream is that of all positions
            stream = stream.gather(1, self.spots[examples][..., None].expand(-1, -1, stream.shape[2]))
        return metrics.doubled(self.program.logits(self.program.norm(stream), self.columns))

    def _metric(self, pairs: Pairs, logits: Tensor | None, stream: Tensor, examples: Tensor) -> Tensor:
        if logits is None or pairs.metric == EMBEDDING_CONTRAST:
            return self._embedded(pairs, stream, examples)
        chosen = pairs.select(examples.cpu())
        reference = None if self.reference is None or pairs.metric != metrics.KL else self.reference[examples]
        shown = logits if pairs.by_token else logits[:, :1]
        return metrics.evaluate(shown, chosen, reference=reference).cpu()

    def _embedded(self, pairs: Pairs, stream: Tensor, examples: Tensor) -> Tensor:
        embedding = _embedding(self.program, stream, self.present[examples])
        found = (embedding * self.contrast[examples.cpu()]).sum(1)  # type: ignore[index] - of() made it
        if not bool(found.isfinite().all()):
            wrong = torch.zeros(len(pairs), dtype=torch.bool)
            wrong[examples.cpu()[~found.isfinite()]] = True
            given = f"metric {pairs.metric!r} of task {pairs.task!r}, NaN or infinite for {which(wrong)}"
            raise UsageError(given, "finite hidden states", "look at the model's weights, or load it in float32")
        return found


def _columns(every: Sequence[Pairs]) -> Tensor | None:
    """The words whose logits any of the metrics needs; None: all."""
    needed = [metrics.columns(each) for each in every]
    found = [each for each in needed if each is not None]
    return torch.cat(found).unique() if len(found) == len(needed) else None


def _places(every: Sequence[Pairs]) -> tuple[Tensor, Tensor | None]:
    """The positions that any of the metrics reads, and at which of them logits are needed (None: at none)."""
    logit = [each.reads for each in every if each.metric != EMBEDDING_CONTRAST]
    hidden = [each.reads for each in every if each.metric == EMBEDDING_CONTRAST]
    for each in every:
        if each.metric != EMBEDDING_CONTRAST:
            _check_reads(each)
    if not logit:
        return hidden[0], None
    longest = max(logit, key=lambda reads: reads.shape[1])
    if hidden:  # all positions, in order
        return hidden[0], longest.clamp(min=0)
    return longest, torch.arange(longest.shape[1]).expand_as(longest)


def _embedding(program: Program, stream: Tensor, present: Tensor) -> Tensor:
    """The mean last hidden state, of length 1, in double precision on the CPU."""
    real = program.norm(stream).float() * present[..., None]
    return functional.normalize(real.sum(1).cpu().double(), dim=1)


@torch.no_grad()
def _contrast(program: Program, pairs: Pairs) -> Tensor:
    """The difference of the two embeddings that a prompt's is compared with."""
    twins = ((pairs.tokens, pairs.mask), (pairs.corrupted, pairs.mask))
    near, distant = (_embedded(program, *text) for text in (twins if pairs.contrast is None else pairs.contrast.texts))
    return near - distant


def _embedded(program: Program, tokens: Tensor, mask: Tensor) -> Tensor:
    device = program.unembed.weight.device
    real = mask.to(device)
    return _embedding(program, last_stream(program, tokens.to(device), real), real)


@torch.no_grad()
def _clean_logits(program: Program, pairs: Pairs) -> Tensor:
    """The clean run's logits where `kl` reads."""
    device = program.unembed.weight.device
    last = last_stream(program, pairs.tokens.to(device), pairs.mask.to(device))
    at = pairs.end.to(device)
    return program.logits(program.norm(last[torch.arange(len(at), device=device), at][:, None]), None)[:, 0]


def _check_reads(pairs: Pairs) -> None:
    reads = pairs.reads
    outside = (reads >= pairs.mask.sum(1, keepdim=True)) | ((reads < 0) & (reads != ABSENT))
    wrong = outside.any(1) | (reads[:, 0] == ABSENT)
    if bool(wrong.any()):
        raise UsageError(
            f"pairs of task {pairs.task!r} whose metric reads where there is no token ({which(wrong)})",
            "a position 'end' at a real token of every example",
            "leave examples out that have no such position",
        )
