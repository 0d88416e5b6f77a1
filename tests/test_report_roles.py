"""The report's section on roles: what it says, that all text stays text, and that its figures hold the frames."""

import json
import re
from dataclasses import replace
from functools import cache
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from results import Results, results
from rolecases import invented
from test_report import Tags

from headscope.grid import Grid
from headscope.report import render
from headscope.report.roles import labels_table, relations_table, roles_section, summary
from headscope.roles import ROLES

HOSTILE = "<script>alert(1)</script>"
SMALL = Grid(4, 6)


def with_roles(*, hostile: str = "", tasks: bool = True) -> Results:
    run = replace(results(grid=(4, 6)), views=(), roles=invented(grid=SMALL, hostile=hostile))
    return run if tasks else replace(run, tasks=run.tasks[:0], scores=run.scores[:0])


@pytest.fixture(scope="module")
def html() -> str:
    return render(with_roles())


@pytest.fixture(scope="module")
def alone() -> str:
    return render(with_roles(hostile=HOSTILE, tasks=False))


@cache
def words(page: str) -> str:
    return re.sub(r"\s+", " ", unescape(Tags(page).text))


def test_the_summary_counts_heads_roles_and_confirmations(html: str) -> None:
    roles = invented(grid=SMALL)
    held = roles.labels[roles.labels["role"] != "unassigned"]
    heads = len(set(zip(held["layer"], held["head"], strict=True)))
    told = summary(roles)
    assert told.startswith(f"{heads} of 24 heads have a role: positional ")
    assert f"{24 - heads} are unassigned." in told
    syntax = held[held["role"] == "syntax"].drop_duplicates(["layer", "head"])
    assert f"syntax {len(syntax)}" in told
    confirmed, refused = ((held["causal"] == name).sum() for name in ("confirmed", "not confirmed"))
    assert told.endswith(
        f"A causal effect confirms {confirmed} of {len(held)} labels, and was looked for in vain for {refused}."
    )
    assert told in words(html)


def test_every_label_stands_in_the_table_with_its_evidence(html: str) -> None:
    roles = invented(grid=SMALL)
    table = labels_table(roles)
    held = roles.labels[roles.labels["role"] != "unassigned"]
    assert table.caption == f"All {len(held)} labels"
    assert len(table.rows) == len(held)
    row = next(row for row in held.itertuples() if row.causal == "confirmed")
    told = next(cells for cells in table.rows if cells[0] == f"L{row.layer}H{row.head}" and cells[1].endswith(row.case))
    assert told[2] == f"{100 * row.confidence:.0f}%"
    assert told[4] == "confirmed by ioi: +0.400 [+0.300, +0.500]"
    assert all(cells[5] in words(html) for cells in table.rows)


def test_every_relation_stands_in_the_table_and_absent_ones_say_why(html: str) -> None:
    roles = invented(grid=SMALL)
    table = relations_table(roles, "syntax")
    assert len(table.rows) == 21
    assert table.rows[-1][:2] == ("vocative to head", "no number: no vocative in the treebank")
    first = roles.relations().iloc[0]
    assert table.rows[0][:2] == (first["case"], first["label"])
    assert table.rows[0][3] == f"{100 * first['baseline']:.0f}% ({first['baseline_name']})"
    assert "no number: no vocative in the treebank" in words(html)
    assert {len(row) for row in table.rows} == {len(table.titles)}


def test_rules_sources_and_record_are_there(html: str) -> None:
    text = words(html)
    assert "accuracy at least the best baseline + 0.10" in text
    assert "Voita et al. 2019, section 5.2 (best offset + 10 points)" in text
    assert "Not measured: retrieval (the context is too short)." in text
    assert "cyclic tree" in text


def test_figures_hold_the_frames(html: str) -> None:
    start = html.index('id="figures">') + len('id="figures">')
    figures = json.loads(html[start : html.index("</script>", start)])
    assert {"roles-grid", "roles-profile", "roles-syntax", "roles-coreference"} <= set(figures)
    roles = invented(grid=SMALL)
    shown = figures["roles-syntax"]["layout"]["yaxis"]["ticktext"]
    rows = roles.relations().dropna(subset="value")
    assert shown == [f"{row.case}  {row.label}" for row in rows.itertuples()]
    for trace in figures["roles-grid"]["data"] + figures["roles-syntax"]["data"]:
        assert re.fullmatch(r"(roles|series)-\d|muted|blank|points", trace["meta"])


