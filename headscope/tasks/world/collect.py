"""From held-out documents of the bundled model's world to Pairs, for any tokenizer that can write them."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from operator import ne
from random import Random

import numpy as np

from headscope.errors import TaskError
from headscope.grammar import Document
from headscope.grammar.splits import draw
from headscope.prompts import ABSENT, Pairs
from headscope.tasks.words import Draft, Reader, build_pairs, encode_prompt, require_tokenizer
from headscope.tasks.world.sketch import Sketch, written

PATIENCE = 100
"""Held-out documents in a row without a new pair after which prompts may come twice, and then pairs."""

_WORN_OUT = 2
"""How often that may happen before the family is given up: at 1 prompts come again, at 2 pairs do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """How one kind of text becomes a task.

    Attributes:
        name: a key of `headscope.grammar.FAMILIES`.
        twins: from a document to the cuts and twins that it offers, in the order of preference; maybe none.
        corruption: what the twins change.
        source: the paper whose question the texts ask.
    """

    name: str
    twins: Callable[[Document, Random], list[Sketch]]
    corruption: str
    source: str

    @property
    def task(self) -> str:
        """What its task is called."""
        return f"mini-{self.name.replace('_', '-')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """The pairs of one task while they are collected.

    Attributes:
        model: whose tokenizer must write them.
        drafts: those accepted.
        groups: what an example is about -> the number of its group.
        seen: the prompts so far, and the pairs of prompt and twin.
        misfits: why others could not be written.
        tokens: continuation -> its token, or `ABSENT`.
    """

    model: Reader
    drafts: list[Draft] = field(default_factory=list)
    groups: dict[tuple[str, ...], int] = field(default_factory=dict)
    seen: set[str | tuple[str, str]] = field(default_factory=set)
    misfits: Counter[str] = field(default_factory=Counter)
    tokens: dict[str, int] = field(default_factory=dict)


def _take(work: _Work, sketches: Sequence[Sketch], *, worn: int) -> bool:
    """Accept the first of a document's twins that is new and fits; held-out twins come before others."""
    for sketch in sorted(sketches, key=lambda each: each.part != "test"):
        group = work.groups.get(key := (sketch.document.kind, *sketch.content), len(work.groups))
        draft = written(sketch, group)
        pair = (draft.clean, draft.corrupted)
        if (worn == 0 and draft.clean in work.seen) or (worn == 1 and pair in work.seen):
            continue
        ids = [_token(work, str(word)) for word in (*draft.answers, *draft.foils)]
        if reason := _misfit(work.model, draft, ids, exchanged=sketch.exchanged):
            work.misfits[reason] += 1
            continue
        work.drafts.append(replace(draft, answers=ids[:1], foils=ids[1:]))
        work.groups[key] = group
        work.seen.update((draft.clean, pair))
        return True
    return False


def _token(work: _Work, continuation: str) -> int:
    """The one token that a word after another word is, or `ABSENT`."""
    if continuation not in work.tokens:
        read = work.model.tokenizer
        before, both = (read(text, add_special_tokens=False)["input_ids"] for text in ("a", f"a{continuation}"))
        fits = both[:-1] == before and both[-1] != read.unk_token_id
        work.tokens[continuation] = both[-1] if fits else ABSENT
    return work.tokens[continuation]


def _misfit(model: Reader, draft: Draft, ids: Sequence[int], *, exchanged: int) -> str:
    """Why this tokenizer cannot write a pair whose prompts differ in so many words; empty if it can."""
    if ABSENT in ids or ids[0] == ids[1]:
        return "an answer that is not a token of its own"
    clean, twin = (encode_prompt(model, text)[0] for text in (draft.clean, draft.corrupted))
    unknown = model.tokenizer.unk_token_id
    if unknown not in (None, model.tokenizer.bos_token_id) and unknown in clean + twin:
        return "a word that it does not know"
    if len(clean) > model.max_length:
        return f"a prompt of more than {model.max_length} tokens"
    if len(clean) != len(twin):
        return "twins of unequal length"
    return "" if sum(map(ne, clean, twin)) == exchanged else "an exchanged word of several tokens"


def build(family: Family, model: Reader, *, n: int, rng: np.random.Generator) -> Pairs:
    """`n` prompts from documents of the bundled model's `test` split, each cut before a determined word.

    The twin is a text of the same grammar, in which another word is determined, the foil. Where a document offers
    several twins, those come first whose whole text is held out too; most twins are not.

    No prompt comes twice while there are others. `facts_world` has 32 in the whole split, so that each meets several
    twins; the pairs say so in their notes. What is held out are whole documents: a short prompt may also be the
    beginning of a training text that goes on in another way.

    Args:
        family: what kind of text.
        model: whose tokenizer the prompts are made for.
        n: examples.
        rng: draws documents, cuts and twins.

    Returns:
        Pairs with the metric `logit_difference`, positions at the words that matter, and one group for each kind of
        text and word that the answer depends on. Cost: 20-60 texts are generated for each example, 2-15 ms.

    Raises:
        TaskError: if there is no tokenizer, or it cannot write the words.

    Example:
        >>> from types import SimpleNamespace
        >>> from headscope.tasks import TASKS
        >>> model = SimpleNamespace(name="ids", tokenizer=None, causal=True, max_length=32, vocabulary=50, encode=list)
        >>> TASKS["mini-ioi"].build(model, n=4, rng=np.random.default_rng(0))
        Traceback (most recent call last):
        headscope.errors.TaskError: task 'mini-ioi' on 'ids', which has no tokenizer
          expected: a model that reads words
          to fix it: load it with its tokenizer, choose --task induction, or give Pairs of token ids
    """
    require_tokenizer(model, family.task)
    source, work = Random(int(rng.integers(2**62))), _Work(model=model)
    worn = waited = 0
    while len(work.drafts) < n:
        if _take(work, family.twins(draw(family.name, "test", source), source), worn=worn):
            waited = 0
            continue
        waited += 1
        if waited == PATIENCE:
            worn, waited = worn + 1, 0
            if worn > _WORN_OUT or not work.drafts:
                raise _refusal(family, work)
    pairs = build_pairs(model, work.drafts, task=family.task, source=family.source, corruption=family.corruption)
    different = len({draft.clean for draft in work.drafts})
    note = f"{different} different prompts in {n} examples: few of the held-out part can be written"
    return pairs if different == n else replace(pairs, notes=(note,))


def _refusal(family: Family, work: _Work) -> TaskError:
    reasons = "; ".join(f"{count} times {reason}" for reason, count in work.misfits.most_common())
    return TaskError(
        f"task {family.task!r} with the tokenizer of {work.model.name!r}: it can write none of {PATIENCE} held-out "
        f"texts of mini's world ({reasons})",
        "a tokenizer that writes plain English words as single tokens, and a context that is long enough",
        "leave this task out with --task, or take mini, whose words these are",
    )
