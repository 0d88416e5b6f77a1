"""Heads on the page: a link from every mention to the head's own part."""

import re
from collections.abc import Collection

from markupsafe import Markup, escape

LABEL = re.compile(r"\bL\d+H\d+\b")


def linked(text: object, pages: Collection[str]) -> Markup:
    """Text, escaped, in which every head that has a part of its own links to it.

    Args:
        text: anything; what is markup in it becomes plain text.
        pages: the labels of heads that have one.

    Example:
        >>> print(linked("<b> L0H1, L0H12", {"L0H1"}))
        &lt;b&gt; <a href="#L0H1">L0H1</a>, L0H12
    """
    # Labels are letters and digits, so that replacing them after escaping cannot undo it.
    return Markup(LABEL.sub(lambda found: _link(found[0], pages), str(escape(text))))


def _link(label: str, pages: Collection[str]) -> str:
    return f'<a href="#{label}">{label}</a>' if label in pages else label
