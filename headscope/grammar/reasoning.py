"""Step by step: deduction over facts and rules with distractors, and paths in a small graph."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from random import Random

from headscope.grammar import lexicon as lex
from headscope.grammar.phrases import stop
from headscope.grammar.tree import Document, Node, write

NODES = [*lex.COLOURS, *(place for place in lex.PLACES if place != "path")]


def _adjective(word: str, rel: str, *, query: bool = False) -> Node:
    return Node(word, "ADJ", rel, query=query)


def _headed(title: str, content: Node) -> Node:
    """`Facts: kind and tall.`"""
    content.rel = "appos"
    return Node(title, "NOUN", right=[stop(":"), content, stop()])


def _rule(premise: str, conclusion: str) -> Node:
    """`If kind then brave.`"""
    condition = _adjective(premise, "advcl")
    condition.left = [Node("if", "SCONJ", "mark")]
    return Node(conclusion, "ADJ", left=[condition, Node("then", "ADV", "advmod")], right=[stop()])


def _chain(steps: Sequence[str], answer: str) -> Node:
    """`Kind so brave so wise answer yes.`: every word after the question is determined."""
    root = _adjective(steps[0], "root", query=True)
    for step in steps[1:]:
        so = Node("so", "CCONJ", "cc", query=True)
        root.right.append(Node(step, "ADJ", "conj", left=[so], query=True))
    verdict = Node("answer", "NOUN", "parataxis", query=True)
    verdict.right = [Node(answer, "INTJ", "appos", query=True)]
    root.right += [verdict, stop()]
    return root


def deduction(rng: Random) -> Document:
    """One fact starts a chain of 1-3 rules; other facts and rules lead nowhere; is the question reached?"""
    hops, true = rng.randint(1, 3), rng.random() < 0.5
    extra = rng.randint(1, 3)
    words = rng.sample(lex.TRAITS, hops + 1 + 2 * extra + 2)
    chain, spare = words[: hops + 1], words[hops + 1 :]
    rules = list(itertools.pairwise(chain))
    rules += [(spare[2 * i], spare[2 * i + 1]) for i in range(extra)]
    goes_on = true and rng.random() < 0.3
    if goes_on:
        rules.append((chain[-1], spare[-1]))
    question = chain[-1] if true else rng.choice([spare[2 * i + 1] for i in range(extra)])
    rng.shuffle(rules)
    facts = [chain[0], *([spare[-2]] if rng.random() < 0.6 else [])]
    rng.shuffle(facts)
    listed = _adjective(facts[0], "appos")
    for fact in facts[1:]:
        listed.right.append(Node(fact, "ADJ", "conj", left=[Node("and", "CCONJ", "cc")]))
    sentences = [_headed("facts", listed), *(_rule(*rule) for rule in rules)]
    sentences.append(_headed("question", _adjective(question, "appos")))
    sentences.append(_chain(chain, "yes" if true else "no"))
    return write("deduction", f"{hops}_hop_{'true' if true else 'false'}", sentences)


def _edge(one: str, other: str) -> Node:
    """`Red joins blue.`"""
    return Node("joins", "VERB", left=[Node(one, "NOUN", "nsubj")], right=[Node(other, "NOUN", "obj"), stop()])


def graph(rng: Random) -> Document:
    """Directed edges with a dead end on the way; then the only path between two nodes, 1-3 edges long."""
    length = rng.randint(1, 3)
    nodes = rng.sample(NODES, length + 5)
    path, spare = nodes[: length + 1], nodes[length + 1 :]
    edges = list(itertools.pairwise(path))
    if rng.random() < 0.5:
        edges.append((rng.choice(path[:-1]), spare[0]))
    edges.append((spare[1], rng.choice([spare[2], path[0]])))
    if rng.random() < 0.3:
        edges.append((path[-1], spare[3]))
    rng.shuffle(edges)
    title = Node("path", "NOUN", right=[_end(path[0], "from"), _end(path[-1], "to"), stop(":")])
    steps = [Node(node, "NOUN", "list", query=True) for node in path]
    steps[0].rel = "appos"
    title.right += [*steps, Node(".", "PUNCT", "punct", query=True)]
    return write("graph", f"{length}_edge", [*(_edge(*edge) for edge in edges), title])


def _end(node: str, word: str) -> Node:
    return Node(node, "NOUN", "nmod", left=[Node(word, "ADP", "case")])
