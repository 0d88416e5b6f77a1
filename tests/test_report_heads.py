"""The report's parts on single heads, on agreement and on layers; links between them; themes, keyboard and print."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from browser import SCROLLED, Page, chromium, page
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import escape
from results import HOSTILE, LEADERS, Results, results, view
from test_report import DRAWN, WAIT, Tags

from headscope.profiles.agreement import causal_scores
from headscope.report import render
from headscope.report.agreement import agreement_sections
from headscope.report.attention import looks, store
from headscope.report.heads import MOST, chosen, head_pages
from headscope.report.links import linked
from headscope.report.record import identity_line, next_steps, verdict_of_check


def measured() -> Results:
    """The synthetic run with per-example values behind the scores of `ioi`."""
    run = results()
    rng = np.random.default_rng(0)
    examples = {}
    for method, score in causal_scores(run.scores, "ioi"):
        rows = run.scores.query(f"task == 'ioi' and method == {method!r} and score == {score!r}")
        means = torch.tensor(rows["value"].to_numpy().reshape(8, 12))
        examples[f"ioi.{method}.{score}"] = means + torch.tensor(rng.normal(0, 0.05, (16, 8, 12)))
    return replace(run, examples=examples, groups={"ioi": torch.arange(16) // 2})


@pytest.fixture(scope="module")
def html() -> str:
    return render(measured())


@pytest.fixture(scope="module")
def text(html: str) -> str:
    return re.sub(r"\s+", " ", Tags(html).text)


def test_every_mention_of_a_leading_head_leads_to_its_part(html: str) -> None:
    tags = Tags(html).found
    parts = [each["id"] for tag, each in tags if tag == "details" and each.get("class") == "head"]
    run = results()
    assert parts == list(chosen(run.scores, run.tasks["task"].tolist()))
    links = {(each.get("href") or "")[1:] for tag, each in tags if tag == "a"}
    led = {label for label in links if re.fullmatch(r"L\d+H\d+", label)}
    assert led <= set(parts)
    firsts = {
        label for label, ranks in chosen(run.scores, run.tasks["task"].tolist()).items() if min(ranks.values()) < 6
    }
    assert firsts <= led
    first = html[html.index('id="verdict"') : html.index('id="tasks"')]
    assert '<b><a href="#L4H2">L4H2</a></b>' in first


def test_a_part_tells_all_scores_tokens_sources_and_edges(html: str, text: str) -> None:
    part = html[html.index('id="L4H2"') : html.index('id="L4H4"')]
    said = re.sub(r"\s+", " ", Tags(part).text)
    run = results()
    row = run.scores.query("task == 'ioi' and score == 'denoising' and layer == 4 and head == 2").iloc[0]
    cell = f"{row['value']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}], {row['rank']:.0f}"
    assert f"patching, denoising {cell}" in said
    assert "ioi: no. 1 by patching, denoising" in said
    assert "“ raised” +1.250" in said.replace("\u2068", "").replace("\u2069", "")
    assert "“ answer” +1.250 (rank 1)" in said.replace("\u2068", "").replace("\u2069", "")
    assert "“ Mary” at 2 75% +0.900 1" in said.replace("\u2068", "").replace("\u2069", "")
    assert "L2H9 → L4H2 k ioi +0.400 [+0.300, +0.500] 0.002 16 (8)" in said
    assert "-0.100 +0.200 +0.500 +0.700 +1.500 90% 64, logits" in said
    other = html[html.index('id="L1H0"') : html.index('id="L1H4"')]
    assert "Edges to other heads on induction: absent, for its parts are not known." in Tags(other).text


def test_a_head_without_a_number_says_why() -> None:
    run = results()
    pages = head_pages(run.scores, places={"L1H1": {"ioi": 1}}, roles=None, profiles=None, views=store(()))
    (table,) = pages[0].tables
    assert table.rows[0][1] == "absent: no example has a <duplicate> token"
    assert pages[0].absent == ("What it writes and whom it acts through: this run holds no profiles of heads.",)


def test_the_first_heads_of_every_task_have_a_part_before_others() -> None:
    run = results()
    many = [
        run.scores[run.scores["task"] == "ioi"].assign(task=f"t{i}", layer=run.scores["layer"] + i) for i in range(9)
    ]
    found = chosen(pd.concat(many), [f"t{i}" for i in range(9)])
    assert len(found) == MOST
    firsts = [ranks for ranks in found.values() if 1 in ranks.values()]
    assert len(firsts) == 9


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.text(alphabet="LH0123456789 <>&\"'é,"))
def test_links_change_nothing_but_links(words: str) -> None:
    made = str(linked(words, {"L1H2", "L0H0"}))
    assert re.sub(r'<a href="#(L\d+H\d+)">\1</a>', r"\1", made) == str(escape(words))


def test_only_whole_labels_are_linked() -> None:
    assert str(linked("L1H2, L1H21 L11H2 xL1H2", {"L1H2"})) == '<a href="#L1H2">L1H2</a>, L1H21 L11H2 xL1H2'


def test_agreement_has_intervals_where_examples_are_kept(html: str, text: str) -> None:
    figures = json.loads(html[html.index('id="figures">') + 13 : html.index("</script>", html.index('id="figures">'))])
    matrix = figures["agreement-0"]["data"][0]
    said = matrix["customdata"][0][1]
    assert said.startswith("<b>patching denoising</b><br>against patching noising<br>rank correlation ")
    assert re.search(r"95% interval \[[+-]\d\.\d+, [+-]\d\.\d+\]", said)
    assert "no values of single examples" in figures["agreement-1"]["data"][0]["customdata"][0][1]
    assert "ioi: the heads that the methods rank most differently: rank (effect)" in text


def test_one_score_agrees_with_nothing() -> None:
    run = results()
    only = run.scores[run.scores["score"] == "denoising"]
    assert agreement_sections(only, examples={}, groups={}) == ()


def test_headings_go_down_one_step_at_a_time(html: str) -> None:
    levels = [int(tag[1]) for tag, _ in Tags(html).found if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_every_command_can_be_copied(html: str) -> None:
    tags = Tags(html).found
    codes = {each["id"] for tag, each in tags if tag == "code" and "id" in each}
    buttons = [each["data-copy"] for tag, each in tags if "data-copy" in each]
    assert set(buttons) == codes
    assert {"command", "next-1"} <= codes


def test_the_store_keeps_the_first_prompt_of_every_task_first() -> None:
    tokens = ("a", "b", "c")
    views = [replace(view(task, tokens, ((0, 1),)), prompt=at) for task in ("one", "two") for at in range(2)]
    whole = store(views)
    assert [(each.task, each.prompt) for each in whole.kept] == [("one", 0), ("two", 0), ("one", 1), ("two", 1)]
    assert [each["tokens"] for each in json.loads(whole.json)] == [list(tokens)] * 4
    part = store(views, room=len(whole.json) // 2)
    assert [(each.task, each.prompt) for each in part.kept] == [("one", 0), ("two", 0)]
    assert part.dropped == 2
    assert [look.id for look in looks(part, "x", head="L0H1")] == ["x-v0", "x-v1"]
    assert looks(part, "x", head="L0H2") == ()
    shares = np.array(json.loads(whole.json)[0]["heads"]["L0H1"])
    np.testing.assert_allclose(shares, views[0].patterns[0], atol=5e-4)


def test_a_failed_or_absent_self_check_is_told() -> None:
    failed = {"self_check": {"causal": 0.5, "edit_acts": 1e-7, "tolerance": 1e-4}}
    assert verdict_of_check(failed) == ("failed", "failed: causal")
    assert verdict_of_check({"self_check": {"causal": float("nan"), "tolerance": 1e-4}})[0] == "failed"
    assert verdict_of_check({"model": "m"}) == ("skipped", "not run")
    assert "random weights in head.bias and 1 more" in identity_line(
        {"model": {"architecture": "B", "random_weights": ["head.bias", "head.weight"]}}
    )


def test_next_steps_ask_what_was_not_asked() -> None:
    typed = {"command": ["headscope", "analyze", "a b; rm"]}
    steps = dict(next_steps(typed, task="", few=False, roles=False))
    assert list(steps.values()) == ["headscope roles 'a b; rm'", "headscope probe 'a b; rm'"]
    after = dict(next_steps({"model": {"name": "m"}}, task="ioi", few=True, roles=True))
    assert list(after.values()) == ["headscope analyze m", "headscope probe m"]


needs_browser = pytest.mark.skipif(
    chromium() is None, reason="no chromium on PATH: the report is not opened in a browser"
)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Page, Path]]:
    folder = tmp_path_factory.mktemp("heads")
    run = replace(results(hostile=True), views=results(hostile=True).views[:1])
    only = run.scores[run.scores["task"] == run.tasks["task"].iloc[0]]
    (folder / "report.html").write_text(render(replace(run, scores=only[only["method"] == "patching"])), "utf-8")
    with page(folder / "profile") as browser:
        yield browser, folder / "report.html"


@needs_browser
@pytest.mark.slow
def test_browser_follows_links_and_clicks_to_a_head(opened: tuple[Page, Path]) -> None:
    browser, path = opened
    browser.open(path)
    browser.evaluate(DRAWN)
    label = LEADERS[1]
    assert browser.evaluate(f"document.getElementById('{label}').open") is False
    browser.evaluate(f"document.querySelector('#verdict a[href=\"#{label}\"]').click()")
    browser.evaluate(WAIT % f"document.getElementById('{label}').open")
    assert browser.evaluate("document.activeElement.tagName") == "SUMMARY"
    said = browser.evaluate(f"document.getElementById('{label}').textContent")
    for words in HOSTILE:
        assert words.strip("\u2028") in said
    assert browser.evaluate("document.querySelectorAll('script').length") == 6
    click = "document.querySelector('#t0-m0-s0').emit('plotly_click', {points: [{customdata: ['L2H9']}]})"
    browser.evaluate(click)
    browser.evaluate(WAIT % "document.getElementById('L2H9').open")
    assert browser.errors == []


@needs_browser
@pytest.mark.slow
def test_browser_switches_themes_and_prints_in_light(opened: tuple[Page, Path]) -> None:
    browser, path = opened
    browser.open(path, dark=False)
    browser.evaluate(DRAWN)
    ground = "getComputedStyle(document.body).backgroundColor"
    scale = "document.querySelector('#t0-m0-s0').data[0].colorscale[5][1]"
    seen = []
    for _ in range(3):
        browser.evaluate("document.getElementById('theme').click()")
        seen.append((browser.evaluate("document.getElementById('theme').textContent"), browser.evaluate(ground)))
    white, dark = "rgb(255, 255, 255)", "rgb(20, 23, 29)"
    assert seen == [("Theme: light", white), ("Theme: dark", dark), ("Theme: automatic", white)]
    browser.evaluate("document.getElementById('theme').click(); document.getElementById('theme').click()")
    browser.evaluate(WAIT % f"{scale} === '#20242c'")
    browser.evaluate("dispatchEvent(new Event('beforeprint'))")
    browser.evaluate(WAIT % f"{scale} === '#f7f7f7'")
    assert browser.evaluate("[...document.querySelectorAll('main details')].every(part => part.open)") is True
    browser.evaluate("dispatchEvent(new Event('afterprint'))")
    browser.evaluate(WAIT % f"{scale} === '#20242c'")
    assert browser.errors == []


@needs_browser
@pytest.mark.slow
def test_browser_copies_a_command_and_stays_within_a_phone(opened: tuple[Page, Path]) -> None:
    browser, path = opened
    browser.open(path, width=375, height=800)
    browser.evaluate(DRAWN)
    browser.evaluate("document.querySelectorAll('details').forEach(item => { item.open = true })")
    browser.evaluate(SCROLLED)
    assert browser.evaluate(
        "[...document.querySelectorAll('[data-view]')].every(place => place.querySelector('canvas'))"
    )
    assert browser.evaluate("document.documentElement.scrollWidth") <= 375
    browser.evaluate("document.querySelector('.copy').click()")
    browser.evaluate(WAIT % "document.querySelector('.copy').textContent === 'Copied'")
    assert browser.errors == []
    assert [link for link in browser.requests if not link.startswith(("file:", "data:", "blob:"))] == []
