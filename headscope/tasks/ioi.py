"""Indirect object identification: `When Mary and John went to the store, John gave a drink to` -> `Mary`."""

from itertools import product

import numpy as np

from headscope.contract import Task
from headscope.grammar import lexicon as lex
from headscope.prompts import Pairs
from headscope.tasks.words import Draft, Reader, build_pairs, pool, require_tokenizer

SOURCE = "Wang et al. 2022, 'Interpretability in the Wild' (arXiv 2211.00593), section 2; sentences of our own"
CORRUPTION = "three unrelated names (p_ABC): the sentence stays, who gives to whom is lost"
FRAMES = tuple(product(("When", "After", "While"), ("went to", "were in", "met in"), lex.GAVE, ("ABBA", "BABA")))


def build(model: Reader, *, n: int, rng: np.random.Generator) -> Pairs:
    """`n` prompts from 126 sentence frames, in both name orders; the indirect object is set against the subject.

    Args:
        model: whose tokenizer the prompts are made for.
        n: examples.
        rng: draws frames, names, places and gifts.

    Returns:
        Pairs with the positions `io`, `s1`, `s2` and `end`, grouped by frame.

    Raises:
        TaskError: if the tokenizer cannot write the names as single tokens.

    Example:
        >>> from types import SimpleNamespace
        >>> model = SimpleNamespace(name="ids", tokenizer=None, causal=True, max_length=32, vocabulary=50, encode=list)
        >>> build(model, n=4, rng=np.random.default_rng(0))
        Traceback (most recent call last):
        headscope.errors.TaskError: task 'ioi' on 'ids', which has no tokenizer
          expected: a model that reads words
          to fix it: load it with its tokenizer, choose --task induction, or give Pairs of token ids
    """
    require_tokenizer(model, "ioi")
    names = pool(model, [name.capitalize() for name in lex.NAMES], task="ioi", least=10)
    places = pool(
        model, ("store", "park", "school", "station", "office", "hotel", "museum", "house"), task="ioi", least=2
    )
    gifts = pool(model, ("drink", "book", "ring", "letter", "map", "gift", "picture", "ball"), task="ioi", least=2)
    order = rng.permutation(len(FRAMES))
    drafts = []
    for index in range(n):
        group = int(order[index % len(FRAMES)])
        chosen = [str(name) for name in rng.choice(names, 5, replace=False)]
        drafts.append(_draft(group, chosen, str(rng.choice(places)), str(rng.choice(gifts))))
    return build_pairs(model, drafts, task="ioi", source=SOURCE, corruption=CORRUPTION)


def _draft(group: int, names: list[str], place: str, gift: str) -> Draft:
    indirect, subject, *others = names
    opener, arrival, gave, kind = FRAMES[group]
    first, second = (indirect, subject) if kind == "ABBA" else (subject, indirect)

    def write(one: str, two: str, giver: str) -> str:
        return f"{opener} {one} and {two} {arrival} the {place}, {giver} {gave} the {gift} to"

    clean = write(first, second, subject)
    starts = {
        "first": len(opener) + 1,
        "second": len(f"{opener} {first} and "),
        "s2": clean.index(f", {subject} {gave}") + 2,
    }
    named = {"io": "first" if kind == "ABBA" else "second", "s1": "second" if kind == "ABBA" else "first", "s2": "s2"}
    places = {name: (starts[at], starts[at] + len(indirect if name == "io" else subject)) for name, at in named.items()}
    return Draft(clean=clean, corrupted=write(*others), answers=[indirect], foils=[subject], group=group, places=places)


IOI = Task(name="ioi", build=build, source=SOURCE, about="who receives? the name that was not repeated")
