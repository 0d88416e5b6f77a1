"""Capitals, which a model must have memorised: `The capital of France is` -> `Paris`."""

import numpy as np

from headscope.contract import Task
from headscope.grammar import lexicon as lex
from headscope.prompts import Pairs
from headscope.tasks.relations import CORRUPTION, SOURCE, Triple, build_relations
from headscope.tasks.words import Reader

TEMPLATES = tuple(
    opener + template
    for opener in ("", "Yes, ", "Today, ")
    for template in (
        f"{'t' if opener else 'T'}he capital of {{}} is",
        f"{'t' if opener else 'T'}he main city of {{}} is",
        f"{'i' if opener else 'I'}n {{}}, the capital is",
        f"{'t' if opener else 'T'}he people of {{}} live in",
    )
)
TRIPLES = tuple(
    Triple(subject=country.capitalize(), template=template, object=city.capitalize())
    for country, city in lex.CAPITALS.items()
    for template in TEMPLATES
)


def build(model: Reader, *, n: int, rng: np.random.Generator) -> Pairs:
    """`n` prompts about the capitals of 30 countries in 12 templates; the twin asks for another country's.

    See `headscope.tasks.relations.build_relations`. `people of {} live in` asks for the capital where a text about
    capitals is likely, and elsewhere for nothing in particular: the ability that is reported beside the effects says
    what the model makes of it.

    Args:
        model: whose tokenizer the prompts are made for.
        n: examples; up to 360 are different prompts, fewer where a tokenizer splits a capital's name.
        rng: draws countries, templates and twins.

    Returns:
        Pairs with the positions `subject` (the country) and `end`, grouped by country.

    Raises:
        TaskError: if the tokenizer cannot write two capitals as single tokens.

    Example:
        >>> from headscope.models import load
        >>> pairs = build(load("mini"), n=300, rng=np.random.default_rng(0))
        >>> len(set(pairs.texts)), len(pairs.groups.unique())
        (300, 30)
    """
    return build_relations(model, TRIPLES, n=n, rng=rng, task="capitals", source=f"{SOURCE}; facts of our own")


CAPITALS = Task(
    name="capitals",
    build=build,
    source=f"{SOURCE}; facts of our own",
    about="memorised facts: which city is this country's capital?",
)

__all__ = ["CAPITALS", "CORRUPTION", "build"]
