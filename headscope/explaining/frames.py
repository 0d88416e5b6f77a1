"""From a decomposition to tidy frames: one row a part, and one row a head and source position."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from headscope.grid import Grid
from headscope.methods.decomposition import Decomposition, Part, gap
from headscope.methods.vocabulary import Standing, mean_word
from headscope.plots.words import loose

VOTES = (
    "kind", "part", "layer", "head", "label", "logit", "vote", "spread", "z", "below", "looked", "looked_token",
    "attention", "source", "source_token", "source_vote", "role",
)  # fmt: skip
SOURCES = ("layer", "head", "label", "position", "token", "attention", "logit", "vote")


def votes_frame(
    found: Decomposition,
    stood: Standing,
    sources: pd.DataFrame,
    *,
    token: int,
    against: int | None,
    roles: Mapping[str, str],
) -> pd.DataFrame:
    """One row for each part: what it adds, how that stands against chance, and where a head looked.

    Args:
        found: the decomposition.
        stood: its votes and their standing.
        sources: from `sources_frame`.
        token: the id that is voted for.
        against: the id that it is set against, or None.
        roles: label of a head -> its role; a head that is not there has none (`""`).

    Returns:
        Columns `VOTES`. `logit` adds up to the model's own logit (or difference of logits), `vote` to the same less the
        mean logit of the vocabulary. NaN (and `<NA>`, `""`) where something does not apply to a part.
    """
    ends = _ends(found, token, against)
    raw = float(found.logits[token]) - (float(found.logits[against]) if against is not None else 0.0)
    over = raw - (float(found.logits.mean()) if against is None else 0.0)
    rest = over - float(stood.vote.sum())
    last = {part.name: value for part, value in ends}
    # What no part says of the mean logit is the soft-cap's, where there is one.
    votes = [rest - last["rounding"], last["rounding"]] if len(ends) > 1 else [rest]
    nothing = torch.full((len(ends),), torch.nan, dtype=torch.float64)
    parts = [*found.parts, *(part for part, _ in ends)]
    columns = {
        "logit": torch.cat([stood.logit, torch.tensor([value for _, value in ends], dtype=torch.float64)]),
        "vote": torch.cat([stood.vote, torch.tensor(votes, dtype=torch.float64)]),
        **{name: torch.cat([getattr(stood, name), nothing]) for name in ("spread", "z", "below")},
    }
    frame = pd.DataFrame({name: value.numpy() for name, value in columns.items()})
    frame = frame.assign(**_names(parts), role=[roles.get(part.name, "") for part in parts])
    return loose(_filled(frame.join(_looked(sources), on="label")))[list(VOTES)]


def _ends(found: Decomposition, token: int, against: int | None) -> list[tuple[Part, float]]:
    """Soft-cap and rounding, of one logit or of the difference of two."""
    ends = [_end(found, each) for each in ([token] if against is None else [token, against])]
    if against is None:
        return ends[0]
    return [(part, value - other) for (part, value), (_, other) in zip(*ends, strict=True)]


def _end(found: Decomposition, token: int) -> list[tuple[Part, float]]:
    raw = float(found.votes(found.word(token)).sum())
    return list(gap(raw, float(found.logits[token]), found.program.softcap))


def _names(parts: Sequence[Part]) -> dict[str, object]:
    labels = [part.name if part.kind == "head" else "" for part in parts]
    named = [f"{part.name}, layer {part.layer}" if part.kind == "bias" and part.layer is not None else part.name
             for part in parts]  # fmt: skip
    places = {
        name: pd.array([getattr(part, name) for part in parts], dtype="Int64") for name in ("layer", "head")
    }  # fmt: skip
    return {"kind": [part.kind for part in parts], "part": named, "label": labels, **places}


def _looked(sources: pd.DataFrame) -> pd.DataFrame:
    """For each head the position that it looked at most, and the one that most of its vote came from."""
    groups = sources.groupby("label", sort=False)
    most = sources.loc[groups["attention"].idxmax(), ["label", "position", "token", "attention"]]
    most = most.rename(columns={"position": "looked", "token": "looked_token"}).set_index("label")
    # Of a positive vote the most positive source, of a negative one the most negative.
    along = sources["vote"] * np.sign(groups["vote"].transform("sum"))
    largest = sources.loc[along.groupby(sources["label"], sort=False).idxmax(), ["label", "position", "token", "vote"]]
    names = {"position": "source", "token": "source_token", "vote": "source_vote"}
    return most.join(largest.rename(columns=names).set_index("label"))


def _filled(frame: pd.DataFrame) -> pd.DataFrame:
    texts = {name: frame[name].fillna("") for name in ("looked_token", "source_token")}
    return frame.assign(**texts, **{name: frame[name].astype("Int64") for name in ("looked", "source")})


def sources_frame(found: Decomposition, tokens: Sequence[str], *, token: int, against: int | None) -> pd.DataFrame:
    """One row for each head and position that it can look at: its attention there, and what that adds.

    Args:
        found: the decomposition.
        tokens: the prompt's tokens as text.
        token: the id that is voted for.
        against: the id that it is set against, or None.

    Returns:
        Columns `SOURCES`. The `logit` and `vote` of a head's rows add up to its own in the frame of votes.
    """
    words = [found.word(token), mean_word(found.program)] if against is None else []
    logit = found.by_source(words[0] if words else found.word(token) - found.word(int(against or 0)))
    vote = logit - found.by_source(words[1]) if words else logit
    layers, heads, keys = logit.shape
    place = np.indices((layers, heads, keys)).reshape(3, -1)
    labels = np.array([[Grid.label(layer, head) for head in range(heads)] for layer in range(layers)])
    return pd.DataFrame(
        {
            "layer": place[0],
            "head": place[1],
            "label": labels[place[0], place[1]],
            "position": place[2],
            "token": np.array(tokens[:keys], dtype=object)[place[2]],
            "attention": _flat(found.pattern),
            "logit": _flat(logit),
            "vote": _flat(vote),
        }
    )


def _flat(values: Float[Tensor, "layer head key"]) -> Float[np.ndarray, " row"]:
    return values.flatten().numpy()