def test_both_themes_have_a_scale_for_every_kind(html: str) -> None:
    start = html.index('id="themes">') + len('id="themes">')
    both = json.loads(html[start : html.index("</script>", start)])
    for theme in both.values():
        assert {"blank", "muted", *(f"roles-{i}" for i in range(6))} <= set(theme["scales"])
        assert len(theme["roles"]) == 6


def test_the_heads_of_a_task_are_shown_with_their_roles(html: str) -> None:
    run = with_roles()
    top = run.scores.query("task == 'ioi' and method == 'patching' and score == 'denoising'").nsmallest(5, "rank")
    roles = run.roles
    assert roles is not None
    text = words(html)
    row = top.iloc[0]
    mine = roles.labels[(roles.labels["layer"] == row["layer"]) & (roles.labels["head"] == row["head"])]
    best = mine.sort_values("confidence", ascending=False).iloc[0]
    place = text.index(f"L{row['layer']:.0f}H{row['head']:.0f} {row['value']:+.3f}")
    assert best["role"] in text[place : place + 90]


def test_a_run_of_roles_alone_asks_another_question(alone: str) -> None:
    text = words(alone)
    assert "What do the attention heads of mini do?" in text
    assert "This run has no tasks" not in text
    assert "does 0 of 0 tasks" not in text
    assert summary(invented(grid=SMALL, hostile=HOSTILE)) in text
    ids = [attributes["id"] for _, attributes in Tags(alone).found if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in Tags(alone).found:
        if (attributes.get("href") or "").startswith("#"):
            assert (attributes["href"] or "")[1:] in ids


def test_hostile_names_stay_text(alone: str) -> None:
    plain, hostile = Tags(render(with_roles(tasks=False))), Tags(alone)
    assert [tag for tag, _ in hostile.found] == [tag for tag, _ in plain.found]
    assert f"nsubj{HOSTILE} to head" in words(alone)
    for tag, attributes in hostile.found:
        for name in ("src", "href", "data", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "data:,")), tag


def test_a_run_without_roles_has_no_section() -> None:
    assert roles_section(None) is None
    page = render(replace(results(grid=(2, 3)), views=()))
    assert 'id="roles"' not in page
    assert ">role</th>" not in page


def test_a_study_without_any_label_is_told_plainly() -> None:
    roles = invented(grid=SMALL)
    empty = roles.labels.iloc[:0]
    bare = pd.DataFrame([{"layer": layer, "head": head} for layer, head in SMALL]).assign(role="unassigned", case="")
    bare = pd.concat([empty, bare.assign(confidence=np.nan, value=np.nan, baseline=np.nan)], ignore_index=True)
    section = roles_section(replace(roles, labels=bare))
    assert section is not None
    assert section.summary == "0 of 24 heads have a role. 24 are unassigned."
    assert section.labels.rows == ()


def test_labels_that_no_task_tests_are_said_to_be_observed_only() -> None:
    roles = invented(grid=SMALL)
    held = (roles.labels["role"] != "unassigned").sum()
    unproved = replace(roles, labels=roles.labels.assign(causal="observed only"))
    assert summary(unproved).endswith(f"All {held} labels are observed only.")


def test_the_documentation_names_every_role_with_its_threshold() -> None:
    root = Path(__file__).parents[1]
    pages = [root / "README.md", *sorted((root / "docs").glob("*.md"))]
    lines = [line for page in pages for line in page.read_text(encoding="utf-8").splitlines()]
    for role in ROLES.values():
        cells = next(line for line in lines if line.startswith(f"| **{role.name}** |")).split("|")
        least = "-" if role.threshold is None else f"{role.threshold:g}"
        assert cells[4].split(";")[0].strip() == least, role.name
        assert cells[5].strip() == f"{role.margin:g}", role.name
        assert cells[6].strip() == role.source
