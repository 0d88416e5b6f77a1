"""The report: what it says, what it asks for, and what a browser makes of it with no network."""

import re
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browser import SCROLLED, Page, chromium, page
from results import HOSTILE, SCORES, Results, results

from headscope.errors import RunError
from headscope.report import findings, leading, render, write
from headscope.report.panels import BUDGET

WAIT = "new Promise(done => {const look = () => %s ? setTimeout(done, 50, 1) : setTimeout(look, 30); look()})"
DRAWN = WAIT % "document.documentElement.dataset.drawn"
PLACE = """(() => {
  const plot = document.querySelector("#t0-m0-s0");
  plot.scrollIntoView({behavior: "instant", block: "center"});
  const {x, y} = plot.getBoundingClientRect(), {xaxis, yaxis} = plot._fullLayout;
  return [x + xaxis._offset + xaxis.l2p(%d), y + yaxis._offset + yaxis.l2p(%d)];
})()"""
HOVERED = "document.querySelector('#t0-m0-s0 .hovertext')"


class Tags(HTMLParser):
    """The elements of a page with their attributes, and the text outside scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._raw = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._raw = tag in {"script", "style"}
        self.text += " "

    def handle_endtag(self, tag: str) -> None:
        self._raw = self._raw and tag not in {"script", "style"}

    def handle_data(self, data: str) -> None:
        self.text += "" if self._raw else data


@pytest.fixture(scope="module")
def html() -> str:
    return render(results())


@pytest.fixture(scope="module")
def hostile() -> str:
    return render(results(hostile=True))


@pytest.fixture(scope="module")
def short() -> str:
    """A hostile report of one task: fewer figures to draw in a browser."""
    run = results(hostile=True)
    task = run.tasks["task"].iloc[0]
    return render(replace(run, scores=run.scores[run.scores["task"] == task]))


@pytest.fixture(scope="module")
def text(html: str) -> str:
    return re.sub(r"\s+", " ", Tags(html).text)


def test_nothing_outside_the_file_is_asked_for(html: str) -> None:
    for tag, attributes in Tags(html).found:
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            link = attributes.get(name) or "#"
            assert link.startswith(("#", "data:,")), (tag, link)
    assert "url(" not in html[html.index("<style>") : html.index("</style>")]
    assert "@import" not in html


def test_each_library_is_there_once_and_the_file_stays_below_8_mb(html: str) -> None:
    assert html.count("var CircuitsVis=") == 1
    assert "heatmaps show head and value only" not in html
    assert len(re.findall(r"plotly\.js v\d", html)) == 1
    assert len(html.encode()) < 8_000_000
    assert "var CircuitsVis=" not in render(replace(results(grid=(2, 3)), views=()))


@pytest.mark.slow
def test_a_model_of_a_thousand_heads_stays_below_8_mb() -> None:
    run = results(grid=(32, 32))
    page = render(run)
    assert len(page.encode()) < 8_000_000
    assert "heatmaps show head and value only" in page
    figures = page[page.index('id="figures">') : page.index('id="themes">')]
    assert 500_000 < len(figures.encode()) <= BUDGET + 50_000


def test_verdict_names_the_heads_with_effect_interval_rank_and_share(text: str) -> None:
    run = results()
    assert "mini does 2 of 4 tasks: ioi, induction. It fails agreement: effects there are flagged" in text
    rows = run.scores.query("task == 'ioi' and method == 'patching' and score == 'denoising'").nsmallest(5, "rank")
    for row in rows.itertuples():
        interval, ranks = f"[{row.low:+.3f}, {row.high:+.3f}]", f"[{row.rank_low:.0f}-{row.rank_high:.0f}]"
        expected = f"L{row.layer}H{row.head} {row.value:+.3f} {interval} rank {row.rank:.0f} {ranks}"
        assert expected in text
    share = f"These 5 of 96 heads hold {100 * rows['share'].sum():.0f}% of the summed absolute single-head effects."
    assert share in text
    assert "Largest effects by patching, denoising (unit: share of the clean - corrupted logit difference; [95%" in text
    found = (run.scores.query("task == 'ioi' and method == 'patching' and score == 'denoising'")["q"] < 0.05).sum()
    assert f"How many? {found} of 96 heads are shown to have an effect by themselves (q < 0.05)." in text
    stay = (rows["rank_high"] <= 5).sum()
    assert f"How sure? {stay} of these 5 stay among the first 5 (95% interval of the rank); n = 64 examples" in text
    assert "How many are enough together was not measured here, and single effects cannot tell" in text


def test_verdict_says_what_failed_and_what_was_skipped(text: str) -> None:
    assert (
        "The model fails this task: accuracy 52%, 95% interval [40%, 100%], n = 64 examples in 8 groups (accuracy"
        in text
    )
    assert "Skipped: the tokenizer splits every name." in text
    flag = "Flagged: the model fails this task, so these numbers explain a failure"
    assert text.count(flag) == 1 + sum(map(len, SCORES.values()))
    assert "absent absent absent" in text
    assert "nan" not in text.lower().split()


def test_no_causal_score_means_no_claim() -> None:
    run = results()
    only = run.scores[run.scores["method"] == "attention"]
    assert leading(only, "ioi") is None
    page = Tags(render(replace(run, scores=only))).text
    assert page.count("No causal method gave a number here, so nothing says which heads matter for this task.") == 3
    assert "Largest effects" not in page


def test_the_leading_score_is_the_best_there_is() -> None:
    scores = results().scores
    assert leading(scores, "ioi") == ("patching", "denoising")
    gone = scores["method"].eq("patching") & scores["score"].eq("denoising")
    assert leading(scores.assign(value=scores["value"].mask(gone)), "ioi") == ("patching", "noising")
    assert leading(scores[scores["method"] != "patching"], "ioi") == ("ablation", "resample")


def test_findings_leave_out_what_is_not_known() -> None:
    run = results()
    bare = run.scores.assign(share=np.nan, q=np.nan)
    assert findings(bare, run.tasks)[0].summary == "Heads without a number: 1."


def test_model_self_check_and_record_are_there(text: str) -> None:
    for words in ("architecture GPT2LMHeadModel", "logits against Hugging Face 1.4e-06", "passed yes", "Seed: 0"):
        assert words in text
    assert "headscope analyze mini" in text
    assert "versions: torch 2.13.0" in text
    empty = Tags(render(Results({}, results().scores, results().tasks, ()))).text
    assert "No self-check was recorded." in empty
    assert "No command was recorded" in empty
    assert "Which attention heads of mini matter?" in " ".join(empty.split())


def test_text_that_a_table_lacks_is_left_out() -> None:
    run = results(grid=(2, 3))
    tasks = run.tasks.assign(reason=np.nan, source=None, corruption=np.nan, metric=np.nan)
    page = Tags(render(replace(run, tasks=tasks, scores=run.scores.assign(reason=np.nan)))).text.split()
    assert not {"nan", "None"} & set(page)
    assert "Skipped: no reason was recorded." in " ".join(page)


def test_a_run_without_tasks_has_a_report() -> None:
    run = results()
    assert "This run has no tasks." in render(Results({"model": "m"}, run.scores[:0], run.tasks[:0], ()))


def test_hostile_text_adds_no_element(html: str, hostile: str) -> None:
    plain, bad = Tags(html), Tags(hostile)
    assert [tag for tag, _ in bad.found] == [tag for tag, _ in plain.found]
    for words in HOSTILE:
        assert words.strip() in unescape(bad.text)
    assert 'alert("x")</script>' not in re.sub(r"\\u003c", "", hostile)


def test_every_figure_table_and_region_has_a_name(html: str) -> None:
    tags = Tags(html).found
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in tags:
        if tag == "figure":
            assert attributes.get("aria-label") or attributes["aria-labelledby"] in ids
        if attributes.get("role") == "region":
            assert attributes["aria-label"]
            assert attributes["tabindex"] == "0"
        if (attributes.get("href") or "").startswith("#"):
            assert (attributes["href"] or "")[1:] in ids
    assert ("html", {"lang": "en"}) in tags


def test_write_replaces_a_report_only_when_the_new_one_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", full)
        with pytest.raises(RunError, match=r"which cannot be written \(No space left on device\)"):
            write(results(grid=(2, 3)), path)
    assert path.read_text() == "old"
    assert write(results(grid=(2, 3)), path).read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [item.name for item in tmp_path.iterdir()] == ["report.html"]
    with pytest.raises(RunError, match="a folder that exists") as caught:
        write(results(grid=(2, 3)), tmp_path / "none" / "report.html")
    assert "No such file or directory" in caught.value.given


needs_browser = pytest.mark.skipif(
    chromium() is None, reason="no chromium on PATH: the report is not opened in a browser"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory, html: str, short: str) -> Iterator[tuple[Page, Path]]:
    folder = tmp_path_factory.mktemp("browser")
    (folder / "report.html").write_text(html, encoding="utf-8")
    (folder / "hostile.html").write_text(short, encoding="utf-8")
    with page(folder / "profile") as opened:
        yield opened, folder


COLOURS = """Promise.all([...document.querySelectorAll(%s)].map(async (item) => {
  const image = new Image();
  image.src = item.toDataURL ? item.toDataURL() : item.getAttribute("href") || item.getAttribute("xlink:href");
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.width, image.height];
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  return new Set(new Uint32Array(context.getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size;
}))"""


@needs_browser
@pytest.mark.parametrize(("name", "tasks"), [("report", 3), ("hostile", 1)])
def test_browser_draws_everything_with_no_network_and_no_error(
    browser: tuple[Page, Path], name: str, tasks: int
) -> None:
    opened, folder = browser
    opened.errors.clear()
    opened.requests.clear()
    opened.open(folder / f"{name}.html")
    opened.evaluate(DRAWN)
    assert opened.evaluate("typeof CircuitsVis") == "undefined", "its script waits until a view comes near"
    opened.evaluate("document.querySelectorAll('details').forEach(item => { item.open = true })")
    svgs = "document.querySelectorAll('.plot .main-svg').length >= 3 * document.querySelectorAll('.plot').length"
    opened.evaluate(WAIT % svgs)
    opened.evaluate(SCROLLED)
    assert opened.evaluate(
        "[...document.querySelectorAll('[data-view]')].every(place => place.querySelector('canvas'))"
    )
    cells = opened.evaluate(COLOURS % "'.heatmaplayer image'")
    # 12 heatmaps a task, each with a grey layer of its own, of one colour and the clear rest; and how methods agree.
    assert len(cells) == 25 * tasks
    assert sorted(cells)[12 * tasks] > 2
    assert min(cells) == 2
    dots = opened.evaluate(
        "[...document.querySelectorAll('.plot')].map(plot => plot.querySelectorAll('.point').length).filter(Boolean)"
    )
    assert dots == [3] + [20] * tasks + [8] * tasks + [1]
    heads = opened.evaluate("[...document.querySelectorAll('.circuitsvis h4')].map(label => label.textContent)")
    assert heads == ["L0H3", "L2H5", "L6H1", "L7H11"] + ["L0H3", "L2H5"] * (tasks > 1)
    assert min(opened.evaluate(COLOURS % "'.circuitsvis canvas'")) > 2
    assert opened.evaluate("document.querySelector('.circuitsvis [role=button]').tabIndex") == 0
    press = "item.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', bubbles: true}))"
    opened.evaluate(f"[document.querySelectorAll('.circuitsvis [role=button]')[1]].forEach(item => {press})")
    opened.evaluate(WAIT % "document.querySelectorAll('.circuitsvis h3')[1].textContent.startsWith('L2H5')")
    assert opened.errors == []
    assert [link for link in opened.requests if not link.startswith(("file:", "data:", "blob:"))] == []


@needs_browser
def test_browser_fits_a_phone_and_follows_the_colour_scheme(browser: tuple[Page, Path]) -> None:
    opened, folder = browser
    opened.open(folder / "report.html", width=360, height=780)
    opened.evaluate(DRAWN)
    assert opened.evaluate("document.documentElement.scrollWidth") <= 360
    plots = "[...document.querySelectorAll('.plot .main-svg')].filter(item => !item.closest('.scroll'))"
    assert max(opened.evaluate(f"{plots}.map(item => item.getBoundingClientRect().right)")) <= 360
    scale = "document.querySelector('#t0-m0-s0').data[0].colorscale[5][1]"
    assert opened.evaluate(scale) == "#f7f7f7"
    opened.open(folder / "report.html", dark=True)
    opened.evaluate(DRAWN)
    assert opened.evaluate(scale) == "#20242c"
    assert opened.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 29)"


@needs_browser
def test_browser_hover_says_what_the_frame_says(browser: tuple[Page, Path]) -> None:
    opened, folder = browser
    opened.open(folder / "report.html")
    opened.evaluate(DRAWN)
    row: pd.Series = (
        results().scores.query("task == 'ioi' and score == 'denoising' and layer == 4 and head == 2").iloc[0]
    )
    opened.hover(*opened.evaluate(PLACE % (2, 4)))
    opened.evaluate(WAIT % HOVERED)
    said = opened.evaluate(f"{HOVERED}.textContent")
    assert f"L4H2 {row['value']:+.3f}95% interval [{row['low']:+.3f}, {row['high']:+.3f}]n = 64 in 8 groups" in said
    opened.hover(*opened.evaluate(PLACE % (1, 1)))
    opened.evaluate(WAIT % f"{HOVERED}?.textContent.includes('L1H1')")
    assert opened.evaluate(f"{HOVERED}.textContent") == "L1H1no number: no example has a <duplicate> token"
