"""What becomes of a verdict on a few heads: the report, the folder, and the run that makes it."""

import json
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from architectures import tiny
from browser import Page, chromium, page
from fewcases import failed, invented
from results import HOSTILE, results
from test_report import DRAWN, Tags

import headscope
from headscope.cli import verdicts
from headscope.errors import RunError, TaskError, UsageError
from headscope.few import Few, few_from
from headscope.few.outcome import TABLES
from headscope.grid import Grid
from headscope.judging import Request, carry_out, request, scores
from headscope.models import load
from headscope.pipeline import Interrupted
from headscope.plots.theme import DARK
from headscope.report import render
from headscope.report.few import few_section, smallest_table, state
from headscope.report.panels import BUDGET, draw, fitted, panels
from headscope.runs import Run, open_run
from headscope.testing import Plant, planted_model

# --- report


@pytest.fixture(scope="module")
def judged() -> dict[str, Few]:
    return {"ioi": invented(), "induction": invented("induction", few=8, seed=1), "agreement": failed()}


@pytest.fixture(scope="module")
def html(judged: dict[str, Few]) -> str:
    return render(replace(results(grid=(2, 3)), few=judged))


def test_the_report_tells_each_verdict_with_its_numbers(html: str, judged: dict[str, Few]) -> None:
    text = " ".join(Tags(html).text.split())
    assert "Do a few heads carry it?" in text
    for result in judged.values():
        assert result.text in text
    assert "necessity at 3 % 0.620 [0.550, 0.690] above .50 yes what is lost when the top 3 % are ablated" in text
    assert "faithfulness at 3 % 0.440 [0.360, 0.510] above .80 no" in text
    assert "necessity 2 (2.1%) [1-4] 4 (4.2%) [3-6] 6 (6.2%) [5 or more]" in text
    assert "none: not <reached> with up to 96" in text
    row = judged["ioi"].curve.query("measure == 'necessity' and ablation == 'zero' and k == 3").iloc[0]
    assert f"zero {row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]" in text
    assert "0.920 [0.890, 0.960] 0.085 [0.055, 0.125]" in text
    assert "nan" not in text.lower().split()


def test_a_run_without_verdicts_has_no_section() -> None:
    page = render(results(grid=(2, 3)))
    assert 'id="few"' not in page
    assert "few_section" not in page
    assert few_section({}) is None


def test_a_task_that_the_model_fails_gets_words_only(judged: dict[str, Few]) -> None:
    section = few_section(judged)
    assert section is not None
    verdict = section.verdicts[2]
    assert (verdict.state, verdict.tables, verdict.curves, verdict.others) == ("failed", (), (), ())
    assert [each.state for each in section.verdicts] == ["ok", "ok", "failed"]
    assert state(replace(invented(), label="concentrated, but not stable")) == "skipped"
    assert len(section.shared) == 2, "a matrix, and circles for two tasks"


def test_hostile_words_of_a_verdict_add_no_element(html: str, judged: dict[str, Few]) -> None:
    bad = "".join(HOSTILE)
    first = judged["ioi"]
    tables: dict[str, Any] = {
        "criteria": first.criteria.assign(criterion=bad, wanted=bad, meaning=bad),
        "probes": first.probes.assign(members=bad),
        "smallest": first.smallest.assign(reason=bad),
        "curve": first.curve.assign(reason=bad),
    }
    spoilt = replace(
        first, task="ioi" + bad, label=first.label, text=bad, facts={**first.facts, "reason": bad}, **tables
    )
    bad_page = render(replace(results(grid=(2, 3)), few={**judged, "ioi": spoilt}))
    plain, found = Tags(html), Tags(bad_page)
    # The record of what it was measured with has one row more; the words that are gone named heads, which were links.
    more = len(Tags("<tr><th><bdi>a</bdi></th><td><bdi>b</bdi></td></tr>").found)
    sizes = [sum(tag != "a" for tag, _ in each.found) for each in (found, plain)]
    assert sizes[0] - sizes[1] == more
    for words in HOSTILE:
        assert words.strip() in unescape(found.text)


def test_ten_tasks_of_a_large_model_stay_below_8_mb() -> None:
    grid = (32, 32)
    size = grid[0] * grid[1]
    heads = pd.DataFrame({name: np.arange(1, size + 1) for name in TABLES["heads"]}).assign(label="L31H31")
    k = np.arange(1, size + 1)
    effect = pd.DataFrame({"ablation": "", "measure": "effect", "k": k, "share": k / size, "value": 0.5, "reason": ""})
    one = invented()
    large = replace(one, heads=heads, curve=pd.concat([one.curve, effect.assign(low=0.1, high=0.9)], ignore_index=True))
    section = few_section({f"task {i}": replace(large, task=f"t{i}") for i in range(2)})
    assert section is not None
    bytes_each = len(draw(section.figures())) / 2
    assert 10 * bytes_each < 0.6 * BUDGET
    many = results(grid=grid)
    rows = many.scores.query("method == 'patching'")
    drawn = panels(rows, many.tasks, roles={})
    alone, _ = fitted(drawn, ())
    assert not alone.brief
    crowded, figures = fitted(drawn, section.figures() * 8)
    assert crowded.brief, "figures of other sections leave less room"
    assert len(json.loads(figures)) == len(drawn.figures()) + len(section.figures())


