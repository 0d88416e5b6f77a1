"""Measuring the bundled model on held-out texts: does it do them, and which heads did it grow?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from headscope.errors import ModelError
from headscope.grammar import FAMILIES, Document, splits
from headscope.mini import gates, heads, score
from headscope.models import Model


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluation:
    """What the bundled model can do.

    Attributes:
        accuracy: per family (kind `all`) and sub-family: queries and documents right, with counts and 95 % intervals
            of the documents, and whether both gates are passed.
        heads: the best head of each gold attention pattern.
        relations: the best head of each dependency relation and direction.
        n: documents per family.
        seed: of the documents.
    """

    accuracy: pd.DataFrame
    heads: pd.DataFrame
    relations: pd.DataFrame
    n: int
    seed: int

    @property
    def missing(self) -> list[str]:
        """The gates that are not passed."""
        return gates.missing(self.accuracy, self.heads, self.relations)

    def as_record(self) -> dict[str, Any]:
        """Everything as JSON."""
        tables = {name: getattr(self, name).to_dict("records") for name in ("accuracy", "heads", "relations")}
        return {"n": self.n, "seed": self.seed, "missing": self.missing, **tables}


def evaluate(model: Model, *, n: int = 300, seed: int = 1) -> Evaluation:
    """Accuracy of every family and sub-family, and the best head of every gold pattern, on the test split.

    Args:
        model: the bundled model, or another training of it.
        n: held-out documents per family.
        seed: of the documents; any seed draws from the same never-trained-on split.

    Raises:
        ModelError: if the model does not have the grammar's vocabulary.
    """
    ids = model.tokenizer.get_vocab() if model.tokenizer is not None else {}
    if not {"<bos>", "<pad>", "again"} <= set(ids):
        raise ModelError(
            f"model {model.name!r}, whose tokenizer does not have the words of the bundled grammar",
            "mini, or a model that headscope mini train wrote",
            "give --model the model/ folder of a training",
        )
    documents = {family: splits.held_out(family, "test", n, seed) for family in FAMILIES}
    accuracy = pd.concat([_family(model, family, drawn, ids) for family, drawn in documents.items()], ignore_index=True)
    return Evaluation(
        accuracy=gates.accuracy_gates(accuracy),
        heads=gates.best_heads(heads.pattern_scores(model, documents)),
        relations=gates.best_relations(heads.relation_scores(model, documents)),
        n=n,
        seed=seed,
    )


def _family(model: Model, family: str, documents: list[Document], ids: dict[str, int]) -> pd.DataFrame:
    answers = score.right(score.reader(model), documents, ids)
    kinds = ["all", *sorted({document.kind for document in documents})]
    rows = []
    for kind in kinds if len(kinds) > 2 else kinds[:1]:
        chosen = [a for a, document in zip(answers, documents, strict=True) if kind in ("all", document.kind) and a]
        result = score.summary(chosen)
        low, high = _interval(chosen)
        rows.append({"family": family, "kind": kind, **result._asdict(), "documents_low": low, "documents_high": high})
    return pd.DataFrame(rows)


def _interval(answers: list[list[bool]]) -> tuple[float, float]:
    """Wilson's interval of the share of documents without a wrong word: it does not vanish at 1."""
    from scipy.stats import binomtest

    found = binomtest(sum(map(all, answers)), len(answers)).proportion_ci(method="wilson")
    return float(found.low), float(found.high)
