"""From the last residual stream to the metric, for only the positions and words that the metric reads."""

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
    """Reads a metric off the residual stream after the last block.

    Attributes:
        program: the model, cut open.
        pairs: what the metric compares, with answers re-indexed into `columns`.
        columns: the words whose logits the metric needs; None: all.
        reads: the positions that it reads, one or several per example.
        present: False where `reads` is padding.
    """

    program: Program
    pairs: Pairs
    columns: Int[Tensor, " column"] | None
    reads: Int[Tensor, "example read"]
    present: Bool[Tensor, "example read"]

    @classmethod
    def of(cls, program: Program, pairs: Pairs) -> "Reader":
        """The reader of the pairs' own metric.

        Args:
            program: the model, cut open.
            pairs: the prompts and their metric.

        Returns:
            The reader. Cost: none, but under `embedding_contrast` two forwards for each example.

        Raises:
            UsageError: if there is no such metric, or it reads where an example has no token.
        """
        if pairs.metric == EMBEDDING_CONTRAST:
            return _embedding_reader(program, pairs)
        device = program.unembed.weight.device
        columns = metrics.columns(pairs)
        _check_reads(pairs)
        reads = pairs.reads.to(device)
        return cls(
            program=program,
            pairs=pairs if columns is None else metrics.compact(pairs, columns),
            columns=None if columns is None else columns.to(device),
            reads=reads.clamp(min=0),
            present=reads != ABSENT,
        )

    def gather(
        self, stream: Float[Tensor, "row position d_model"], examples: Int[Tensor, " row"], start: int = 0
    ) -> Float[Tensor, "row read d_model"]:
        """The stream at the positions that are read; `start` is the position of its first column."""
        rows = torch.arange(len(examples), device=stream.device)
        return stream[rows[:, None], (self.reads[examples] - start).clamp(min=0)]

    def value(self, stream: Float[Tensor, "row read d_model"], examples: Int[Tensor, " row"]) -> Float[Tensor, " row"]:
        """The metric, in double precision on the CPU.

        Args:
            stream: the residual stream after the last block, where the metric reads.
            examples: the example of each row.
        """
        width = self.program.unembed.weight.shape[1] if self.columns is None else len(self.columns)
        step = max(1, AT_ONCE // max(1, width * stream.shape[1]))
        parts = []
        for rows in torch.arange(len(examples), device=stream.device).split(step):
            logits = self.program.logits(self.program.norm(stream[rows]), self.columns)
            chosen = self.pairs.select(examples[rows].cpu())
            shown = logits[:, 0] if logits.shape[1] == 1 else logits
            parts.append(metrics.evaluate(shown, chosen).cpu())
        return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)


@dataclass(frozen=True, eq=False, kw_only=True)
class EmbeddingReader(Reader):
    """Reads `headscope.metrics.embedding_contrast`: no logits, but the hidden states of all real tokens.

    Attributes:
        contrast: the clean run's embedding minus the corrupted run's, both of length 1.
    """

    contrast: Float[Tensor, "example d_model"]

    def value(self, stream: Float[Tensor, "row read d_model"], examples: Int[Tensor, " row"]) -> Float[Tensor, " row"]:
        """The metric, in double precision on the CPU.

        Args:
            stream: the residual stream after the last block, at all real tokens.
            examples: the example of each row.

        Raises:
            UsageError: if it is NaN or infinite.
        """
        step = max(1, AT_ONCE // max(1, stream.shape[1] * stream.shape[2]))
        parts = []
        for rows in torch.arange(len(examples), device=stream.device).split(step):
            embedding = _embedding(self.program, stream[rows], self.present[examples[rows]])
            parts.append((embedding * self.contrast[examples[rows].cpu()]).sum(1))
        found = torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)
        if not bool(found.isfinite().all()):
            wrong = torch.zeros(len(self.pairs), dtype=torch.bool)
            wrong[examples.cpu()[~found.isfinite()]] = True
            given = f"metric {self.pairs.metric!r} of task {self.pairs.task!r}, NaN or infinite for {which(wrong)}"
            raise UsageError(given, "finite hidden states", "look at the model's weights, or load it in float32")
        return found


def _embedding(program: Program, stream: Tensor, present: Tensor) -> Tensor:
    """The mean last hidden state, of length 1, in double precision on the CPU."""
    real = program.norm(stream).float() * present[..., None]
    return functional.normalize(real.sum(1).cpu().double(), dim=1)


def _embedding_reader(program: Program, pairs: Pairs) -> EmbeddingReader:
    device = program.unembed.weight.device
    mask = pairs.mask.to(device)
    clean, corrupted = (
        _embedding(program, last_stream(program, tokens.to(device), mask), mask)
        for tokens in (pairs.tokens, pairs.corrupted)
    )
    return EmbeddingReader(
        program=program,
        pairs=pairs,
        columns=torch.zeros(0, dtype=torch.long, device=device),
        reads=torch.arange(mask.shape[1], device=device) * mask,
        present=mask,
        contrast=clean - corrupted,
    )


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
