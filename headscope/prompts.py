"""What methods are given: frozen, tokenised prompts with named positions and groups."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TypeVar

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from headscope.errors import UsageError

Chosen = TypeVar("Chosen", bound="Prompts")  # typing.Self cannot be checked at run time, method by method

ABSENT = -1
"""The position of something that an example does not have, and the padding of answer sets."""

EMBEDDING_CONTRAST = "embedding_contrast"
"""The metric that reads the hidden states of all tokens, and no logits."""

LOG_PROBABILITY = "log_probability"
"""The metric under which `answers` are the consecutive tokens of one answer, not a set of single tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """Right-padded token ids with what a method may need to know of them.

    `right_pad` turns left-padded arrays into such.

    Attributes:
        task: the task that made them.
        tokens: token ids; padding is at the right.
        mask: True where a token is real.
        groups: examples with equal numbers belong together (same template, same sentence) and are
            resampled together by the bootstrap.
        positions: named token positions, one per example; `ABSENT` where an example has none.
            `end` is where the metric reads: the last token for decoders.
        texts: the prompts as text, for people.
        source: the paper or procedure that the task follows.
        notes: what people must know to read the task's numbers; shown wherever the task is.

    Raises:
        UsageError: if shapes do not fit, or prompts are empty or not right-padded.
    """

    task: str
    tokens: Int[Tensor, "example position"]
    mask: Bool[Tensor, "example position"]
    groups: Int[Tensor, " example"]
    positions: Mapping[str, Int[Tensor, " example"]] = field(default_factory=dict)
    texts: tuple[str, ...] = ()
    source: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_form(self)

    def __len__(self) -> int:
        return self.tokens.shape[0]

    @property
    def end(self) -> Int[Tensor, " example"]:
        """Where the metric reads first."""
        return self.place("end")

    def place(self, name: str) -> Int[Tensor, " example"]:
        """A named position, one for each example.

        Args:
            name: as the task calls it.

        Raises:
            UsageError: if the task has no such position.

        Example:
            >>> tokens, mask = pad([[1, 2, 3], [4]], filler=0)
            >>> last = {"end": torch.tensor([2, 0])}
            >>> Prompts(task="t", tokens=tokens, mask=mask, groups=torch.arange(2), positions=last).place("ned")
            Traceback (most recent call last):
            headscope.errors.UsageError: position 'ned' of task 't'
              expected: one of: end
              to fix it: did you mean 'end'?
        """
        if name not in self.positions:
            near = difflib.get_close_matches(name, self.positions, 1, cutoff=0.4)
            raise UsageError(
                f"position {name!r} of task {self.task!r}",
                f"one of: {', '.join(self.positions) or 'none, for it names no position'}",
                f"did you mean {near[0]!r}?" if near else "name a position that the task has, or choose another task",
            )
        return self.positions[name]

    def select(self: Chosen, index: Int[Tensor, " chosen"]) -> Chosen:
        """The examples at `index`, in that order; columns that are padding in all of them are dropped.

        Args:
            index: which examples; one may be asked for several times.

        Example:
            >>> tokens, mask = pad([[1, 2, 3], [4]], filler=0)
            >>> Prompts(task="t", tokens=tokens, mask=mask, groups=torch.arange(2)).select(torch.tensor([1])).tokens
            tensor([[4]])
        """
        width = int(self.mask[index].sum(1).max()) if len(index) else self.tokens.shape[1]
        chosen = object.__new__(type(self))  # a part of sound prompts is sound: to check it would cost every batch
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, Tensor):
                value = value[index, :width] if item.name in {"tokens", "mask", "corrupted"} else value[index]
            elif item.name == "texts" and value:
                value = tuple(value[i] for i in index.tolist())
            elif item.name == "positions":
                value = {name: place[index] for name, place in value.items()}
            object.__setattr__(chosen, item.name, value)
        return chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs(Prompts):
    """Clean prompts with a corrupted twin of equal length, and the answers that the metric compares.

    Attributes:
        corrupted: the twin's token ids, under the same mask.
        answers: right next tokens after the clean prompt, padded with `ABSENT`. Under the metric `log_probability` they
            are the consecutive tokens of one answer instead, and prompt and twin hold all of them but the last after
            `end`, so that each is read given those before it.
        foils: the wrong next tokens that the metric sets against them, padded with `ABSENT`.
        corruption: what the twin changes, in words.
        metric: the name of the task's own metric (see `headscope.metrics`), or a function
            `(logits [example, vocabulary], pairs) -> [example]`.

    Raises:
        UsageError: as for `Prompts`, or if prompts do not go on with the answer that `log_probability` reads.
    """

    corrupted: Int[Tensor, "example position"]
    answers: Int[Tensor, "example answer"]
    foils: Int[Tensor, "example foil"]
    corruption: str = ""
    metric: str | Callable[..., Tensor] = "logit_difference"

    def __post_init__(self) -> None:
        _check_form(self)
        if self.metric == LOG_PROBABILITY and self.answers.shape[1] > 1:
            _check_continued(self)

    @property
    def reads(self) -> Int[Tensor, "example read"]:
        """The positions at which the metric reads, padded with `ABSENT`.

        They are `end`, and under `log_probability` one more for each further token of the answer: the logits at read
        `j` say how likely `answers[:, j]` is. Under `embedding_contrast` they are all real tokens.
        """
        if self.metric == EMBEDDING_CONTRAST:
            return torch.where(self.mask, torch.arange(self.mask.shape[1], device=self.mask.device), ABSENT)
        if self.metric != LOG_PROBABILITY:
            return self.end[:, None]
        steps = torch.arange(self.answers.shape[1], device=self.end.device)
        return torch.where(self.answers == ABSENT, ABSENT, self.end[:, None] + steps)

    @property
    def first_difference(self) -> Int[Tensor, " example"]:
        """The first position at which the twins differ; the prompt's width where they are equal."""
        differs = (self.tokens != self.corrupted) & self.mask
        return torch.where(differs.any(1), differs.int().argmax(1), self.tokens.shape[1])


