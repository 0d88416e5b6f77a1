"""Which heads did training make? Attention of every head of the bundled model to gold targets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from headscope.grammar import Document
from headscope.grid import Grid
from headscope.mini.tokenizer import identifiers
from headscope.prompts import pad


@runtime_checkable
class Attends(Protocol):
    """What is needed of a model here: its words, its heads, and where they look."""

    @property
    def tokenizer(self) -> Any:
        """The word-level tokenizer."""
        ...

    @property
    def grid(self) -> Grid:
        """Layers and heads."""
        ...

    def patterns(self, tokens: Tensor, mask: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Each layer with its attention patterns."""
        ...


Link = tuple[int, tuple[int, ...]]
"""A token, and the earlier tokens that count as its targets."""


def _previous(document: Document) -> Iterator[Link]:
    return ((place, (place - 1,)) for place in range(1, len(document.words) + 2))


def _first(document: Document) -> Iterator[Link]:
    return ((place, (0,)) for place in range(1, len(document.words) + 2))


def _earlier(document: Document) -> Iterator[tuple[int, list[int]]]:
    """Each content word that was there before, with all its earlier places."""
    seen: dict[str, list[int]] = {}
    for place, word in enumerate(document.words, start=1):
        if word.upos in {"NOUN", "PROPN", "ADJ"}:
            if word.form in seen:
                yield place, seen[word.form]
            seen[word.form] = [*seen.get(word.form, []), place]


def _duplicate(document: Document) -> Iterator[Link]:
    return ((place, tuple(places)) for place, places in _earlier(document))


def _induction(document: Document) -> Iterator[Link]:
    return ((place, tuple(p + 1 for p in places)) for place, places in _earlier(document))


def _between(source: str, target: str) -> Callable[[Document], Iterable[Link]]:
    def link(document: Document) -> Iterable[Link]:
        places = document.positions
        return [(places[source] + 1, (places[target] + 1,))] if source in places and target in places else []

    return link


class Pattern(NamedTuple):
    """A gold attention pattern: whose texts it is measured on (none: all), and its links."""

    family: str | None
    links: Callable[[Document], Iterable[Link]]


PATTERNS: dict[str, Pattern] = {
    "previous_token": Pattern(None, _previous),
    "previous_token_random_words": Pattern("induction", _previous),
    "first_token": Pattern(None, _first),
    "duplicate_token": Pattern("duplicate", _duplicate),
    "duplicate_token_reversal": Pattern("reversal", _duplicate),
    "induction": Pattern("induction", _induction),
    "verb_to_subject": Pattern("agreement", _between("verb", "subject")),
    "end_to_repeated_name": Pattern("ioi", _between("end", "s2")),
    "pronoun_to_antecedent_gender": Pattern("gender", _between("pronoun", "antecedent")),
    "pronoun_to_antecedent_winograd": Pattern("winograd", _between("pronoun", "antecedent")),
    "end_to_value": Pattern("facts_context", _between("end", "value")),
}


def attention(
    model: Attends, documents: list[Document], size: int = 64
) -> Iterator[tuple[Document, Float[np.ndarray, "layer head query key"]]]:
    """Every document with the attention of all heads."""
    ids = model.tokenizer.get_vocab()
    for start in range(0, len(documents), size):
        chosen = documents[start : start + size]
        tokens, mask = pad([identifiers(document, ids) for document in chosen], ids["<pad>"])
        stacked = torch.stack([pattern for _, pattern in model.patterns(tokens, mask)]).float().cpu().numpy()
        for row, document in enumerate(chosen):
            yield document, stacked[:, row]


def pattern_scores(model: Attends, documents: dict[str, list[Document]]) -> pd.DataFrame:
    """Mean attention of every head to the targets of each pattern, tidy: pattern, layer, head, value, n."""
    totals = {name: np.zeros((model.grid.layers, model.grid.heads)) for name in PATTERNS}
    counts: Counter[str] = Counter()
    for family, texts in documents.items():
        wanted = {name: p.links for name, p in PATTERNS.items() if p.family in (None, family)}
        for document, weights in attention(model, texts):
            for name, links in wanted.items():
                for place, targets in links(document):
                    totals[name] += weights[:, :, place, list(targets)].sum(-1)
                    counts[name] += 1
    rows = [
        {
            "pattern": name,
            "layer": layer,
            "head": head,
            "value": total[layer, head] / max(1, counts[name]),
            "n": counts[name],
        }
        for name, total in totals.items()
        for layer, head in model.grid
    ]
    return pd.DataFrame(rows)


def relation_scores(model: Attends, documents: dict[str, list[Document]]) -> pd.DataFrame:
    """For each dependency relation and direction, how often each head's most attended word is the gold one.

    A decoder looks back only, so an arc counts for the direction whose target stands to the left. The first token
    is left out of the maximum. `baseline` is the accuracy of the best fixed offset. Definition: Clark et al. 2019,
    section 4.2.

    Returns:
        Tidy rows: relation, direction, layer, head, value, baseline, n.
    """
    hits: dict[tuple[str, str], np.ndarray] = {}
    offsets: dict[tuple[str, str], Counter[int]] = {}
    for texts in documents.values():
        for document, weights in attention(model, texts):
            for dependent, word in enumerate(document.words):
                if word.head < 0 or word.rel == "punct":
                    continue
                late, early = max(dependent, word.head), min(dependent, word.head)
                key = (word.rel, "dependent_to_head" if late == dependent else "head_to_dependent")
                best = weights[:, :, late + 1, 1 : late + 2].argmax(-1)
                hits[key] = hits.get(key, 0) + (best == early)
                offsets.setdefault(key, Counter())[late - early] += 1
    rows = []
    for (relation, direction), hit in sorted(hits.items()):
        n = sum(offsets[relation, direction].values())
        baseline = max(offsets[relation, direction].values()) / n
        for layer, head in model.grid:
            row = {"relation": relation, "direction": direction, "layer": layer, "head": head}
            rows.append(row | {"value": hit[layer, head] / n, "baseline": baseline, "n": n})
    return pd.DataFrame(rows)
