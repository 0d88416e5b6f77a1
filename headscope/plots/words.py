"""Numbers as people read them: one way of writing values, intervals, ranks and probabilities everywhere."""

import math
from typing import Any

import numpy as np
import pandas as pd

Number = float | int | np.integer | np.floating


def number(value: Number, *, signed: bool = False) -> str:
    """A value to three digits; `absent` for NaN, so that nothing missing is ever read as 0.

    Example:
        >>> number(0.12345, signed=True), number(float("nan")), number(0.00001), number(1234.5)
        ('+0.123', 'absent', '1.0e-05', '1234')
    """
    value = float(value)
    if math.isnan(float(value)):
        return "absent"
    size, sign = abs(value), "+" if signed else ""
    if size and (size < 5e-4 or size >= 1e5):
        return f"{value:{sign}.1e}"
    return f"{value:{sign}.0f}" if size >= 1000 else f"{value:{sign}.{3 if size < 10 else 1}f}"


def interval(low: Number, high: Number, *, signed: bool = False) -> str:
    """An interval, or `none` where there is none (too few groups to resample).

    Example:
        >>> interval(0.1, 0.25), interval(float("nan"), 0.2)
        ('[0.100, 0.250]', 'none')
    """
    if math.isnan(float(low)) or math.isnan(float(high)):
        return "none"
    return f"[{number(low, signed=signed)}, {number(high, signed=signed)}]"


def count(value: Number) -> str:
    """A whole number, or `absent`.

    Example:
        >>> count(64.0), count(float("nan"))
        ('64', 'absent')
    """
    return "absent" if math.isnan(float(value)) else f"{round(value)}"


def ranks(low: Number, high: Number) -> str:
    """The interval of a rank.

    Example:
        >>> ranks(1, 3), ranks(2, 2), ranks(float("nan"), 2)
        ('1-3', '2', 'none')
    """
    if math.isnan(float(low)) or math.isnan(float(high)):
        return "none"
    return count(low) if low == high else f"{count(low)}-{count(high)}"


def sizes(low: Number, high: Number) -> str:
    """The interval of a number of heads, which may have no upper end: some resamples never reach what is asked.

    Example:
        >>> sizes(2, 5), sizes(2, float("nan")), sizes(float("nan"), float("nan"))
        ('2-5', '2 or more', 'none')
    """
    if math.isnan(float(high)) and not math.isnan(float(low)):
        return f"{count(low)} or more"
    return ranks(low, high)


def probability(value: Number) -> str:
    """A p or q value with its relation sign, ready to stand after its letter.

    Example:
        >>> "q " + probability(0.00002), "q " + probability(0.0314), "q " + probability(float("nan"))
        ('q < 0.001', 'q = 0.031', 'q not tested')
    """
    if math.isnan(float(value)):
        return "not tested"
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def percent(value: Number) -> str:
    """A share as a percentage.

    Example:
        >>> percent(0.974), percent(float("nan"))
        ('97%', 'absent')
    """
    return "absent" if math.isnan(float(value)) else f"{100 * value:.0f}%"


def percents(low: Number, high: Number) -> str:
    """An interval of shares as percentages.

    Example:
        >>> percents(0.915, 0.99)
        '[92%, 99%]'
    """
    return "none" if math.isnan(float(low)) or math.isnan(float(high)) else f"[{percent(low)}, {percent(high)}]"


def said(value: Any) -> str:
    """A text cell of a table, empty where the table has none: pandas keeps NaN there.

    Example:
        >>> said("no names"), said(float("nan")), said(None)
        ('no names', '', '')
    """
    return value if isinstance(value, str) else ""


def loose(frame: pd.DataFrame) -> Any:
    """The same frame, unchecked: pandas' own annotations answer every selection with a union that nothing accepts.

    Example:
        >>> loose(pd.DataFrame({"a": [1]}))["a"].tolist()
        [1]
    """
    return frame


def counted(values: pd.Series) -> str:
    """How many examples stand behind a set of numbers, as one number or a range.

    Example:
        >>> counted(pd.Series([64, 64])), counted(pd.Series([40, 64])), counted(pd.Series([float("nan")]))
        ('64', '40-64', 'absent')
    """
    known = values.dropna()
    return "absent" if known.empty else ranks(float(known.min()), float(known.max()))
