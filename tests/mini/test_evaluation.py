"""The bundled model's measures, on stand-ins whose attention and answers are known by hand."""

from collections.abc import Iterator
from random import Random
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch

from headscope.errors import ModelError
from headscope.grammar import generate
from headscope.grid import Grid
from headscope.mini import gates, heads, score, tokenizer
from headscope.mini.evaluate import evaluate
from headscope.models import load

WORDS = tokenizer.build()
IDS = WORDS.get_vocab()


def stand_in() -> Any:
    """Two heads: L0H0 looks at the token before, L0H1 at everything alike."""

    def patterns(tokens: torch.Tensor, mask: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
        size = tokens.shape[1]
        before = torch.eye(size).roll(-1, 1).tril()
        before[0, 0] = 1
        alike = torch.ones(size, size).tril()
        both = torch.stack([before, alike / alike.sum(-1, keepdim=True)])
        yield 0, both[None].expand(len(tokens), -1, -1, -1)

    return SimpleNamespace(tokenizer=WORDS, grid=Grid(1, 2), patterns=patterns)


def texts(family: str, n: int = 20) -> list[Any]:
    rng = Random(f"evaluation:{family}")
    return [generate(family, rng) for _ in range(n)]


def value(frame: pd.DataFrame, pattern: str, head: int) -> float:
    return frame.loc[(frame["pattern"] == pattern) & (frame["head"] == head), "value"].item()


def test_pattern_scores_are_the_means_that_a_hand_would_find() -> None:
    documents = {family: texts(family) for family in ("ioi", "induction")}
    found = heads.pattern_scores(stand_in(), documents)
    lengths = [len(d.words) + 2 for family in documents for d in documents[family]]
    uniform = sum(1 / (i + 1) for size in lengths for i in range(1, size)) / sum(size - 1 for size in lengths)
    assert value(found, "previous_token", 0) == pytest.approx(1.0)
    assert value(found, "previous_token", 1) == pytest.approx(uniform)
    assert value(found, "first_token", 1) == pytest.approx(uniform)
    assert value(found, "induction", 0) == 0.0  # what followed an earlier copy is never the token before
    ends = [d.positions["end"] + 1 for d in documents["ioi"]]
    assert value(found, "end_to_repeated_name", 1) == pytest.approx(sum(1 / (i + 1) for i in ends) / len(ends))


def test_relation_scores_of_a_previous_token_head_are_the_share_of_adjacent_arcs() -> None:
    documents = texts("clauses", 60)
    found = heads.relation_scores(stand_in(), {"clauses": documents})
    arcs = [(i, w.head) for d in documents for i, w in enumerate(d.words) if w.rel == "obj" and 0 <= w.head < i]
    row = found[(found["relation"] == "obj") & (found["direction"] == "dependent_to_head") & (found["head"] == 0)].iloc[
        0
    ]
    assert row["n"] == len(arcs)
    assert row["value"] == pytest.approx(sum(i - h == 1 for i, h in arcs) / len(arcs))
    assert row["baseline"] >= row["value"]


def test_accuracy_counts_words_and_whole_documents() -> None:
    documents = texts("induction", 10)

    def oracle(tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Says the next token for sure, except after the last query's word of the first document."""
        logits = torch.nn.functional.one_hot(tokens.roll(-1, 1), len(IDS)).float()
        first = torch.tensor(tokenizer.identifiers(documents[0], IDS))
        for row, line in enumerate(tokens):
            if torch.equal(line[: len(first)], first):
                logits[row, documents[0].queries[-1].index] = 0
        return logits

    found = score.summary(score.right(oracle, documents, IDS))
    queries = sum(len(d.queries) for d in documents)
    assert found == score.Accuracy((queries - 1) / queries, 0.9, queries, 10)


def test_a_verb_is_right_if_it_beats_its_other_number_only() -> None:
    document = next(d for d in texts("agreement", 50) if d.kind == "no_attractor")
    (query,) = document.queries
    right, wrong = IDS[document.words[query.index].form], IDS[query.foil]

    def read(better: int) -> score.Reader:
        def logits(tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            out = torch.zeros(*tokens.shape, len(IDS))
            out[..., IDS["again"]] = 9.0  # some other word is always the best of all
            out[..., better] = 1.0
            return out

        return logits

    assert score.right(read(right), [document], IDS) == [[True]]
    assert score.right(read(wrong), [document], IDS) == [[False]]


def test_gates_name_everything_that_is_short() -> None:
    accuracy = gates.accuracy_gates(
        pd.DataFrame({"family": ["ioi", "graph"], "kind": "all", "queries": [1.0, 0.97], "documents": [1.0, 0.89]})
    )
    patterns = pd.DataFrame(
        {
            "pattern": ["induction", "induction", "first_token"],
            "layer": 0,
            "head": [0, 1, 0],
            "value": [0.7, 0.1, 0.59],
            "n": 9,
        }
    )
    columns = {"layer": 0, "head": 0, "n": 60}
    relations = pd.DataFrame(
        [
            {"relation": "obj", "direction": "dependent_to_head", "value": 0.9, "baseline": 0.5, **columns},
            {"relation": "list", "direction": "head_to_dependent", "value": 0.9, "baseline": 0.1, **columns},
            {"relation": "nsubj", "direction": "head_to_dependent", "value": 0.9, "baseline": 0.7, **columns},
        ]
    )
    short = gates.missing(accuracy, gates.best_heads(patterns), gates.best_relations(relations))
    assert short == ["graph all: 0.970 / 0.890", "first_token: 0.59", "no relation head_to_dependent"]


def test_another_models_vocabulary_is_refused(gpt2_model: Any) -> None:
    with pytest.raises(ModelError, match="does not have the words of the bundled grammar"):
        evaluate(gpt2_model, n=10)


def test_a_fresh_model_fails_its_gates() -> None:
    from headscope.mini.recipe import Recipe
    from headscope.mini.train import initial_model

    fresh = initial_model(Recipe(layers=1, heads=2, width=16, inner=16), len(IDS))
    result = evaluate(load(fresh, tokenizer=WORDS, device="cpu"), n=10)
    assert len(result.missing) > 10
    assert result.as_record()["n"] == 10
