"""A run as one HTML file that opens with no network."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from headscope.attention import script
from headscope.errors import RunError, refusing
from headscope.plots import words
from headscope.profiles.heads import LEADING, leading
from headscope.progress import step
from headscope.report.agreement import agreement_sections
from headscope.report.attention import LEAST, ROOM, looks, store
from headscope.report.few import few_section
from headscope.report.heads import chosen, head_pages
from headscope.report.layers import edge_panels, layer_panels
from headscope.report.links import linked
from headscope.report.panels import ALL, fitted, panels, plotly_script, themes
from headscope.report.probing import probes_section
from headscope.report.record import (
    command,
    facts,
    find,
    identity_line,
    next_steps,
    self_check,
    verdict_of_check,
    without,
)
from headscope.report.results import Results
from headscope.report.roles import role_texts, roles_section
from headscope.report.verdict import Finding, findings, headline

__all__ = ["LEADING", "Finding", "Results", "findings", "headline", "leading", "render", "write"]

HERE = Path(__file__).parent


@refusing("a report that cannot be drawn", "a run as headscope made it")
def render(run: Results) -> str:
    """The report of a run as HTML: verdict, few heads, tasks, scores, agreement, roles, probes, layers, single heads.

    Args:
        run: a run, or anything with its identity, scores, tasks and views.

    Returns:
        One page that asks for nothing outside itself; every text in it is escaped.

    Cost: 6.1 MB of scripts, plus some 200 bytes per head and score.
    """
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    parts = sections(run)
    environment.globals.update(words=words, labels={"ok": "done", "failed": "fails", "skipped": "skipped"})
    environment.globals.update(parts)  # for the macros, too
    environment.filters["linked"] = lambda text: linked(text, parts["labelled"])
    return environment.get_template("template.html").render(
        **identity_parts(run, parts),
        style=(HERE / "style.css").read_text(encoding="utf-8"),
        draw_script=(HERE / "draw.js").read_text(encoding="utf-8"),
        plotly=plotly_script(),
        themes=themes(),
    )


def sections(run: Results) -> dict[str, Any]:
    """What the page says of heads, section by section, with all figures as JSON.

    Args:
        run: as for `render`.
    """
    role_of = role_texts(run.roles)
    few, roles, probes = few_section(run.few), roles_section(run.roles), probes_section(run.probes)
    scored = {"examples": run.examples, "groups": run.groups}
    agreement = agreement_sections(run.scores, **scored) if len(run.scores) else ()
    layers = layer_panels(run.scores, **scored) if len(run.scores) else ()
    places = chosen(run.scores, [str(task) for task in run.tasks["task"]]) if len(run.scores) else {}
    edges = edge_panels(run.profiles)
    further = [figure for each in (few, roles, probes) if each for figure in each.figures()]
    further += [*(each.matrix for each in agreement), *layers, *edges]
    drawn, figures = fitted(panels(run.scores, run.tasks, roles=role_of), further)
    views = store(run.views, room=max(LEAST, min(ROOM, ALL - len(figures))))
    pages = head_pages(run.scores, places=places, roles=run.roles, profiles=run.profiles, views=views)
    return {
        "few": few, "judged": {verdict.title: verdict.id for verdict in few.verdicts} if few else {}, "roles": roles,
        "role_of": role_of, "probes": probes, "panels": drawn, "agreement": agreement, "layers": layers,
        "edges": edges, "pages": pages, "labelled": {page.label for page in pages}, "views": views.json,
        "dropped": views.dropped, "circuitsvis": script() if views.kept else "",
        "looks": lambda task, name: looks(views, name, task=task), "figures": figures,
        "agreement_lines": run.identity.get("agreement", ()), "tasks": list(run.tasks.itertuples(index=False)),
        "findings": findings(run.scores, run.tasks, few=run.few),
    }  # fmt: skip


def identity_parts(run: Results, parts: Mapping[str, Any]) -> dict[str, Any]:
    """What the page says of the model and of how the run is repeated.

    Args:
        run: as for `render`.
        parts: from `sections`.
    """
    identity, model = run.identity, model_name(run)
    done = [finding.task for finding in parts["findings"] if finding.status == "ok"]
    return {
        "model": model,
        "headline": headline(model, parts["findings"]),
        "identity": identity_line(identity),
        "check": verdict_of_check(identity),
        "checks": self_check(identity),
        "incomplete": identity.get("complete") is False,
        "steps": next_steps(identity, task=done[0] if done else "", few=bool(run.few), roles=run.roles is not None),
        "model_facts": facts(without(find(identity, "model") or {}, "self_check")),
        "record": facts(without(identity, "model", "self_check", "command", "seed", "agreement")),
        "command": command(identity),
        "seed": find(identity, "seed"),
    }


def model_name(run: Results) -> str:
    """The model's name, from the identity or else from the tables."""
    model = find(run.identity, "model")
    name = model.get("name") if isinstance(model, Mapping) else model
    if name:
        return str(name)
    return str(run.tasks["model"].iloc[0]) if len(run.tasks) else "an unnamed model"


def write(run: Results, path: str | Path) -> Path:
    """Write the report of a run; an older report is replaced only once the new one is complete.

    Args:
        run: as for `render`.
        path: the file to write, such as `run/report.html`.

    Returns:
        The path.

    Raises:
        RunError: if the file cannot be written.
    """
    path = Path(path)
    with step("writing the report"):
        page = render(run)
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(page, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True) if part.parent.is_dir() else None
        raise RunError(
            f"report {str(path)!r}, which cannot be written ({error.strerror})",
            "a folder that exists, may be written to and has 8 MB left",
            "choose another folder with --out, or free some space",
        ) from error
    return path
