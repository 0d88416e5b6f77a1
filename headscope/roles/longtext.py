"""Token-level roles read off one long natural text, such as a chapter of a book."""

from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from headscope.errors import ModelError, UsageError
from headscope.frames import check_plain
from headscope.models import Model
from headscope.models.streaming import COPIES, MEMORY, stream
from headscope.prompts import Prompts, pad
from headscope.roles.lexical import duplicate_family, induction_family
from headscope.roles.positional import positional_family, sink_family
from headscope.roles.queries import UNIFORM, Expected, Family, evidence_of
from headscope.roles.records import Evidence
from headscope.roles.scope import Marks, marks_of, scope_of

BLOCK = 256
"""Queries that make one instance."""

LEAST = 64
"""Tokens that a text must have, and the last window to be read; the model's context where that is shorter."""

LARGEST = 2**28
"""Bytes of the largest text file that is read."""

_AT_ONCE = 16


class LongText(NamedTuple):
    """What was found.

    Attributes:
        evidence: of the roles positional, sink, duplicate and induction.
        tokens: how many tokens the text has, without special ones.
        windows: how many pieces it was read in.
        left: tokens after the last whole window that were too few to be read.
    """

    evidence: list[Evidence]
    tokens: int
    windows: int
    left: int


def long_text_evidence(model: Model, source: Path | str, *, memory: int = MEMORY) -> LongText:
    """Where heads look in one long text: offsets, the first token, copies and what followed them.

    The text is read in windows as long as the model's context, each with the model's special tokens. An instance is a
    block of 256 queries, its value their mean; the blocks of one window are a group. Cases are those of
    `positional_reader` and `sink_reader`, and `natural text` of `duplicate_reader` and `induction_reader`: what counts,
    and the baseline, is explained there. What is within a layer's window of local attention is not held against it:
    baselines are of all keys before the query.

    Args:
        model: with a tokenizer.
        source: a `Path` of a file in UTF-8, or the text itself.
        memory: bytes for attention patterns; see `headscope.models.streaming.stream`.

    Returns:
        Evidence and how the text was cut. Cost: one forward pass over the text; the [query, key] square of a window is
        never held where the model can be run part by part.

    Raises:
        UsageError: if the file cannot be read, is not UTF-8, or has fewer than 64 tokens.
        ModelError: if the model has no tokenizer.

    Example:
        >>> from headscope.models import load
        >>> found = long_text_evidence(load("mini"), "The teacher sees Tom and Tom likes the teacher. " * 30)
        >>> found.tokens, found.windows, found.left, {each.role for each in found.evidence if not each.reason}
        (300, 2, 46, {...})
    """
    windows, tokens, left = _windows(model, text_of(source))
    marks = marks_of(model)
    families = [positional_family(causal=model.causal), sink_family(), duplicate_family(), induction_family()]
    square = COPIES * 4 * model.grid.heads * model.max_length**2
    parts = []
    for rows in torch.arange(len(windows)).split(max(1, min(_AT_ONCE, memory // square))):
        parts.append(_blocks(model, windows.select(rows), families, marks, memory=memory))
    groups = torch.cat([part.groups for part in parts])
    evidence = [
        evidence_of(
            family, case, torch.cat([part.values[family.role, case] for part in parts]), groups,
            {UNIFORM: torch.cat([part.uniform[family.role, case] for part in parts])},
        )
        for family in families
        for case in [name for role, name in parts[0].values if role == family.role]
    ]  # fmt: skip
    return LongText(evidence, tokens, len(windows), left)


class _Part(NamedTuple):
    values: dict[tuple[str, str], Tensor]
    uniform: dict[tuple[str, str], Tensor]
    groups: Tensor


def _blocks(model: Model, windows: Prompts, families: list[Family], marks: Marks, *, memory: int) -> _Part:
    """Every case's value in each block, from one pass over some windows."""
    width, layers = windows.tokens.shape[1], model.grid.layers
    held: dict[tuple[str, str], Tensor] = {}
    expected: dict[tuple[str, str], list[Expected]] = {}
    for layer, start, weights in stream(model, windows.tokens, windows.mask, memory=memory):
        scope = scope_of(windows, marks=marks, causal=model.causal, start=start, stop=start + weights.shape[2])
        for family in families:
            if layer == 0:
                for case, each in family.expect(scope).items():
                    expected.setdefault((family.role, case), []).append(each)
            for case, values in family.read(weights.cpu(), scope).items():
                new = torch.empty(layers, *weights.shape[:2], width)
                held.setdefault((family.role, case), new)[layer, ..., scope.start : scope.stop] = values
    return _summed(held, expected, {family.role: family.least for family in families}, windows)


def _summed(
    held: dict[tuple[str, str], Float[Tensor, "layer example head query"]],
    expected: dict[tuple[str, str], list[Expected]],
    least: dict[str, int],
    windows: Prompts,
) -> _Part:
    values, uniform = {}, {}
    for key, each in held.items():
        counted = torch.cat([piece.counted for piece in expected[key]], dim=1)
        even = torch.cat([piece.uniform for piece in expected[key]], dim=1)
        values[key] = _means(each, counted, least[key[0]]).permute(1, 3, 0, 2).flatten(0, 1)
        uniform[key] = _means(even, counted, least[key[0]]).flatten()
    blocks = -(-windows.tokens.shape[1] // BLOCK)
    return _Part(values, uniform, windows.groups.repeat_interleave(blocks))


def _means(
    values: Float[Tensor, "*more query"], counted: Bool[Tensor, "example query"], least: int
) -> Float[Tensor, "*more block"]:
    """Means over the queries of each block that count; NaN where there are fewer than `least`."""
    if values.dim() == 4:
        counted = counted[:, None]
    number = torch.stack([part.sum(-1) for part in counted.split(BLOCK, -1)], -1)
    total = torch.stack([part.sum(-1) for part in torch.where(counted, values, 0.0).split(BLOCK, -1)], -1)
    return torch.where(number >= least, total / number.clamp(min=1), torch.nan)


def text_of(source: Path | str) -> str:
    """The long text.

    Args:
        source: a `Path` of a file in UTF-8, or the text itself.

    Raises:
        UsageError: if the file cannot be read, or is not UTF-8.

    Example:
        >>> text_of("The teacher sees Tom.")
        'The teacher sees Tom.'
    """
    if isinstance(source, str):
        return source
    try:
        check_plain(source, most=LARGEST)
        return source.read_text(encoding="utf-8")
    except UnicodeDecodeError as problem:
        given = f"file {str(source)!r}, which is not UTF-8 (byte {problem.start})"
        raise UsageError(given, "a text file in UTF-8", "save it as UTF-8 and try again") from None
    except OSError as problem:
        given = f"file {str(source)!r}, which cannot be read ({problem.strerror})"
        raise UsageError(given, "a text file in UTF-8", "check the path") from None
    except ValueError as problem:
        expected = f"a plain text file of at most {LARGEST:,} bytes"
        fix = "give a part of the text" if source.is_file() else "check the path"
        raise UsageError(f"file {str(source)!r}: {problem}", expected, fix) from None


def _windows(model: Model, text: str) -> tuple[Prompts, int, int]:
    """The text in pieces of the model's context, how many tokens it has, and how many were left over."""
    if model.tokenizer is None:
        given = f"a long text for model {model.name!r}, which has no tokenizer"
        raise ModelError(given, "a model that reads text", "load the model with tokenizer=..., or leave the text out")
    frame = model.identity["tokenizer"]
    before, after = list(frame["prefix"]), list(frame["suffix"])
    ids = model.encode(text)
    ids = ids[len(before) : len(ids) - len(after)]
    size = model.max_length - len(before) - len(after)
    shortest = min(LEAST, size)
    if len(ids) < shortest:
        raise UsageError(
            f"a text of {len(ids)} token{'' if len(ids) == 1 else 's'}",
            f"at least {shortest} tokens, and better some thousands",
            "give a longer text, or the path of its file as a pathlib.Path",
        )
    pieces = [ids[start : start + size] for start in range(0, len(ids), size)]
    left = len(pieces.pop()) if len(pieces[-1]) < shortest else 0
    tokens, mask = pad([[*before, *piece, *after] for piece in pieces], 0)
    return Prompts(task="long text", tokens=tokens, mask=mask, groups=torch.arange(len(pieces))), len(ids), left