def pad(
    rows: Sequence[Sequence[int]], filler: int
) -> tuple[Int[Tensor, "example position"], Bool[Tensor, "example position"]]:
    """Rows of token ids as one right-padded array with its mask, which is True where a token is real.

    Args:
        rows: token ids, of any lengths.
        filler: the id that padding gets; nothing reads it.

    Example:
        >>> pad([[1, 2, 3], [4]], filler=0)[0].tolist()
        [[1, 2, 3], [4, 0, 0]]
    """
    width = max((len(row) for row in rows), default=0)
    tokens = torch.full((len(rows), width), filler, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.bool)
    for index, row in enumerate(rows):
        tokens[index, : len(row)] = torch.tensor(row, dtype=torch.long)
        mask[index, : len(row)] = True
    return tokens, mask


def right_pad(
    tokens: Int[Tensor, "example position"],
    mask: Bool[Tensor, "example position"],
    positions: Mapping[str, Int[Tensor, " example"]] | None = None,
) -> tuple[Int[Tensor, "example width"], Bool[Tensor, "example width"], dict[str, Int[Tensor, " example"]]]:
    """Token ids padded on any side as right-padded ones, with their mask and positions moved along.

    Columns that are padding in all examples are dropped. Twins go the same way, under the same mask.

    Args:
        tokens: token ids; each row's real tokens stand side by side, with padding before or after them or both.
        mask: True where a token is real.
        positions: named positions in these rows; `ABSENT` stays as it is.

    Returns:
        Tokens, mask and positions.

    Raises:
        UsageError: if a row has no real token or padding between them, or a position is not at a real token.

    Example:
        >>> tokens = torch.tensor([[0, 0, 5, 6], [0, 7, 8, 9]])
        >>> moved, mask, positions = right_pad(tokens, tokens > 0, {"end": torch.tensor([3, 3])})
        >>> moved.tolist(), positions["end"].tolist()
        ([[5, 6, 0], [7, 8, 9]], [1, 2])
    """
    if mask.shape != tokens.shape:
        raise UsageError(
            f"tokens {tuple(tokens.shape)} and a mask {tuple(mask.shape)}",
            "both of one shape, [example, position]",
            "give the mask that belongs to the tokens",
        )
    begins = mask.clone()
    begins[:, 1:] &= ~mask[:, :-1]
    blocks = begins.sum(1)
    if bool((blocks != 1).any()):
        raise UsageError(
            f"a mask whose real tokens are not one block (in {which(blocks != 1)})",
            "in every row real tokens side by side, with padding only before or after them",
            "leave padding inside a prompt and empty prompts out",
        )
    start, lengths = mask.int().argmax(1), mask.sum(1)
    columns = torch.arange(int(lengths.max()) if len(lengths) else 0, device=tokens.device)
    source = (start[:, None] + columns) % max(1, tokens.shape[1])
    moved = {}
    for name, place in (positions or {}).items():
        moved[name] = torch.where(place == ABSENT, ABSENT, place - start)
        outside = (place != ABSENT) & ((moved[name] < 0) | (moved[name] >= lengths))
        if bool(outside.any()):
            raise UsageError(
                f"position {name!r} at padding (in {which(outside)})",
                f"columns of real tokens, or {ABSENT} where an example has none",
                "give positions as columns of the tokens before they are moved",
            )
    return tokens.gather(1, source), columns < lengths[:, None], moved


