"""Subject-verb agreement across an attractor: `The boys near the girl` -> `are`, not `is`."""

from itertools import product

import numpy as np

from headscope.contract import Task
from headscope.errors import TaskError
from headscope.grammar import lexicon as lex
from headscope.prompts import Pairs
from headscope.tasks.words import Draft, Reader, build_pairs, pool, require_tokenizer

SOURCE = (
    "Linzen et al. 2016, 'Assessing the Ability of LSTMs to Learn Syntax-Sensitive Dependencies'; sentences of our own"
)
CORRUPTION = "the subject's other number; the attractor stays"
VERBS = (("is", "are"), ("was", "were"), ("has", "have"), ("runs", "run"), ("works", "work"), ("plays", "play"))
FRAMES = tuple(product(sorted(lex.PEOPLE), ("near", "behind", "beside"), sorted(lex.WORKERS)))


def build(model: Reader, *, n: int, rng: np.random.Generator) -> Pairs:
    """`n` noun phrases whose verb comes next; in half of them the attractor has the other number.

    The metric is the mean logit of the verbs in the right number minus that of the same verbs in the wrong one.

    Args:
        model: whose tokenizer the prompts are made for.
        n: examples.
        rng: draws nouns, prepositions and numbers.

    Returns:
        Pairs with the positions `subject`, `attractor` and `end`, grouped by subject noun and preposition.

    Raises:
        TaskError: if the tokenizer cannot write the nouns and verbs as single tokens.
    """
    require_tokenizer(model, "agreement")
    people = set(pool(model, [*lex.PEOPLE, *lex.PEOPLE.values()], task="agreement", least=8))
    forms = set(pool(model, dict.fromkeys(form for pair in VERBS for form in pair), task="agreement", least=4))
    verbs = [pair for pair in VERBS if set(pair) <= forms]
    usable = [f for f in FRAMES if f[0] != f[2] and {f[0], lex.PEOPLE[f[0]], f[2], lex.PEOPLE[f[2]]} <= people]
    if not (verbs and usable):
        raise TaskError(
            f"task 'agreement' with the tokenizer of {model.name!r}: {len(verbs)} verbs and {len(usable)} noun pairs",
            "at least one of each with singular and plural as single tokens, such as 'is' and 'are', 'boy' and 'boys'",
            "leave this task out with --task, or give pairs of your own in this model's words",
        )
    subjects = sorted({(subject, preposition) for subject, preposition, _ in usable})
    drafts = []
    for _ in range(n):
        frame = usable[int(rng.integers(len(usable)))]
        plural, other = bool(rng.integers(2)), bool(rng.integers(2))
        drafts.append(_draft(frame, plural, other, verbs, subjects.index(frame[:2])))
    return build_pairs(model, drafts, task="agreement", source=SOURCE, corruption=CORRUPTION)


def _draft(frame: tuple[str, str, str], plural: bool, other: bool, verbs: list[tuple[str, str]], group: int) -> Draft:
    subject, preposition, attractor = frame
    forms = (subject, lex.PEOPLE[subject])
    last = lex.PEOPLE[attractor] if other else attractor
    clean, corrupted = (f"The {form} {preposition} the {last}" for form in (forms[plural], forms[not plural]))
    places = {"subject": (4, 4 + len(forms[plural])), "attractor": (len(clean) - len(last), len(clean))}
    right, wrong = ([pair[number] for pair in verbs] for number in (plural, not plural))
    return Draft(clean=clean, corrupted=corrupted, answers=right, foils=wrong, group=group, places=places)


AGREEMENT = Task(
    name="agreement",
    build=build,
    source=SOURCE,
    about="singular or plural verb? the subject decides, not the nearest noun",
)
