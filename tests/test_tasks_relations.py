"""Relation triples as pairs: twins, several objects, what is left out, and triples that are none."""

import re

import numpy as np
import pytest
from fixtures_tasks import reader

from headscope.errors import TaskError
from headscope.grammar import lexicon as lex
from headscope.models import Model
from headscope.prompts import ABSENT, Pairs
from headscope.tasks.relations import Triple, build_relations


def word_of(model: Model, token: int) -> str:
    return model.tokenizer.decode([token]).strip().lower()


def triples(*rows: tuple[str, str], template: str = "The capital of {} is") -> list[Triple]:
    return [Triple(subject=subject, template=template, object=thing) for subject, thing in rows]


def relations(rows: list[Triple], kind: str = "gpt2", n: int = 12, seed: int = 0) -> Pairs:
    return build_relations(reader(kind), rows, n=n, rng=np.random.default_rng(seed))


def test_twins_share_template_and_length_and_every_fact_takes_its_turn() -> None:
    rows = triples(("France", "Paris"), ("Italy", "Rome"), ("the Soviet Union", "Moscow"), ("the old Reich", "Berlin"))
    rows += triples(("France", "French"), ("Italy", "Italian"), template="People in {} speak")
    pairs = relations(rows)
    model = reader("gpt2")
    seen = set()
    for i, text in enumerate(pairs.texts):
        twin = model.tokenizer.decode(pairs.corrupted[i][pairs.mask[i]].tolist(), skip_special_tokens=True)
        seen.add((text, twin, word_of(model, int(pairs.answers[i, 0])), word_of(model, int(pairs.foils[i, 0]))))
    assert seen == {
        ("The capital of France is", "The capital of Italy is", "paris", "rome"),
        ("The capital of Italy is", "The capital of France is", "rome", "paris"),
        ("The capital of the Soviet Union is", "The capital of the old Reich is", "moscow", "berlin"),
        ("The capital of the old Reich is", "The capital of the Soviet Union is", "berlin", "moscow"),
        ("People in France speak", "People in Italy speak", "french", "italian"),
        ("People in Italy speak", "People in France speak", "italian", "french"),
    }
    subjects = pairs.tokens.gather(1, pairs.positions["subject"][:, None])[:, 0].tolist()
    assert {word_of(model, token) for token in subjects} == {"france", "italy", "union", "reich"}
    groups = {re.sub("The capital of | is|People in | speak", "", text): set() for text in pairs.texts}
    for text, group in zip(pairs.texts, pairs.groups.tolist(), strict=True):
        groups[re.sub("The capital of | is|People in | speak", "", text)].add(group)
    assert sorted(map(len, groups.values())) == [1, 1, 1, 1], "both templates of a country are one group"
    assert len(pairs.groups.unique()) == 4
    assert pairs.notes == ("6 different prompts among 12 examples: the triples give no more",)


def test_all_objects_of_a_subject_are_answers_and_no_foil() -> None:
    rows = triples(("Belgium", "French"), ("Belgium", "Dutch"), ("France", "French"), ("Poland", "Polish"),
                   template="People in {} speak")  # fmt: skip
    pairs = relations(rows, n=9)
    model = reader("gpt2")
    for i, text in enumerate(pairs.texts):
        answers, foils = (
            {word_of(model, token) for token in ids[i].tolist() if token != ABSENT}
            for ids in (pairs.answers, pairs.foils)
        )
        assert not answers & foils
        if "Belgium" in text:
            assert (answers, foils) == ({"french", "dutch"}, {"polish"})


def test_what_is_left_out_is_told() -> None:
    rows = triples(("France", "Paris"), ("Italy", "Rome"), ("Kenya", "Nairobi"), ("the United Arab Emirates", "Dubai"))
    assert relations(rows, n=2).notes == (
        "prompts left out: 1 without an object of a single token (such as 'The capital of Kenya is'), "
        "1 without another subject of as many tokens and other objects (such as "
        "'The capital of the United Arab Emirates is')",
    )
    rows = triples(("france", "paris"), ("italy", "rome"), ("narnia", "oz"), ("atlantis", "paris"))
    assert relations(rows, kind="words", n=2).notes == (
        "prompts left out: 2 with words that the tokenizer does not have (such as 'The capital of narnia is')",
    )


def test_triples_that_are_none_are_told_at_once() -> None:
    rows = [
        Triple(subject="France", template="The capital is", object="Paris", where="row 2"),
        Triple(subject=" ", template="The capital of {} is", object="", where="row 3"),
        Triple(subject="Italy", template="{} and {} are", object="Rome"),
    ]
    with pytest.raises(TaskError) as caught:
        relations(rows)
    assert str(caught.value) == (
        "task 'relations': row 2: template 'The capital is' with {} 0 times; row 3: no subject; row 3: no object; "
        "and 1 more\n"
        "  expected: triples of a subject, a template with {} once for the subject, and an object, which comes after "
        "it\n"
        "  to fix it: correct or leave out these triples"
    )
    with pytest.raises(TaskError, match=r"^task 'relations': no triples\n"):
        relations([])


def test_too_few_usable_subjects_are_explained() -> None:
    with pytest.raises(TaskError) as caught:
        relations(triples(("France", "Paris"), ("Kenya", "Nairobi")))
    assert str(caught.value) == (
        "task 'relations' with the tokenizer of 'GPT2LMHeadModel': 0 subjects can be used; prompts left out: 1 without "
        "an object of a single token (such as 'The capital of Kenya is'), 1 without another subject of as many tokens "
        "and other objects (such as 'The capital of France is')\n"
        "  expected: at least two subjects of one template with as many tokens and different single-token objects\n"
        "  to fix it: give more triples, or objects that this tokenizer writes as one token"
    )


def test_the_order_of_triples_does_not_change_which_are_used() -> None:
    rows = triples(*((c.capitalize(), k.capitalize()) for c, k in list(lex.CAPITALS.items())[:12]))
    assert {*relations(rows, n=12).texts} == {*relations(rows[::-1], n=12).texts}
