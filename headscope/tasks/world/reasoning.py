"""One step of a chain or a path: the twin has another conclusion, or other nodes, where the step leads."""

from __future__ import annotations

from random import Random

from headscope.grammar import Document
from headscope.tasks.world.sketch import Sketch, put, rename


def deduction(document: Document, rng: Random) -> list[Sketch]:
    """`If kind then brave. If tall then wise. ... Kind so` | `brave`: the twin exchanges the conclusions.

    Only such exchanges are offered after which the text is one of the family again: the other conclusion takes the
    place of the right one in the rest of the chain too, and the question stays as it is.

    Args:
        document: of the family.
        rng: draws where it is cut, and the order of the twins.

    Example:
        >>> from headscope.grammar.splits import draw
        >>> print(deduction(draw("deduction", "test", Random(52)), Random(0))[0])
        Facts: calm. If wise then proud. If calm then poor. Question: proud. Calm so | poor
        Facts: calm. If wise then poor. If calm then proud. Question: proud. Calm so | proud
    """
    words = document.words
    forms = [word.form for word in words]
    rules = {forms[i + 1]: i + 1 for i, form in enumerate(forms) if form == "if"}  # premise -> where it stands
    asked = next(i for i, form in enumerate(forms) if form == "question") + 2
    chain = [query.index for query in document.queries][:-2:2]
    cut = rng.choice(chain[1:])
    premise = rules[forms[cut - 2]]
    source, right = premise + 2, forms[cut]
    led = {forms[i] for i in chain}
    spare = [i + 2 for form, i in rules.items() if form not in led]
    if right in rules:  # then the question must be neither of the two, for the chain goes on where it is not reached
        spare = [i for i in spare if forms[asked] not in {right, forms[i]}]
    sketches = []
    for other in rng.sample(spare, len(spare)):
        twin = rename(words, right, forms[other], before=asked)
        twin = put(twin, {i: forms[other] for i in chain if forms[i] == right})
        reached = forms[asked] in {twin[i].form for i in chain}
        twin = put(twin, {len(words) - 2: "yes" if reached else "no"})
        places = {"premise": premise, "source": source, "other": other, "question": asked}
        sketches.append(Sketch(document=document, cut=cut, twin=twin, places=places, content=(right,)))
    return sketches


def graph(document: Document, rng: Random) -> list[Sketch]:
    """`Red joins blue. Blue joins lake. ... Path from red to lake: red` | `blue`: the twin's edges go by another node.

    A node on the way changes places with one that is not, wherever they stand in the edges. Where the path starts and
    ends is said as before, so that only the edges tell.

    Args:
        document: of the family.
        rng: draws where it is cut, and the order of the twins.

    Example:
        >>> from headscope.grammar.splits import draw
        >>> print(graph(draw("graph", "test", Random(4)), Random(0))[0])
        Green joins river. Road joins green. Yellow joins road. Path from road to river: road | green
        Yellow joins river. Road joins yellow. Green joins road. Path from road to river: road | yellow
    """
    words = document.words
    forms = [word.form for word in words]
    path = [query.index for query in document.queries][:-1]
    if len(path) < 3:
        return []
    step = rng.randrange(1, len(path) - 1)
    right, edges = forms[path[step]], document.starts[-1]
    ways = [forms[i] for i in path]
    spare = sorted({form for i, form in enumerate(forms[:edges]) if i % 4 in (0, 2) and form not in ways})
    before, after = (_edge(forms, ways[step + i], ways[step + i + 1]) for i in (-1, 0))
    return [
        Sketch(
            document=document,
            cut=path[step],
            twin=rename(words, right, other),
            places={"previous": before, "source": before + 2, "onward": after, "other": forms.index(other)},
            content=(right,),
        )
        for other in rng.sample(spare, len(spare))
    ]


def _edge(forms: list[str], one: str, other: str) -> int:
    """Where the edge between two nodes is said."""
    return next(i for i in range(0, len(forms), 4) if (forms[i], forms[i + 2]) == (one, other))