def which(chosen: Bool[Tensor, " example"]) -> str:
    """The numbers of the examples that are True, for messages; the first five by name.

    Args:
        chosen: one flag per example.

    Example:
        >>> which(torch.tensor([False, True])), which(torch.ones(8) > 0)
        ('example 1', 'examples 0, 1, 2, 3, 4 and 3 more')
    """
    numbers = chosen.nonzero()[:, 0].tolist()
    shown = ", ".join(str(number) for number in numbers[:5])
    more = f" and {len(numbers) - 5} more" if len(numbers) > 5 else ""
    return f"example{'s' if len(numbers) > 1 else ''} {shown}{more}"


def _check_form(prompts: Prompts) -> None:
    if not _fits(prompts):
        names = [item.name for item in fields(prompts) if isinstance(getattr(prompts, item.name), Tensor)]
        shapes = {name: tuple(getattr(prompts, name).shape) for name in names}
        shapes |= {f"position {name!r}": tuple(place.shape) for name, place in prompts.positions.items()}
        raise UsageError(
            f"prompts of task {prompts.task!r} that do not fit together: "
            f"{', '.join(f'{name} {shape}' for name, shape in shapes.items())}; a mask of {prompts.mask.dtype}",
            "tokens, mask (torch.bool) and corrupted of one shape [example, position]; for every example one group, "
            "one number in each position, and one row of answers and of foils",
            "make tokens and mask with headscope.prompts.pad, and give every array one entry for each prompt",
        )
    mask = prompts.mask
    late = mask[:, 1:] & ~mask[:, :-1]
    if bool(late.any()):
        raise UsageError(
            f"prompts of task {prompts.task!r} that are not right-padded ({which(late.any(1))})",
            "real tokens first, padding after them",
            "move them with headscope.prompts.right_pad(tokens, mask, positions)",
        )
    if not bool(mask.any(1).all()):
        raise UsageError(
            f"prompts of task {prompts.task!r} without a token ({which(~mask.any(1))})",
            "at least one real token in every prompt",
            "leave empty prompts out",
        )


def _fits(prompts: Prompts) -> bool:
    shape = prompts.tokens.shape
    fits = len(shape) == 2 and prompts.mask.shape == shape and prompts.mask.dtype == torch.bool
    fits = fits and all(each.shape == shape[:1] for each in (prompts.groups, *prompts.positions.values()))
    if isinstance(prompts, Pairs):
        fits = fits and prompts.corrupted.shape == shape
        fits = fits and all(sets.ndim == 2 and len(sets) == shape[0] for sets in (prompts.answers, prompts.foils))
    return fits


def _check_continued(pairs: Pairs) -> None:
    present = pairs.answers != ABSENT
    sound = present[:, 0] & ~(present[:, 1:] & ~present[:, :-1]).any(1)
    places, needed = pairs.reads[:, 1:], present[:, 1:]
    inside = (places >= 0) & (places < pairs.mask.sum(1, keepdim=True))
    for tokens in (pairs.tokens, pairs.corrupted):
        found = tokens.gather(1, places.clamp(0, tokens.shape[1] - 1))
        sound = sound & (~needed | (inside & (found == pairs.answers[:, :-1]))).all(1)
    if not bool(sound.all()):
        raise UsageError(
            f"pairs of task {pairs.task!r} under the metric {LOG_PROBABILITY!r}, whose prompts do not go on with their "
            f"answers ({which(~sound)})",
            "after 'end', clean and corrupted prompts that hold every token of the answer but its last",
            "make such pairs with headscope.pairs, or take another metric for a set of answers",
        )
