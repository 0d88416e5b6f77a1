"""Facts given in context: `Ann likes pink. Tom likes blue. Mary likes red. Tom likes` -> `blue`."""

from functools import partial

import numpy as np

from headscope.contract import Task
from headscope.grammar import lexicon as lex
from headscope.prompts import Pairs
from headscope.tasks.words import Draft, Reader, build_pairs, compose, pool, require_tokenizer, unseen

SOURCE = (
    "Feng & Steinhardt 2024, 'How do Language Models Bind Entities in Context?' (arXiv 2310.17191), "
    "the question; sentences of our own"
)
CORRUPTION = "the values of the person who is asked for and of one other change places; all words stay"
ATTRIBUTES = {"likes": lex.COLOURS, "eats": lex.FOODS, "plays": lex.SPORTS, "drinks": lex.DRINKS}
PEOPLE = 4


def build(model: Reader, *, n: int, rng: np.random.Generator) -> Pairs:
    """`n` texts in which four people each have a value of one attribute, and one of them is asked for.

    The answer is that person's value and the foil another's; each is said once. In the twin those two values have
    changed places, so that the foil is right there. The person who is asked for and the foil's are drawn from all but
    the first, in either order: some tokenizers write a name that opens a text with another token than later on, and the
    value said last is the answer no more often than the foil.

    Args:
        model: whose tokenizer the prompts are made for.
        n: examples.
        rng: draws people, values and their order.

    Returns:
        Pairs with the positions `asked` (the first mention of the person asked for), `value` (the answer in the text),
        `other` (the foil there) and `end`, grouped by that person and the attribute.

    Raises:
        TaskError: if the tokenizer cannot write enough names and values as single tokens.

    Example:
        >>> from types import SimpleNamespace
        >>> model = SimpleNamespace(name="ids", tokenizer=None, causal=True, max_length=32, vocabulary=50, encode=list)
        >>> build(model, n=4, rng=np.random.default_rng(0))
        Traceback (most recent call last):
        headscope.errors.TaskError: task 'facts' on 'ids', which has no tokenizer
          expected: a model that reads words
          to fix it: load it with its tokenizer, choose --task induction, or give Pairs of token ids
    """
    require_tokenizer(model, "facts")
    names = pool(model, [name.capitalize() for name in lex.NAMES], task="facts", least=10)
    values = {verb: pool(model, words, task="facts", least=PEOPLE) for verb, words in ATTRIBUTES.items()}
    # All prompts are then of one length, also where a tokenizer splits some names at the start of a text.
    first = [name for name in names if len(model.tokenizer(name, add_special_tokens=False)["input_ids"]) == 1]
    groups = [(name, verb) for name in names for verb in ATTRIBUTES]
    drafts, seen = [], set()
    for group in np.resize(rng.permutation(len(groups)), n).tolist():
        asked, verb = groups[group]
        opener = str(rng.choice([name for name in first if name != asked] or [name for name in names if name != asked]))
        rest = [name for name in names if name not in (asked, opener)]
        draw = partial(_draft, rng, group, (opener, asked, *rest), (verb, *values[verb]))
        drafts.append(unseen(draw, seen))
    return build_pairs(model, drafts, task="facts", source=SOURCE, corruption=CORRUPTION)


def _draft(rng: np.random.Generator, group: int, people: tuple[str, ...], attribute: tuple[str, ...]) -> Draft:
    """One text: of people the first opens it, the second is asked for, and the others are drawn from the rest."""
    opener, asked, *rest = people
    verb, *candidates = attribute
    others = [asked, *(str(name) for name in rng.choice(rest, PEOPLE - 2, replace=False))]
    order = [opener, *(others[i] for i in rng.permutation(PEOPLE - 1))]
    values = dict(zip(order, (str(value) for value in rng.choice(candidates, PEOPLE, replace=False)), strict=True))
    other = others[1]
    twin = values | {asked: values[other], other: values[asked]}
    named = {asked: "value", other: "other"}
    clean, places = _text(order, values, verb, named)
    corrupted, _ = _text(order, twin, verb, named)
    answer, foil = values[asked], values[other]
    return Draft(clean=clean, corrupted=corrupted, answers=[answer], foils=[foil], group=group, places=places)


def _text(
    order: list[str], values: dict[str, str], verb: str, named: dict[str, str]
) -> tuple[str, dict[str, tuple[int, int]]]:
    """The text with its places; the first of `named`, which gives people's values a name, is asked for."""
    asked = next(iter(named))
    parts: list[str | tuple[str, str]] = []
    for name in order:
        parts += [("asked", name) if name == asked else name, f" {verb} "]
        parts += [(named[name], values[name]) if name in named else values[name], ". "]
    return compose(*parts, f"{asked} {verb}")


FACTS = Task(
    name="facts",
    build=build,
    source=SOURCE,
    about="facts given in the text: whose value is it?",
)