needs_browser = pytest.mark.skipif(chromium() is None, reason="no chromium on PATH: the report is not opened")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory, html: str) -> Iterator[tuple[Page, Path]]:
    folder = tmp_path_factory.mktemp("few")
    (folder / "report.html").write_text(html, encoding="utf-8")
    with page(folder / "profile") as opened:
        yield opened, folder / "report.html"


@needs_browser
def test_browser_draws_the_verdict_on_a_phone_in_the_dark(browser: tuple[Page, Path]) -> None:
    opened, path = browser
    opened.open(path, width=360, height=780, dark=True)
    opened.evaluate(DRAWN)
    assert opened.errors == []
    assert opened.evaluate("document.documentElement.scrollWidth") <= 360
    assert opened.evaluate("document.querySelectorAll('#few-0 .plot .main-svg').length") >= 5 * 3
    stroke = (
        "getComputedStyle(document.querySelector('#few-0-necessity .scatterlayer .trace:last-of-type path')).stroke"
    )
    colours = opened.evaluate(
        "[...document.querySelectorAll('#few-0-necessity .js-line')].map(line => getComputedStyle(line).stroke)"
    )
    wanted = {f"rgb({', '.join(str(int(colour[i : i + 2], 16)) for i in (1, 3, 5))})" for colour in DARK.series}
    assert wanted <= set(colours), stroke


# --- folder


def run_with(few: dict[str, Few]) -> Run:
    model = planted_model(Plant(induction=((0, 1), (1, 0))), grid=Grid(2, 2), vocabulary=40, positions=32)
    run = headscope.analyze(load(model, device="cpu"), n=4, methods=["attention"], roles=False, progress=False)
    return replace(run, few=few)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, judged: dict[str, Few]) -> Path:
    return run_with(judged).save(tmp_path_factory.mktemp("folder") / "run")


def test_verdicts_come_back_equal(written: Path, judged: dict[str, Few]) -> None:
    back = open_run(written).few
    assert list(back) == list(judged)
    for name, result in judged.items():
        for table in TABLES:
            found, meant = getattr(back[name], table), getattr(result, table)
            pd.testing.assert_frame_equal(found, meant, check_dtype=bool(len(meant)), check_index_type=False)
        assert (back[name].label, back[name].text, back[name].unit) == (result.label, result.text, result.unit)
    assert back["ioi"].facts["over_total"] == [0.5, 0.4, None], "JSON has no NaN"
    assert few_from(back["ioi"].record()).record() == back["ioi"].record()
    record = json.loads((written / "run.json").read_text())
    assert record["few"] == ["ioi", "induction", "agreement"]
    assert "few" not in open_run(written).identity


def test_runs_without_verdicts_have_no_such_file(tmp_path: Path) -> None:
    folder = run_with({}).save(tmp_path / "run")
    assert not (folder / "few.json").exists()
    assert "few" not in json.loads((folder / "run.json").read_text())
    assert open_run(folder).few == {}


@pytest.mark.parametrize("data", [None, b"{", b"[]", b"{}", b'{"ioi": 3}', b'{"ioi": {"task": "ioi"}}', b"\xff\xfe"])
def test_a_spoilt_file_of_verdicts_is_explained(written: Path, tmp_path: Path, data: bytes | None) -> None:
    for path in written.rglob("*"):
        if path.is_file():
            (tmp_path / path.relative_to(written)).parent.mkdir(exist_ok=True)
            (tmp_path / path.relative_to(written)).write_bytes(path.read_bytes())
    if data is None:
        (tmp_path / "few.json").unlink()
    else:
        (tmp_path / "few.json").write_bytes(data)
    with pytest.raises(RunError) as caught:
        open_run(tmp_path)
    assert caught.value.given.startswith(f"run folder {str(tmp_path)!r}: ")
    assert caught.value.fix == "check the path, or run the analysis again"


def test_a_table_that_lost_a_column_is_refused() -> None:
    record = invented().record()
    del record["curve"]["share"]
    with pytest.raises(KeyError, match="share"):
        few_from(record)


# --- pipeline


@pytest.fixture(scope="module")
def planted() -> Any:
    model = planted_model(Plant(induction=((0, 0), (1, 1))), grid=Grid(2, 4), vocabulary=40, positions=32, noise=0.02)
    return load(model, device="cpu")


