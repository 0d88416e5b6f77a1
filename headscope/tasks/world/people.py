"""Who is meant? Pronouns, attributes and indirect objects: the twin's cue means the other one."""

from __future__ import annotations

from random import Random

from headscope.grammar import Document
from headscope.grammar import lexicon as lex
from headscope.tasks.world.sketch import Sketch, put

_TRAITS = {"cross": (lex.TIRED, lex.WIDE), "fit": (lex.LARGE, lex.SMALL), "chase": (lex.FIERCE, lex.AFRAID)}
"""What means the first noun of a scene, and what means the second (see `grammar.pronouns.winograd`)."""


def gender(document: Document, rng: Random) -> list[Sketch]:
    """`Mary met John. She` | `danced`: twin `He`, which means John.

    Args:
        document: of the family.
        rng: draws where it is cut, and the order of the twins.

    Example:
        >>> from headscope.grammar.splits import draw
        >>> print(gender(draw("gender", "test", Random(27)), Random(0))[0])
        Henry saw Sarah. She | jumped
        Henry saw Sarah. He | jumped
    """
    antecedent, pronoun = document.positions["antecedent"], document.positions["pronoun"]
    words = document.words
    other = next(i for i, word in enumerate(words) if word.upos == "PROPN" and i != antecedent)
    forms = {pronoun: {"he": "she", "she": "he"}[words[pronoun].form], pronoun + 1: lex.HABITS[words[other].form]}
    places = {"antecedent": antecedent, "other": other, "pronoun": pronoun}
    content = (words[antecedent].form,)
    return [Sketch(document=document, cut=pronoun + 1, twin=put(words, forms), places=places, content=content)]


def winograd(document: Document, rng: Random) -> list[Sketch]:
    """`The dog did not cross the road because it was tired. It` | `barked`: twin `wide`, which means the road.

    Args:
        document: of the family.
        rng: draws where it is cut, and the order of the twins.

    Example:
        >>> from headscope.grammar.splits import draw
        >>> print(winograd(draw("winograd", "test", Random(8)), Random(0))[0])
        The rabbit chased the bird because it was helpless. It | flew
        The rabbit chased the bird because it was jealous. It | hid
    """
    words, pronoun = document.words, document.positions["pronoun"]
    antecedent = document.positions["antecedent"]
    other = next(places[0] for places in document.coreference.values() if antecedent not in places)
    cue = next(i for i, word in enumerate(words) if word.rel == "advcl")
    one, two = _TRAITS[document.kind.split("_")[0]]
    own, opposite = (one, two) if words[cue].form in one else (two, one)
    habit = lex.HABITS[words[other].form]
    return [
        Sketch(
            document=document,
            cut=pronoun + 1,
            twin=put(words, {cue: trait, pronoun + 1: habit}),
            places={"antecedent": antecedent, "other": other, "cue": cue, "pronoun": pronoun},
            content=(words[antecedent].form,),
        )
        for trait in rng.sample(opposite, len(opposite))
        if trait not in own
    ]


def ioi(document: Document, rng: Random) -> list[Sketch]:
    """`When Mary and John went to the store, John gave a drink to` | `Mary`: twin `Mary gave a drink to`.

    Args:
        document: of the family.
        rng: draws where it is cut, and the order of the twins.

    Example:
        >>> from headscope.grammar.splits import draw
        >>> print(ioi(draw("ioi", "test", Random(37)), Random(0))[0])
        While Ben and Paul were in the farm, Ben offered a phone to | Paul
        While Ben and Paul were in the farm, Paul offered a phone to | Ben
    """
    words = document.words
    places = {name: document.positions[name] for name in ("io", "s1", "s2")}
    cut = document.positions["end"] + 1
    twin = put(words, {places["s2"]: words[cut].form, cut: words[places["s2"]].form})
    people = {words[i].form for i in places.values()}
    frame = tuple(
        word.form for word in words[:cut] if word.upos in {"SCONJ", "ADV", "VERB"} and word.form not in people
    )
    return [Sketch(document=document, cut=cut, twin=twin, places=places, content=frame)]
