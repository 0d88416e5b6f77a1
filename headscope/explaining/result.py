"""An explanation of one logit: its frames, its sums, and the ways to look at it and keep it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
from plotly import graph_objects as go

from headscope.errors import UsageError
from headscope.explaining.files import plain_rows, written
from headscope.methods.decomposition import KINDS
from headscope.plots import LIGHT, words
from headscope.plots.explanation import DIFFERENCE, UNIT, layer_waterfall, vote_bars
from headscope.plots.theme import Theme

GROUPS = {
    "embedding": "embedding", "head": "heads", "mlp": "MLPs", "bias": "biases", "not linear": "not linear",
    "rounding": "rounding",
}  # fmt: skip
"""What a sum over the parts of each kind is called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A token at the position that is explained.

    Attributes:
        id: of the token.
        text: the same as text.
        logit: the model's own.
        probability: that the model gives it.
        rank: 1 for the token that the model predicts.
    """

    id: int
    text: str
    logit: float
    probability: float
    rank: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Explanation:
    """Which heads voted for and against one token, at one position of one prompt.

    `logit` columns add up to the model's own logit (or the difference of two). `vote` columns are the same less the
    mean over the vocabulary, which no probability depends on; they add up to the logit less the mean logit. Of a
    difference both are the same.

    Attributes:
        model: what it is, as `identity` of a loaded model.
        text: the prompt, or empty where token ids were given.
        tokens: its tokens as text.
        at: the position whose logits are explained, from 0.
        token: what is voted for.
        against: what it is set against, or None.
        votes: one row for each part of the model (columns `headscope.explaining.frames.VOTES`).
        sources: one row for each head and position that it could look at (columns `SOURCES`).
        n: how many other tokens (or pairs of tokens) stand behind `z` and `below`.
        mean: the mean logit of the vocabulary at that position.
        roles: where the roles in `votes` come from, or why there are none.
        notes: what a reader must know of how the text was read.
        record: versions, time and command, to repeat it.
    """

    model: Mapping[str, Any]
    text: str
    tokens: tuple[str, ...]
    at: int
    token: Choice
    against: Choice | None
    votes: pd.DataFrame = field(repr=False)
    sources: pd.DataFrame = field(repr=False)
    n: int
    mean: float
    roles: str
    notes: tuple[str, ...] = ()
    record: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def logit(self) -> float:
        """The model's own logit, or difference of logits: what `votes["logit"]` adds up to."""
        return self.token.logit - (0.0 if self.against is None else self.against.logit)

    def top(self, k: int = 8) -> pd.DataFrame:
        """The `k` heads that voted most strongly for, and the `k` most strongly against, the strongest first.

        Args:
            k: how many of each sign at most.

        Raises:
            UsageError: if k is below 1.
        """
        if k < 1:
            raise UsageError(f"top {k}", "1 or more heads", "ask for at least one head")
        heads = words.loose(self.votes)
        heads = heads[heads["kind"] == "head"].sort_values("vote", ascending=False, kind="stable")
        for_, against = heads[heads["vote"] > 0].head(k), heads[heads["vote"] < 0].tail(k)
        return words.loose(pd.concat([for_, against.iloc[::-1]])).reset_index(drop=True)

    def sums(self) -> pd.DataFrame:
        """The sum over all parts of each kind, and in the last row over everything: the model's own logit.

        Returns:
            Columns kind, name, parts, logit, vote.
        """
        votes = words.loose(self.votes)
        rows = votes.groupby("kind").agg(parts=("part", "size"), logit=("logit", "sum"), vote=("vote", "sum"))
        rows = rows.reindex([kind for kind in KINDS if kind in rows.index]).reset_index()
        rows.insert(1, "name", [GROUPS[kind] for kind in rows["kind"]])
        rows.loc[len(rows)] = ["total", "total", *rows[["parts", "logit", "vote"]].sum()]
        return rows.astype({"parts": int})

    def layers(self) -> pd.DataFrame:
        """What the heads, the MLP and the biases of each layer add.

        Returns:
            Columns layer, kind, logit, vote.
        """
        rows = words.loose(self.votes)
        rows = rows[rows["layer"].notna()]
        summed = rows.groupby(["layer", "kind"], sort=False)[["logit", "vote"]].sum().reset_index()
        return summed.astype({"layer": int})

    def looked(self, head: str) -> pd.DataFrame:
        """Where one head looked, and what it voted from there.

        Args:
            head: its label, such as `L5H1`.

        Raises:
            UsageError: if the model has no such head.
        """
        rows = words.loose(self.sources)
        rows = rows[rows["label"] == head]
        if rows.empty:
            given, last = f"head {head!r}", str(self.sources["label"].iloc[-1])
            raise UsageError(given, f"a label from L0H0 to {last}", "layers and heads are counted from 0")
        return rows.reset_index(drop=True)

    def title(self) -> str:
        """What is explained, in a sentence."""
        name, token = self.model.get("name", "the model"), self.token
        how = f"p = {words.number(token.probability)}, rank {token.rank}"
        told = f"{name} on {token.text!r} ({how})"
        if self.against is not None:
            other = self.against
            told += f" against {other.text!r} (p = {words.number(other.probability)}, rank {other.rank})"
        return f"{told} at position {self.at} ({self.tokens[self.at]!r})"

    def figure(self, what: str = "layers", *, k: int = 12, theme: Theme = LIGHT) -> go.Figure:
        """A picture of the votes.

        Args:
            what: `layers`: from the embedding through every layer to the logit; `heads`: the strongest votes.
            k: heads of each sign, for `heads`.
            theme: `headscope.plots.LIGHT` or `DARK`.

        Raises:
            UsageError: if it is neither.
        """
        unit = UNIT if self.against is None else DIFFERENCE
        if what == "layers":
            return layer_waterfall(self.votes, title=self.title(), unit=unit, theme=theme)
        if what == "heads":
            return vote_bars(self.top(k), title=self.title(), unit=unit, theme=theme)
        raise UsageError(f"figure {what!r}", "layers or heads", "name one of them")

    def as_record(self, k: int = 8) -> dict[str, Any]:
        """The explanation as JSON: what is explained, all votes and sums, and where the strongest heads looked.

        Args:
            k: of how many heads of each sign `sources` are included.
        """
        chosen = words.loose(self.sources)
        chosen = chosen[chosen["label"].isin(self.top(k)["label"])]
        return {
            "model": dict(self.model), "text": self.text, "tokens": list(self.tokens), "at": self.at,
            "token": asdict(self.token), "against": None if self.against is None else asdict(self.against),
            "logit": self.logit, "mean_logit": self.mean, "n": self.n, "roles": self.roles, "notes": list(self.notes),
            "sums": plain_rows(self.sums()), "votes": plain_rows(self.votes), "sources": plain_rows(chosen),
            "record": dict(self.record),
        }  # fmt: skip

    def html(self, k: int = 8) -> str:
        """The explanation as one page that asks for nothing outside itself, and runs no script.

        Args:
            k: heads of each sign that are shown with the text.
        """
        from headscope.explaining.page import render

        return render(self, k)

    def save(self, folder: str | Path, *, k: int = 8) -> Path:
        """Write `explanation.html`, `explanation.json`, `votes.parquet` and `sources.parquet` into a folder.

        Args:
            folder: made if it does not exist.
            k: heads of each sign that are shown with the text.

        Raises:
            RunError: if it cannot be written.
        """
        folder = Path(folder)
        text = json.dumps(self.as_record(k), indent=2, allow_nan=False) + "\n"
        written(folder / "votes.parquet", lambda path: self.votes.to_parquet(path, index=False))
        written(folder / "sources.parquet", lambda path: self.sources.to_parquet(path, index=False))
        written(folder / "explanation.json", lambda path: path.write_text(text, encoding="utf-8"))
        self.save_html(folder / "explanation.html", k=k)
        return folder

    def save_html(self, path: str | Path, *, k: int = 8) -> Path:
        """Write the page alone.

        Args:
            path: the file; its folder is made if it does not exist.
            k: heads of each sign that are shown with the text.

        Raises:
            RunError: if it cannot be written.
        """
        page = self.html(k)
        return written(Path(path), lambda part: part.write_text(page, encoding="utf-8"))

    def _repr_html_(self) -> str:
        """In a notebook: the page in a frame of its own."""
        title = escape(f"Explanation: {self.title()}")
        style = "width:100%;height:720px;border:0"
        return f'<iframe title="{title}" style="{style}" srcdoc="{escape(self.html())}"></iframe>'
