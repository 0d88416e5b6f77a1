"""A needle in a long text: `... The secret word of Tom is tea. ... The secret word of Tom is` -> `tea`."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

import numpy as np

from headscope.contract import Task
from headscope.errors import TaskError
from headscope.grammar import generate
from headscope.grammar import lexicon as lex
from headscope.prompts import Pairs
from headscope.tasks.words import Draft, Reader, build_pairs, compose, encode_prompt, pool, require_tokenizer, unseen

SOURCE = (
    "Wu et al. 2024, 'Retrieval Head Mechanistically Explains Long-Context Factuality' (arXiv 2404.15574), the idea; "
    "needles of one word and sentences of our own"
)
CORRUPTION = "the values of the needle that is asked for and of one other change places; all words stay"
NEEDLES = {"The secret word of {} is": (*lex.COLOURS, *lex.DRINKS), "{} likes": tuple(lex.COLOURS)}
"""How a needle begins, and its values; the first whose words the tokenizer has is taken."""
FAMILIES = ("clauses", "facts_world")
LONGEST = 400
DISTRACTORS = 3
FILLERS = 150


@dataclass(frozen=True, slots=True)
class _Stock:
    """What prompts are made of: how a needle begins, names, values, filler sentences and their lengths."""

    form: str
    names: list[str]
    values: list[str]
    fillers: list[str]
    lengths: list[int]


def build(model: Reader, *, n: int, rng: np.random.Generator, length: int | None = None) -> Pairs:
    """`n` texts of about `length` tokens: a needle and others of its kind among unrelated sentences.

    The needles are sentences of one form, with different names and values, at random depths (never first); the
    sentences between them are ordinary ones from `headscope.grammar`, without the values. The text ends with one
    needle's beginning. The answer is its value, and the foil another needle's; each is said once. In the twin these
    two values have changed places. There are three other needles, fewer where they would fill more than half of the
    text.

    Args:
        model: whose tokenizer the prompts are made for.
        n: examples.
        rng: draws names, values, depths and sentences.
        length: tokens of a prompt, special ones included; prompts are at most so long, and shorter by less than one
            sentence. Half of the model's context, but not more than 400, where left out: the last positions of a
            context are often rare in training (the bundled model does the task up to 80 tokens, and not at 128).

    Returns:
        Pairs with the positions `asked` (the name in the needle), `value` (the answer there), `other` (the foil in its
        needle) and `end`, grouped by the name that is asked for.

    Raises:
        TaskError: if the length is above the model's context or too short for two needles, or if the tokenizer cannot
            write enough names and values as single tokens.

    Example:
        >>> from headscope.models import load
        >>> pairs = build(load("mini"), n=8, rng=np.random.default_rng(0), length=60)
        >>> bool((pairs.mask.sum(1) > 45).all() and (pairs.mask.sum(1) <= 60).all())
        True
    """
    require_tokenizer(model, "retrieval")
    stock = _stock(model, rng)
    needle = max(len(encode_prompt(model, stock.form.format(name))[0]) for name in stock.names) + 2
    shortest = 3 * needle + max(stock.lengths)
    room = min(LONGEST, max(shortest, model.max_length // 2)) if length is None else length
    if not shortest <= room <= model.max_length:
        raise TaskError(
            f"task 'retrieval' on {model.name!r}: prompts of {room} tokens, context {model.max_length}",
            f"at least {shortest} tokens, for two needles, a question and a sentence, and at most the context",
            "give another length, or choose a task with shorter prompts",
        )
    others = int(min(DISTRACTORS, max(1, room // (2 * needle) - 2)))
    drafts, seen = [], set()
    for group in np.resize(rng.permutation(len(stock.names)), n).tolist():
        drafts.append(unseen(partial(_draft, model, stock, rng, (group, others, room)), seen))
    return build_pairs(model, drafts, task="retrieval", source=SOURCE, corruption=CORRUPTION)


def _stock(model: Reader, rng: np.random.Generator) -> _Stock:
    unknown = model.tokenizer.unk_token_id
    known = [form for form in NEEDLES if unknown is None or unknown not in _ids(model, form.format("the"))]
    form = known[0] if known else next(iter(NEEDLES))
    names = pool(model, [name.capitalize() for name in lex.NAMES], task="retrieval", least=10)
    values = pool(model, NEEDLES[form], task="retrieval", least=DISTRACTORS + 1)
    random = Random(int(rng.integers(2**62)))
    unwanted = {*NEEDLES[form], *lex.NAMES, "likes"}
    fillers: list[str] = []
    while len(fillers) < FILLERS:
        document = generate(FAMILIES[len(fillers) % 2], random)
        if document.text not in fillers and not {word.form for word in document.words} & unwanted:
            fillers.append(document.text)
    lengths = [max(len(_ids(model, filler)), len(_ids(model, f" {filler}"))) for filler in fillers]
    return _Stock(form, names, values, fillers, lengths)


def _ids(model: Reader, text: str) -> list[int]:
    return model.tokenizer(text, add_special_tokens=False)["input_ids"]


def _draft(model: Reader, stock: _Stock, rng: np.random.Generator, form: tuple[int, int, int]) -> Draft:
    """One text, for the number of the name that is asked for, of the other needles, and of the tokens it may have."""
    group, others, room = form
    asked = stock.names[group]
    names = [asked, *rng.choice([name for name in stock.names if name != asked], others, replace=False).tolist()]
    values = rng.choice(stock.values, others + 1, replace=False).tolist()
    order = rng.permutation(others + 1).tolist()
    left = room - len(encode_prompt(model, _text(stock.form, names, values, order)[0])[0])
    chosen: list[str] = []
    for index in rng.permutation(len(stock.fillers)).tolist():
        if stock.lengths[index] <= left:
            chosen.append(stock.fillers[index])
            left -= stock.lengths[index]
    depths = rng.integers(len(chosen), size=others + 1)
    sentences: list[str | int] = []
    for depth, filler in enumerate(chosen):
        sentences += [filler, *(needle for needle in order if depths[needle] == depth)]
    clean, places = _text(stock.form, names, values, sentences)
    corrupted, _ = _text(stock.form, names, [values[1], values[0], *values[2:]], sentences)
    return Draft(
        clean=clean, corrupted=corrupted, answers=[values[0]], foils=[values[1]], group=group, places=places
    )  # fmt: skip


def _text(
    form: str, names: list[str], values: list[str], sentences: Sequence[str | int]
) -> tuple[str, dict[str, tuple[int, int]]]:
    """Sentences, and needles by number, with the beginning of needle 0 once more at the end."""
    before, after = form.split("{}")
    parts: list[str | tuple[str, str]] = []
    for sentence in sentences:
        if isinstance(sentence, str):
            parts.append(f"{sentence} ")
            continue
        name, value = names[sentence], values[sentence]
        parts += [before, ("asked", name) if sentence == 0 else name, f"{after} "]
        parts += [({0: "value", 1: "other"}[sentence], value) if sentence < 2 else value, ". "]
    return compose(*parts, form.format(names[0]))


RETRIEVAL = Task(
    name="retrieval",
    build=build,
    source=SOURCE,
    about="a needle in a long text: which word was it?",
)
