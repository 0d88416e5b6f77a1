"""Every generated document: well-formed gold trees, and answers that an independent reading of the text confirms."""

import itertools
import re
from collections import Counter
from random import Random

import pytest

from headscope.grammar import FAMILIES, Document, generate, vocabulary
from headscope.grammar import lexicon as lex

UD = {
    "root",
    "punct",
    "nsubj",
    "obj",
    "iobj",
    "obl",
    "nmod",
    "nmod:poss",
    "amod",
    "det",
    "case",
    "cop",
    "aux",
    "mark",
    "cc",
    "conj",
    "advmod",
    "advcl",
    "acl:relcl",
    "xcomp",
    "ccomp",
    "nummod",
    "appos",
    "list",
    "parataxis",
}


def documents(family: str, n: int = 300) -> list[Document]:
    rng = Random(f"test:{family}")
    return [generate(family, rng) for _ in range(n)]


@pytest.mark.parametrize("family", FAMILIES)
def test_trees_are_trees(family: str) -> None:
    for document in documents(family):
        bounds = [*document.starts, len(document.words)]
        for start, stop in itertools.pairwise(bounds):
            sentence = range(start, stop)
            roots = [i for i in sentence if document.words[i].head < 0]
            assert len(roots) == 1, document.text
            assert document.words[roots[0]].rel == "root"
            for index in sentence:
                seen = set()
                while index >= 0:
                    assert index in sentence
                    assert index not in seen, f"a cycle in {document.text!r}"
                    seen.add(index)
                    index = document.words[index].head


@pytest.mark.parametrize("family", FAMILIES)
def test_trees_are_projective(family: str) -> None:
    for document in documents(family, 100):
        arcs = [tuple(sorted((i, w.head))) for i, w in enumerate(document.words) if w.head >= 0]
        assert not any(a < c < b < d for a, b in arcs for c, d in arcs), document.text


@pytest.mark.parametrize("family", FAMILIES)
def test_relations_words_and_queries_are_known(family: str) -> None:
    known = set(vocabulary())
    for document in documents(family):
        assert {word.rel for word in document.words} <= UD
        assert {word.form for word in document.words} <= known
        for query in document.queries:
            assert query.foil is None or (query.foil in known and query.foil != document.words[query.index].form)
        assert all(0 <= place < len(document.words) for place in document.positions.values())


@pytest.mark.slow
def test_fifteen_relations_at_least_and_vocabulary_of_plain_words() -> None:
    rels = Counter(word.rel for family in FAMILIES for document in documents(family) for word in document.words)
    assert len(rels) >= 15
    assert 600 <= len(vocabulary()) <= 1200
    assert all(re.fullmatch(r"[a-z]+|[.,:?]", word) for word in vocabulary())


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_seed_writes_the_same_text_and_another_does_not(family: str) -> None:
    one, same, other = ([generate(family, rng).key for rng in [Random(seed)] for _ in range(5)] for seed in (3, 3, 4))
    assert one == same
    assert one != other


def test_text_is_ordinary_english() -> None:
    document = generate("ioi", Random(0))
    assert re.fullmatch(r"[A-Z][a-z]+( [A-Za-z]+[,.]?)+", document.text)
    assert document.text.endswith(".")
    for name in lex.NAMES:
        assert f" {name} " not in document.text


def plural(form: str) -> bool:
    return form in {*lex.PEOPLE.values(), *lex.ANIMALS.values(), *lex.THINGS.values()}


@pytest.mark.parametrize("family", ["agreement", "clauses"])
def test_every_present_verb_agrees_with_its_own_subject(family: str) -> None:
    bases = set()
    for table in (lex.ALONE, lex.WITH_OBJECT, lex.LOVING, lex.REFLEXIVE, lex.GIVING, lex.SAYING, lex.WANTING):
        bases |= set(table.values())
    checked = 0
    for document in documents(family):
        words = document.words
        for query in document.queries:
            if query.foil is None:
                continue
            verb = words[query.index]
            head = query.index if verb.rel != "cop" else verb.head
            subjects = [i for i, w in enumerate(words) if w.head == head and w.rel == "nsubj"]
            assert len(subjects) == 1, document.text
            subject = subjects[0]
            if words[subject].form == "that":  # a relative pronoun stands for the noun that its clause belongs to
                subject = words[head].head
            joined = any(w.head == subject and w.rel == "conj" for w in words)
            is_plural = verb.form in bases or verb.form == "are"
            assert is_plural == (joined or plural(words[subject].form)), document.text
            checked += 1
    assert checked > 200


def test_reflexives_have_the_gender_and_number_of_the_subject() -> None:
    for document in documents("agreement"):
        if document.kind != "reflexive":
            continue
        subject = document.words[document.positions["subject"]].form
        right = "themselves" if plural(subject) else "herself" if subject in lex.WOMEN else "himself"
        assert document.words[-2].form == right


def test_favourites_are_those_of_the_subject() -> None:
    singular = {many: one for one, many in lex.PEOPLE.items()}
    for document in documents("agreement"):
        if document.kind == "favourite":
            subject = document.words[document.positions["subject"]].form
            assert document.words[-2].form == lex.FAVOURITES[singular.get(subject, subject)]