QUICK = {"tasks": ["induction"], "n": 8, "sets": 20, "twin": False}


@pytest.fixture(scope="module")
def run(planted: Any) -> Run:
    return headscope.judge(planted, **QUICK, progress=False)


def test_judge_finds_the_planted_heads_on_the_other_half(run: Run) -> None:
    result = run.few["induction"]
    assert set(result.heads["label"][:2]) == {"L0H0", "L1H1"}
    assert (result.facts["selected"], result.facts["measured"]) == (8, 8)
    assert run.tasks["status"].tolist() == ["ok"]
    assert run.tasks["n"].tolist() == [8], "the measured half"
    assert run.identity["plan"]["n"] == 16
    assert run.identity["settings"]["sets"] == 20
    assert run.identity["complete"] is True
    assert len(run.views) == 3
    assert verdicts.cells(result, wide=True)[1] == "8"


def test_scores_are_the_held_out_effects(run: Run, tmp_path: Path) -> None:
    heads = run.few["induction"].heads.sort_values(["layer", "head"])
    np.testing.assert_array_equal(run.scores["value"], heads["value"])
    assert set(run.scores["method"]) == {"patching"}
    assert run.scores["q"].isna().all()
    assert run.scores["share"].sum() == pytest.approx(1)
    assert set(run.top(2)["label"]) == {"L0H0", "L1H1"}
    back = open_run(run.save(tmp_path / "run"))
    pd.testing.assert_frame_equal(back.scores, run.scores)
    assert scores(failed()).columns.tolist() == back.scores.columns.drop(["model", "flagged"]).tolist()
    assert "Do a few heads carry it?" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_one_seed_one_run(planted: Any, run: Run) -> None:
    again = headscope.judge(planted, **QUICK, progress=False, batch_size=3)
    # Where nothing is kept answer and foil are equal, and the accuracy is a matter of the last bits.
    smooth = "measure in ['effect', 'necessity', 'faithfulness']"
    one, two = (each.few["induction"].curve.query(smooth) for each in (again, run))
    pd.testing.assert_frame_equal(one, two, atol=1e-4)
    other = headscope.judge(planted, **QUICK, progress=False, seed=1)
    assert not np.allclose(other.few["induction"].heads["value"], run.few["induction"].heads["value"])


def test_everything_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        request(tasks=["ioj"], n=2, ablation="reample", sets=3, batch_size=0)
    for part in ("n 2", "unknown task 'ioj'", "batch size 0", "ablation 'reample'", "sets 3"):
        assert part in caught.value.given
    assert "did you mean 'ioi'?" in caught.value.fix
    assert isinstance(request(), Request)
    assert request(n=200).plan.n == 400


def test_ctrl_c_keeps_the_tasks_that_were_finished(planted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: Any, **__: Any) -> Few:
        raise KeyboardInterrupt

    monkeypatch.setattr("headscope.judging.few_heads", stopped)
    with pytest.raises(Interrupted) as caught:
        carry_out(planted, request(**QUICK), progress=False)
    assert caught.value.given == "interrupted after 0 of 1 cells"
    assert caught.value.run.few == {}
    assert caught.value.run.tasks["reason"].tolist() == ["the analysis was interrupted before this task was measured"]


def test_a_task_that_cannot_be_split_is_refused_where_it_was_named(
    planted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headscope import judging

    real = judging.build_tasks

    def grouped(*given: Any, **options: Any) -> Any:
        pairs, rows = real(*given, **options)
        return {name: replace(each, groups=each.groups % 3) for name, each in pairs.items()}, rows

    monkeypatch.setattr(judging, "build_tasks", grouped)
    with pytest.raises(TaskError, match="task 'induction': 16 pairs of 3 groups"):
        carry_out(planted, request(**QUICK), progress=False)


def test_shared_keys_and_values_are_judged_by_head_and_by_group() -> None:
    model = load(tiny("llama"), device="cpu")
    assert model.identity["key_value_heads"] < model.grid.heads
    result = headscope.judge(model, **QUICK, progress=False)
    assert list(result.few) == ["induction", "induction (groups)"]
    assert [each.unit for each in result.few.values()] == ["head", "group"]
    assert len(result.scores) == 0, "it fails the task"
    assert [each.state for each in few_section(result.few).verdicts] == ["failed", "failed"]


def test_smallest_sets_stand_under_their_targets() -> None:
    table = smallest_table(invented())
    assert table.titles == ("fewest heads that reach", "50%", "80%", "90%")
    assert [row[0] for row in table.rows] == ["effect", "necessity", "faithfulness"]
    assert verdicts.smallest(invented(), 0.5, wide=True) == "4 [3, 6]"
    assert verdicts.smallest(invented(), 0.9, wide=True) == "none"
    assert verdicts.cells(failed(), wide=True) == ["0.97", "-", "-", "-", "-", "-", "-"]
