"""Attention patterns drawn by circuitsvis, safe without a network.

circuitsvis' own HTML asks for a content-delivery network, pings a search engine when displayed, and swallows what
follows it on the page. So only its script is used: once per page, with one closed element per view.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from html import escape
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from headscope.errors import HeadscopeError, UsageError
from headscope.grid import Grid

TOKENS = 64
"""The most tokens that a view shows: beyond that circuitsvis is neither quick nor readable."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """The attention of some heads over the tokens of one prompt.

    Attributes:
        task: the task that the prompt is of.
        tokens: the prompt's tokens, as text.
        layer_heads: (layer, head) of each pattern.
        patterns: shares of attention; each query's row sums to 1 (less where tokens were cropped away).
        causal: whether later tokens are out of sight.
        prompt: the prompt's place among the task's examples, from 0.

    Raises:
        UsageError: if the sizes disagree, or a pattern has a number that is not finite.

    Example:
        >>> View(task="ioi", tokens=("a",), layer_heads=((0, 1),), patterns=np.ones((1, 1, 1)), causal=True).task
        'ioi'
    """

    task: str
    tokens: tuple[str, ...]
    layer_heads: tuple[tuple[int, int], ...]
    patterns: Float[np.ndarray, "head query key"]
    causal: bool
    prompt: int = 0

    def __post_init__(self) -> None:
        size = len(self.tokens)
        if self.patterns.shape != (len(self.layer_heads), size, size):
            raise UsageError(
                f"patterns of shape {list(self.patterns.shape)}",
                f"{len(self.layer_heads)} heads x {size} query tokens x {size} key tokens",
                "give one pattern per head and one row and column per token",
            )
        if not np.isfinite(self.patterns).all():
            raise UsageError(
                f"{int((~np.isfinite(self.patterns)).sum())} attention values that are not finite",
                "shares of attention between 0 and 1",
                "leave padding out of the view, and check the model's weights for NaN",
            )


def crop(view: View, tokens: int = TOKENS) -> View:
    """The view's last `tokens` tokens (the answer is read at the end); the view itself if it has no more.

    Example:
        >>> view = View(task="t", tokens=("a", "b"), layer_heads=((0, 0),), patterns=np.ones((1, 2, 2)), causal=True)
        >>> crop(view, 1).tokens
        ('b',)
    """
    if tokens < 1:
        raise UsageError(f"tokens = {tokens}", "a whole number of at least 1", f"leave it out to show {TOKENS}")
    if len(view.tokens) <= tokens:
        return view
    return replace(view, tokens=view.tokens[-tokens:], patterns=view.patterns[:, -tokens:, -tokens:])


def safe_json(value: Mapping[str, Any] | Sequence[Any] | str) -> str:
    """JSON that can stand inside a script element: no character of it can end the element or start a comment.

    Example:
        >>> safe_json(["</script>"])
        '["\\\\u003c/script\\\\u003e"]'
    """
    return escape_json(json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")))


def escape_json(text: str) -> str:
    """JSON text with the characters escaped that mean something to HTML or end a line in JavaScript.

    Example:
        >>> escape_json('"<a&b>"')
        '"\\\\u003ca\\\\u0026b\\\\u003e"'
    """
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def escape_script(text: str) -> str:
    """JavaScript source that an inline script element holds whole.

    Example:
        >>> escape_script('a = "</script>"')
        'a = "<\\\\/script>"'
    """
    text = re.sub(r"</(?=script)", r"<\\/", text, flags=re.IGNORECASE).replace("<!--", r"<\!--")
    return re.sub(r"^//# sourceMappingURL=.*$", "", text, flags=re.MULTILINE)


@cache
def script() -> str:
    """circuitsvis as one script, to be put once into a page's script element before any `view_html`.

    Returns:
        1.3 MB of JavaScript that needs no network.

    Raises:
        HeadscopeError: if the installed circuitsvis has no such file.

    Example:
        >>> "</script" in script()
        False
    """
    # Found through the metadata: importing circuitsvis would import torch.
    path = Path(str(distribution("circuitsvis").locate_file("circuitsvis/dist/cdn/iife.js")))
    try:
        return escape_script(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise HeadscopeError(
            f"circuitsvis without {path.name} ({error.strerror})",
            "circuitsvis 1.43.3 or a later 1.x",
            "pip install --force-reinstall 'circuitsvis>=1.43.3,<2'",
        ) from error


def view_html(view: View, element_id: str) -> str:
    """A view as a closed section and the script that draws it once the page has loaded; `script()` must be there.

    Args:
        view: what to draw; only its last 64 tokens are shown, to three decimals.
        element_id: the id of the drawing's element, unique on its page: letters, digits, `-` and `_`.

    Returns:
        HTML in which every token is text, whatever it holds.

    Raises:
        UsageError: if the id has other characters.

    Example:
        >>> view = View(task="t", tokens=("<b>",), layer_heads=((5, 1),), patterns=np.ones((1, 1, 1)), causal=True)
        >>> '"attentionHeadNames":["L5H1"],"tokens":["\\\\u003cb\\\\u003e"]' in view_html(view, "a1")
        True
    """
    if not re.fullmatch(r"[A-Za-z][\w-]*", element_id, flags=re.ASCII):
        raise UsageError(f"element id {element_id!r}", "a letter, then letters, digits, - or _", "give a plain id")
    shown = crop(view)
    properties = safe_json(
        {
            "attention": [[[round(float(share), 3) for share in row] for row in head] for head in shown.patterns],
            "attentionHeadNames": [Grid.label(*place) for place in shown.layer_heads],
            "tokens": list(shown.tokens),
            "maxValue": 1,
            "minValue": 0,
            "maskUpperTri": shown.causal,
        }
    )
    draw = f'CircuitsVis.render("{element_id}",CircuitsVis.AttentionHeads,{properties})'
    return (
        f'<section class="circuitsvis"><div id="{element_id}"></div></section>\n'
        f'<script>addEventListener("load",()=>{{{draw}}})</script>'
    )


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """What `show` gives to a notebook: HTML in a frame of its own, which needs neither a network nor trust."""

    view: View

    def _repr_html_(self) -> str:
        page = (
            '<!doctype html><meta charset="utf-8"><body style="margin:8px;background:#fff;font-family:sans-serif">'
            f"<script>{script()}</script>{view_html(self.view, 'view')}"
        )
        height = 320 + 14 * min(len(self.view.tokens), TOKENS)
        title = escape(f"Attention on {self.view.task}")
        return (
            f'<iframe title="{title}" style="width:100%;height:{height}px;border:0" srcdoc="{escape(page)}"></iframe>'
        )


def show(view: View) -> Shown:
    """A view for a notebook: the last expression of a cell draws it, also with no network.

    Cost: 1.3 MB in the notebook for each view shown; a script or a report draws with `view_html` instead.

    Example:
        >>> view = View(task="ioi", tokens=("a",), layer_heads=((0, 1),), patterns=np.ones((1, 1, 1)), causal=True)
        >>> show(view)._repr_html_()[:31]
        '<iframe title="Attention on ioi'
    """
    return Shown(view)