def test_pronouns_and_habits_point_to_the_antecedent() -> None:
    for family in ("gender", "winograd"):
        for document in documents(family):
            words, places = document.words, document.positions
            antecedent, pronoun = words[places["antecedent"]].form, words[places["pronoun"]].form
            assert words[places["pronoun"] + 1].form == lex.HABITS[antecedent]
            cluster = next(c for c in document.coreference.values() if places["pronoun"] in c)
            assert places["antecedent"] in cluster
            if family == "gender":
                assert (pronoun == "he") == (antecedent in lex.MALE)


def test_winograd_attribute_decides() -> None:
    for document in documents("winograd"):
        place = document.positions["antecedent"]
        antecedent = document.words[place].form
        trait = next(w.form for w in document.words if w.rel == "advcl")
        if document.kind.startswith("cross"):
            assert (trait in lex.TIRED) == (antecedent in lex.ANIMALS)
        else:
            role = document.words[place].rel
            assert role == ("nsubj" if trait in {*lex.LARGE, *lex.FIERCE} else "obj" if trait in lex.AFRAID else "obl")


def test_ioi_answer_is_the_name_that_is_not_repeated() -> None:
    for document in documents("ioi"):
        names = Counter(w.form for w in document.words[: document.queries[0].index] if w.upos == "PROPN")
        (answer,) = [name for name, count in names.items() if count == 1]
        assert document.words[document.queries[0].index].form == answer
        first = next(w.form for w in document.words if w.upos == "PROPN")
        assert (document.kind == "ABBA") == (first == answer)


def test_induction_queries_repeat_what_followed_the_word_before() -> None:
    for document in documents("induction"):
        forms = [w.form for w in document.words]
        for query in document.queries:
            first = forms.index(forms[query.index - 1])
            assert first < query.index - 1
            assert forms[first + 1] == forms[query.index]


def test_reversals_are_the_list_backwards() -> None:
    for document in documents("reversal"):
        forms = [w.form for w in document.words]
        turn = forms.index("back")
        assert forms[turn + 1 :] == forms[:turn][::-1]
        assert len(document.queries) == turn


def test_duplicates_are_marked_again_and_nothing_else_is() -> None:
    for document in documents("duplicate"):
        forms = [w.form for w in document.words]
        for index, form in enumerate(forms[:-1]):
            if form in {",", "again", "."}:
                continue
            assert (forms[index + 1] == "again") == (form in forms[:index])


def test_facts_asked_again_were_given() -> None:
    for document in documents("facts_context"):
        forms = [w.form for w in document.words]
        for query in document.queries:
            person, attribute, value = forms[query.index - 2 : query.index + 1]
            given = [forms[i + 2] for i in range(query.index - 2) if forms[i : i + 2] == [person, attribute]]
            assert given
            assert set(given) == {value}
        assert forms[document.positions["value"]] == forms[document.positions["end"] + 1]


def parse_deduction(text: str) -> tuple[set[str], dict[str, str], str, list[str], str]:
    facts = set(re.search(r"Facts: (.*?)\.", text)[1].split(" and "))
    rules = dict(re.findall(r"If (\w+) then (\w+)\.", text))
    question = re.search(r"Question: (\w+)\.", text)[1]
    *chain, answer = re.search(r"Question: \w+\. (\w.*?)\.$", text)[1].replace(" answer ", " so ").split(" so ")
    return facts, rules, question, [word.lower() for word in chain], answer


def test_deductions_are_what_forward_chaining_derives() -> None:
    for document in documents("deduction"):
        facts, rules, question, chain, answer = parse_deduction(document.text)
        derived = set(facts)
        while new := {rules[fact] for fact in derived if fact in rules} - derived:
            derived |= new
        assert (answer == "yes") == (question in derived)
        assert chain[0] in facts
        assert chain[0] in rules
        assert all(rules[one] == two for one, two in itertools.pairwise(chain))
        assert chain[-1] == question if answer == "yes" else chain[-1] not in rules
        assert document.kind == f"{len(chain) - 1}_hop_{'true' if answer == 'yes' else 'false'}"


def test_paths_are_the_only_ones() -> None:
    def paths(edges: list[tuple[str, str]], here: str, goal: str) -> list[list[str]]:
        if here == goal:
            return [[here]]
        return [[here, *rest] for one, other in edges if one == here for rest in paths(edges, other, goal)]

    for document in documents("graph"):
        edges = [(a.lower(), b.lower()) for a, b in re.findall(r"(\w+) joins (\w+)\.", document.text)]
        start, goal, told = re.search(r"Path from (\w+) to (\w+): (.*)\.$", document.text).groups()
        assert paths(edges, start, goal) == [told.split()]
        assert document.kind == f"{len(told.split()) - 1}_edge"


def test_memorised_facts_never_contradict_each_other() -> None:
    for document in documents("facts_world"):
        forms = [w.form for w in document.words]
        if document.kind == "capital":
            assert lex.CAPITALS[next(f for f in forms if f in lex.CAPITALS)] == forms[document.queries[0].index]
        else:
            verb = next(i for i, w in enumerate(document.words) if w.rel == "root")
            assert lex.HABITS[forms[verb - 1]] == forms[verb]
            assert bool(document.queries) == (document.words[0].upos == "ADV")
