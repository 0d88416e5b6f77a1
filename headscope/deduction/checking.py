"""What the tables of a circuit must hold before anything is drawn from them, whoever wrote them."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from headscope.frames import check_columns, columns_of
from headscope.grid import Grid, check_heads

_COUNTS = "n groups value low high"
TABLES = {
    "confidence": columns_of(
        text="component unit reason",
        number="threshold tokens uncertain rate rate_low rate_high share share_low share_high share_tokens n groups",
    ),
    "tokens": columns_of(text="token component predicted", whole="chain position step", number="probability",
                         truth="right"),
    "lens": columns_of(text="component measure unit reason", whole="step layer", number=f"{_COUNTS} tokens"),
    "heads": columns_of(text="role kind name score unit reason", whole="layer head", truth="selected",
                        number=f"{_COUNTS} p q rank rank_low rank_high share"),
    "layers": columns_of(text="role kind score unit reason", whole="layer", number=f"{_COUNTS} heads"),
    "depths": columns_of(text="role measure unit reason", number="reading decision difference low high n groups"),
    "edges": columns_of(text="role sender sender_kind receiver receiver_kind score unit reason",
                        number=f"{_COUNTS} p q"),
    "controls": columns_of(text="control role kind measure unit reason", number=_COUNTS),
    "ablation": columns_of(
        text="where measure set heads mode unit control reason",
        number=f"{_COUNTS} size intact lost lost_low lost_high sets random random_low random_high random_lost p ratio",
    ),
    "chains": columns_of(whole="chain"),
}  # fmt: skip
CLAIMS = columns_of(text="name claim measured controls verdict why rule")


def check_circuit(grid: Grid, frames: Mapping[str, pd.DataFrame], parts: Mapping[str, Any]) -> None:
    """Raise ValueError unless the tables and the record of a circuit are of the kinds that its page takes them for.

    Args:
        grid: as its record says.
        frames: its tables, by name.
        parts: what else its record holds.
    """
    check_heads(grid.layers, grid.heads)
    for name, columns in TABLES.items():
        check_columns(frames[name], columns, name=name)
    heads = frames["heads"]
    for column, size in (("layer", grid.layers), ("head", grid.heads)):
        if len(heads) and not heads[column].between(0, size - 1).all():
            raise ValueError(f"the table heads, which has a {column} beyond the model's {size}")
    kinds: dict[str, type] = {"model": dict, "settings": dict, "form": str, "k": int, "sizes": dict, "seconds": dict,
                              "stopped": str}  # fmt: skip
    for name, kind in kinds.items():
        if name in parts and not isinstance(parts[name], kind):
            raise ValueError(f"{name} {parts[name]!r:.40}")
    for name in ("threshold", "claim", "able"):
        value = parts["settings"].get(name, 0.0)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"setting {name} {value!r:.40}")


def check_claims(claims: pd.DataFrame) -> None:
    """Raise ValueError unless a table of claims has texts in all its columns.

    Args:
        claims: from a reproduction's file; those from before there were controls have no column of them.
    """
    wanted = {name: kind for name, kind in CLAIMS.items() if name != "controls" or name in claims.columns}
    check_columns(claims, wanted, name="claims")
