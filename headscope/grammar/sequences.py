"""Lists of random words: saying them again (induction), backwards (reversal), and noticing repeats (duplicates)."""

from __future__ import annotations

from random import Random

from headscope.grammar import lexicon as lex
from headscope.grammar.phrases import comma, stop
from headscope.grammar.tree import Document, Node, write

_TAGS = dict.fromkeys(lex.NAMES, "PROPN") | dict.fromkeys([*lex.TRAITS, *lex.COLOURS], "ADJ")


def _item(word: str, rel: str = "list") -> Node:
    return Node(word, _TAGS.get(word, "NOUN"), rel)


def induction(rng: Random) -> Document:
    """Random words, then the same words again, sometimes with others before and between (Olsson et al. 2022)."""
    length = rng.randint(5, 14)
    before, between = (rng.randint(0, 4) if rng.random() < 0.5 else 0 for _ in range(2))
    words = rng.sample(lex.PLAIN, length + before + between)
    segment, filler = words[:length], words[length:]
    sequence = [_item(word) for word in [*filler[:before], *segment, *filler[before:], *segment]]
    for node in sequence[-length + 1 :]:
        node.query = True
    root, *rest = sequence
    root.rel, root.right = "root", rest
    return write("induction", "gap" if between else "adjacent", [root])


def reversal(rng: Random) -> Document:
    """Random words, `back`, and the same words backwards: after a word comes what stood before it."""
    words = rng.sample(lex.PLAIN, rng.randint(3, 11))
    root, *rest = [_item(word) for word in words]
    turn = Node("back", "ADV", "advmod")
    returned = [_item(word) for word in reversed(words)]
    for node in returned:
        node.query = True
    root.rel, root.right = "root", [*rest, turn, *returned]
    return write("reversal", "list", [root])


def duplicate(rng: Random) -> Document:
    """`Dog, tree, dog again, ...`: after a word that was there before comes `again`, and after any other a comma."""
    length = rng.randint(6, 11)
    pool = rng.sample(lex.PLAIN, length)
    seen: list[str] = []
    nodes: list[Node] = []
    for index in range(length):
        repeat = bool(seen) and rng.random() < 0.45
        word = rng.choice(seen) if repeat else pool[index]
        node = _item(word)
        mark = Node("again", "ADV", "advmod") if repeat else comma()
        mark.query = repeat or index < 8  # later, a list is as likely to end as to go on
        if repeat or index < length - 1:
            node.right.append(mark)
        if repeat and index < length - 1:
            node.right.append(comma())
        if not repeat:
            seen.append(word)
        nodes.append(node)
    root, *rest = nodes
    root.rel = "root"
    root.right += [*rest, stop()]
    return write("duplicate", "list", [root])
