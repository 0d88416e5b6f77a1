"""Arguments in a docstring, in the order of the signature: after `:param load:` and `:param size:` comes `files`."""

from functools import partial

import numpy as np

from headscope.contract import Task
from headscope.errors import TaskError
from headscope.grammar import lexicon as lex
from headscope.prompts import Pairs
from headscope.tasks.words import Draft, Reader, build_pairs, compose, pool, require_tokenizer, unseen

SOURCE = (
    "Heimersheim & Janiak 2023, 'A circuit for Python docstrings in a 4-layer attention-only transformer'; "
    "words of our own"
)
CORRUPTIONS = {
    "docstring": "the third and the fourth argument of the signature change places; the docstring stays",
    "docstring-random": "the third argument of the signature is a word that the prompt does not have (random answer)",
}
ARGUMENTS = (
    "name text path type value index list table node state input output source target parent mode level color title "
    "user group event key field record button message status request response session window image page score limit "
    "offset count number length width height label token item model layer query result filter order format date"
).split()
NOUNS = sorted({*lex.THINGS, *lex.ANIMALS, *lex.BUILDINGS, *lex.FOODS} - {*ARGUMENTS})


def build(model: Reader, *, n: int, rng: np.random.Generator, task: str = "docstring") -> Pairs:
    """`n` Python functions of four arguments with a docstring that has come to the third.

    The signature is `def f(self, A, B, C, D):` and the docstring describes `A` and `B` in that order with two random
    nouns each, so that `:param` goes on with `C`. The fourth argument is there because a model that repeats the last
    one, or any that is not yet described, would else be right.

    - `docstring`: the foil is `D`. In the twin `C` and `D` change places in the signature: the same words in another
      order, after which `D` is right (the source's `random def` as a symmetric replacement, Zhang & Nanda 2024).
    - `docstring-random`: the foil is a word that the prompt does not have, and the twin has it in the place of `C`
      (the source's `random answer`). To prefer `C` to it, a model need only repeat; judge its ability by `docstring`.

    Args:
        model: whose tokenizer the prompts are made for.
        n: examples.
        rng: draws words.
        task: a key of `CORRUPTIONS`.

    Returns:
        Pairs with the positions `a_def`, `b_def`, `c_def` (the answer), `d_def`, `a_doc`, `b_doc` and `end`, grouped by
        the answer.

    Raises:
        TaskError: if the tokenizer cannot write enough arguments and nouns as single tokens.

    Example:
        >>> from headscope.models import load
        >>> build(load("mini"), n=4, rng=np.random.default_rng(0))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        headscope.errors.TaskError: task 'docstring' with the tokenizer of 'mini': 3 of 53 words are single tokens ...
          expected: at least 12 different single-token words, such as 'name'
          to fix it: leave this task out with --task, or give pairs of your own in this model's words
    """
    if task not in CORRUPTIONS:
        raise TaskError(f"docstring with task={task!r}", f"one of {', '.join(CORRUPTIONS)}", "correct the option")
    require_tokenizer(model, task)
    arguments = pool(model, ARGUMENTS, task=task, least=12)
    nouns = pool(model, NOUNS, task=task, least=12)
    drafts, seen = [], set()
    for group in np.resize(rng.permutation(len(arguments)), n).tolist():
        drafts.append(unseen(partial(_draft, rng, arguments, nouns, group, task), seen))
    return build_pairs(model, drafts, task=task, source=SOURCE, corruption=CORRUPTIONS[task])


def _draft(rng: np.random.Generator, arguments: list[str], nouns: list[str], group: int, task: str) -> Draft:
    answer = arguments[group]
    others = rng.choice([word for word in arguments if word != answer], 5, replace=False).tolist()
    function, first, second, last, unused = others
    described = rng.choice(nouns, 7, replace=False).tolist()
    foil = last if task == "docstring" else unused
    order = [first, second, foil, answer if task == "docstring" else last]
    clean, places = _text(function, [first, second, answer, last], described)
    corrupted, _ = _text(function, order, described)
    return Draft(clean=clean, corrupted=corrupted, answers=[answer], foils=[foil], group=group, places=places)


def _text(function: str, arguments: list[str], nouns: list[str]) -> tuple[str, dict[str, tuple[int, int]]]:
    a, b, c, d = arguments
    return compose(
        f"def {function}(self, ", ("a_def", a), ", ", ("b_def", b), ", ", ("c_def", c), ", ", ("d_def", d), "):\n",
        f'    """Return {" ".join(nouns[:3])}\n\n',
        "    :param ", ("a_doc", a), f": {nouns[3]} {nouns[4]}\n",
        "    :param ", ("b_doc", b), f": {nouns[5]} {nouns[6]}\n",
        "    :param",
    )  # fmt: skip


DOCSTRING = Task(
    name="docstring",
    build=build,
    source=SOURCE,
    about="a function's arguments in a docstring: which comes next? (twins in another order)",
)
DOCSTRING_RANDOM = Task(
    name="docstring-random",
    build=partial(build, task="docstring-random"),
    source=SOURCE,
    about="a function's arguments in a docstring: which comes next? (twins with another name)",
)
