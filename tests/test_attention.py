"""circuitsvis views: safe text, one script, no network."""

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from results import HOSTILE, view

from headscope.attention import View, crop, escape_script, safe_json, script, show, view_html
from headscope.errors import UsageError

NO_PROPERTIES = "CircuitsVis.AttentionHeads,"


def properties(html: str) -> dict[str, object]:
    """The properties that circuitsvis is given, read back as JSON."""
    return json.loads(html[html.index(NO_PROPERTIES) + len(NO_PROPERTIES) : html.rindex(")}")])


def test_script_is_whole_and_asks_for_nothing() -> None:
    text = script()
    assert "var CircuitsVis=" in text
    assert "AttentionHeads" in text
    assert not re.search("</script|<!--", text, re.IGNORECASE)
    assert "sourceMappingURL" not in text
    assert "unpkg.com" not in text
    assert 1_200_000 < len(text.encode()) < 1_400_000


def test_escape_script_keeps_the_program() -> None:
    assert escape_script("a='</SCRIPT>'; b=1 </ 2\n//# sourceMappingURL=x.map\nc") == "a='<\\/SCRIPT>'; b=1 </ 2\n\nc"


@given(st.lists(st.text(max_size=12), max_size=5))
@settings(derandomize=True, max_examples=60)
def test_safe_json_reads_back_equal_and_holds_no_markup(texts: list[str]) -> None:
    texts = [*texts, *HOSTILE]
    out = safe_json(texts)
    assert json.loads(out) == texts
    assert not set("<>&\u2028\u2029") & set(out)


def test_view_holds_rounded_patterns_labels_and_the_mask() -> None:
    shown = view("ioi", ("a", "b", "c"), ((0, 1), (11, 3)))
    html = view_html(shown, "v1")
    given_ = properties(html)
    assert given_["attentionHeadNames"] == ["L0H1", "L11H3"]
    assert given_["maskUpperTri"] is True
    assert (given_["minValue"], given_["maxValue"]) == (0, 1)
    np.testing.assert_allclose(given_["attention"], shown.patterns, atol=5e-4)
    assert max(len(number) for number in re.findall(r"0\.\d+", html)) <= 5
    assert properties(view_html(view("t", ("a",), ((0, 0),), causal=False), "v"))["maskUpperTri"] is False


def test_view_is_closed_so_that_nothing_after_it_is_swallowed() -> None:
    html = view_html(view("ioi", ("a",), ((0, 1),)), "v1")
    assert html.startswith('<section class="circuitsvis"><div id="v1"></div></section>')
    assert html.count("<script>") == html.count("</script>") == 1


def test_hostile_tokens_stay_text() -> None:
    html = view_html(view("ioi", HOSTILE, ((0, 1),)), "v1")
    assert properties(html)["tokens"] == list(HOSTILE)
    assert html.count("<script") == 1
    assert "\u2028" not in html


def test_long_views_are_cropped_to_their_end() -> None:
    long = view("ioi", tuple(f"t{i}" for i in range(100)), ((0, 1),))
    shown = crop(long)
    assert shown.tokens == long.tokens[-64:]
    np.testing.assert_array_equal(shown.patterns, long.patterns[:, 36:, 36:])
    assert len(properties(view_html(long, "v"))["tokens"]) == 64  # pyright: ignore[reportArgumentType]
    assert crop(shown) is shown
    with pytest.raises(UsageError, match="tokens = 0"):
        crop(long, 0)


def test_bad_views_and_ids_are_said() -> None:
    with pytest.raises(
        UsageError, match=r"patterns of shape \[1, 2, 2\]\n  expected: 1 heads x 3 query tokens x 3 key"
    ):
        View(task="t", tokens=("a", "b", "c"), layer_heads=((0, 0),), patterns=np.ones((1, 2, 2)), causal=True)
    with pytest.raises(UsageError, match="1 attention values that are not finite"):
        View(task="t", tokens=("a",), layer_heads=((0, 0),), patterns=np.full((1, 1, 1), np.nan), causal=True)
    with pytest.raises(UsageError, match="element id 'a\"b'"):
        view_html(view("t", ("a",), ((0, 0),)), 'a"b')


def test_notebook_html_is_one_frame_without_network() -> None:
    html = show(view("ioi", HOSTILE, ((0, 1),)))._repr_html_()
    assert html.startswith('<iframe title="Attention on ioi"')
    inside = html[html.index('srcdoc="') + 8 : html.rindex('"></iframe>')]
    assert '"' not in inside
    assert "<" not in inside
    assert "unpkg" not in html
