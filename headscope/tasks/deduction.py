"""Deduction from facts and rules: `Facts: kind. If tall then wise. If kind then brave. ... kind so` -> `brave`."""

from functools import partial
from itertools import pairwise

import numpy as np

from headscope.contract import Task
from headscope.errors import TaskError
from headscope.grammar import lexicon as lex
from headscope.prompts import Pairs
from headscope.tasks.words import Draft, Reader, build_pairs, compose, pool, require_tokenizer, unseen

SOURCE = (
    "Nguyen et al. 2026, 'Revealing Algorithmic Deductive Circuits for Logical Reasoning' (arXiv 2605.27824), "
    "section 3, the corruptions; facts, rules and chains of our own, in the bundled model's form"
)
CORRUPTIONS = {
    "deduction": "rules: the conclusions of the last rule that applies and of one that does not change places",
    "deduction-facts": "facts: another starting fact, in the list and in the chain, so that other rules apply",
    "deduction-premise": "facts: another starting fact in the list, before a chain that has not begun",
}
SPARE = 2
"""Rules that neither chain uses; the conclusion of the first is what the question asks for."""


def build(model: Reader, *, n: int, rng: np.random.Generator, task: str = "deduction", hops: int = 1) -> Pairs:
    """`n` lists of one fact and shuffled rules about adjectives, and a chain that begins at the fact.

    There are two chains of `hops` rules, of which the fact starts one, and two rules of no use. The question is about
    the conclusion of a rule of no use, so that neither answer nor foil stands out. Three tasks:

    - `deduction`: the chain has come to its last premise; the answer is that rule's conclusion and the foil the other
      chain's last one. The twin exchanges those two words in the rules.
    - `deduction-facts`: the same question; the twin has the other chain's starting fact, and says the steps of that
      chain. Rules, and what does not depend on the fact, stay.
    - `deduction-premise`: the chain is still to begin; the answer is the starting fact and the foil the other chain's
      premise. The twin has the other fact in the list (`Read Fact` and `Select Premise`, corruption 1 of the source).

    Twins have equal tokens everywhere else. Answer and foil are said equally often, except that a fact is said once
    more, in the list of facts, which is what `deduction-premise` asks for.

    Args:
        model: whose tokenizer the prompts are made for.
        n: examples.
        rng: draws words and the order of rules.
        task: a key of `CORRUPTIONS`.
        hops: steps from the fact to the answer, 1 to 3; `deduction-premise` asks for none, but its rules have as many.

    Returns:
        Pairs with the positions `fact` (in the list), `premise` and `conclusion` (of the rule that gives the answer),
        `other` (the foil in the rules), `chain` (the last premise said in the chain) and `end`, grouped by the starting
        fact. In `deduction-premise`, where no rule has been used, `premise` is the answer's place in the rules, and
        there is neither `conclusion` nor `chain`.

    Raises:
        TaskError: if the tokenizer cannot write enough adjectives as single tokens, or of impossible options.

    Example:
        >>> from headscope.models import load
        >>> pairs = build(load("mini"), n=4, rng=np.random.default_rng(0))
        >>> (pairs.tokens.gather(1, pairs.positions["conclusion"][:, None]) == pairs.answers).all()
        tensor(True)
    """
    if task not in CORRUPTIONS or hops not in (1, 2, 3):
        raise TaskError(
            f"deduction with task={task!r}, hops={hops!r}",
            f"task: one of {', '.join(CORRUPTIONS)}; hops: 1, 2 or 3",
            "correct the options",
        )
    require_tokenizer(model, task)
    words = pool(model, lex.TRAITS, task=task, least=2 * (hops + 1) + 2 * SPARE)
    drafts, seen = [], set()
    for group in np.resize(rng.permutation(len(words)), n).tolist():
        drafts.append(unseen(partial(_draft, rng, words, group, task, hops), seen))
    return build_pairs(model, drafts, task=task, source=SOURCE, corruption=CORRUPTIONS[task])


def _draft(rng: np.random.Generator, words: list[str], group: int, task: str, hops: int) -> Draft:
    """One text whose starting fact is the word of that number."""
    start = words[group]
    needed = 2 * (hops + 1) + 2 * SPARE - 1
    others = [str(word) for word in rng.choice([w for w in words if w != start], needed, replace=False)]
    chain, rival, spare = [start, *others[:hops]], others[hops : 2 * hops + 1], others[2 * hops + 1 :]
    rules = [*pairwise(chain), *pairwise(rival), *zip(spare[::2], spare[1::2], strict=True)]
    order = rng.permutation(len(rules)).tolist()
    twins = list(rules)
    if task == "deduction":
        twins[hops - 1], twins[2 * hops - 1] = (chain[-2], rival[-1]), (rival[-2], chain[-1])
    premise = task == "deduction-premise"
    said, other = (chain, chain) if task == "deduction" else (chain, rival)
    clean, places = _text(rules, order, said, spare[1], premise=premise)
    corrupted, _ = _text(twins, order, other, spare[1], premise=premise)
    answer, foil = (chain[0], rival[0]) if premise else (chain[-1], rival[-1])
    return Draft(clean=clean, corrupted=corrupted, answers=[answer], foils=[foil], group=group, places=places)


def _text(
    rules: list[tuple[str, str]], order: list[int], steps: list[str], question: str, *, premise: bool
) -> tuple[str, dict[str, tuple[int, int]]]:
    """The text with its places; of `rules` the first `hops` are the chain's and the next as many the rival's."""
    hops = len(steps) - 1
    conditions = {0: "premise", hops: "other"} if premise else {hops - 1: "premise"}
    results = {} if premise else {hops - 1: "conclusion", 2 * hops - 1: "other"}
    parts: list[str | tuple[str, str]] = ["Facts: ", ("fact", steps[0]), "."]
    for index in order:
        condition, result = rules[index]
        parts += [" If ", (conditions[index], condition) if index in conditions else condition]
        parts += [" then ", (results[index], result) if index in results else result, "."]
    parts.append(f" Question: {question}.")
    if not premise:
        # In small letters: the chain's words are then the same tokens as the rules' for every tokenizer.
        parts += [" ", *(f"{step} so " for step in steps[:-2]), ("chain", steps[-2]), " so"]
    return compose(*parts)


DEDUCTION = Task(
    name="deduction",
    build=build,
    source=SOURCE,
    about="facts and rules: what follows? (twins with other rules)",
)
DEDUCTION_FACTS = Task(
    name="deduction-facts",
    build=partial(build, task="deduction-facts"),
    source=SOURCE,
    about="facts and rules: what follows? (twins with another fact)",
)
DEDUCTION_PREMISE = Task(
    name="deduction-premise",
    build=partial(build, task="deduction-premise"),
    source=SOURCE,
    about="facts and rules: which fact does the chain begin with?",
)
