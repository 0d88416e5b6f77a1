"""`headscope cite`: how to cite headscope, and the papers behind the methods, tasks and roles of a run."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headscope.cli import complete
from headscope.cli.options import option
from headscope.errors import HeadscopeError, RunError

if TYPE_CHECKING:
    from headscope.cli.papers import Paper

EPILOG = (
    "[bold]Examples[/bold]\n"
    "  headscope cite                    headscope itself\n"
    "  headscope cite --bibtex           the same for LaTeX\n"
    "  headscope cite runs/gpt2          and the papers behind what this run used\n"
    "  headscope cite runs/gpt2 --bibtex > used.bib\n\n"
    "Exit codes: 0 done, 1 failed (a damaged run), 2 bad input."
)


def cite(
    run: Annotated[
        Path | None,
        typer.Argument(metavar="RUN", autocompletion=complete.runs, help="The folder of a run, of any command."),
    ] = None,
    bibtex: Annotated[bool, option("--bibtex", help="Print BibTeX entries.")] = False,
    quiet: Annotated[bool, option("--quiet", "-q", help="Only the entries: not what each is cited for.")] = False,
    as_json: Annotated[bool, option("--json", help="Print JSON: every field of every entry.")] = False,
) -> None:
    """How to cite headscope, and with RUN the papers behind what was used there."""
    software = read_citation()
    papers, unknown = ({}, {}) if run is None else behind(run)
    if as_json:
        entries = [{**_fields(paper), "for": uses} for paper, uses in papers.items()]
        record = {"software": software, "papers": entries, "not in the table": unknown}
        sys.stdout.write(json.dumps(record, indent=2, allow_nan=False) + "\n")
        return
    lines = [_software_bibtex(software) if bibtex else _software(software)]
    for paper, uses in papers.items():
        told = "" if quiet else f"for {', '.join(uses)}"
        lines.append(_bibtex(paper, told) if bibtex else _text(paper) + (f"\n  {told}" if told else ""))
    for name, uses in unknown.items():
        lines.append(f"{'% ' if bibtex else ''}{name} (for {', '.join(uses)}): see headscope list")
    _print("\n".join(lines), wrapped=not bibtex)


def _print(text: str, *, wrapped: bool) -> None:
    """At a terminal lines are broken between words; a file gets them whole."""
    if not (wrapped and sys.stdout.isatty()):
        sys.stdout.write(f"{text.rstrip()}\n")
        return
    from headscope.cli.tables import console, plain

    for line in text.splitlines():
        console().print(plain(line))


def read_citation() -> dict[str, Any]:
    """What CITATION.cff says of headscope: the file of the checkout, or the copy that an installed package has.

    Raises:
        HeadscopeError: if neither is there.

    Example:
        >>> read_citation()["type"]
        'software'
    """
    import yaml

    package = Path(__file__).resolve().parents[1]
    # Beside an installed package a CITATION.cff may be anyone's.
    own = [package.parent] if (package.parent / "pyproject.toml").is_file() else []
    for path in (*(folder / "CITATION.cff" for folder in own), package / "data" / "CITATION.cff"):
        if path.is_file():
            read = yaml.safe_load(path.read_text(encoding="utf-8"))
            return {name: value if isinstance(value, (list, int)) else str(value) for name, value in read.items()}
    raise HeadscopeError(
        "CITATION.cff, which is not there", "the file that ships with headscope", "install headscope again"
    )


def behind(folder: Path) -> tuple[dict[Paper, list[str]], dict[str, list[str]]]:
    """The papers behind a run, each with what it is cited for; and what is named, but is not in `papers.PAPERS`.

    Args:
        folder: of a run or a reproduction.

    Raises:
        RunError: if it is none.
    """
    from headscope.cli import papers

    found: dict[Paper, list[str]] = {}
    unknown: dict[str, list[str]] = {}
    for use, source in _sources(folder):
        known, other = papers.named(source)
        for paper in known:
            found.setdefault(paper, []).append(use)
        for name in other:
            unknown.setdefault(name, []).append(use)
    return found, unknown


def _sources(folder: Path) -> Iterator[tuple[str, str]]:
    """What a run used, and the source that it names."""
    from headscope.cli.papers import EVERY, KINDS
    from headscope.methods import METHODS
    from headscope.roles import ROLES
    from headscope.tasks import TASKS
    from headscope.tasks.files import FORMATS

    identity = _identity(folder)
    yield from zip(("hooks", "weights and tokenizers", "q-values"), EVERY, strict=True)
    if "paper" in identity:
        yield "the reproduction", str(identity["paper"])
    if identity.get("few"):
        yield "few heads", KINDS["few heads"]
    if identity.get("probes"):
        yield "probes", KINDS["probes"]
    for name in _names(folder / "scores.parquet", "method"):
        if name in METHODS:
            yield name, METHODS[name].source
    for name in _names(folder / "tasks.parquet", "task"):
        kind = TASKS.get(name) or FORMATS.get(name.partition(":")[0])
        if kind is not None:
            yield name, kind.source
    for name in _names(folder / "roles.parquet", "role"):
        if name in ROLES:
            yield f"role {name}", ROLES[name].source


def _identity(folder: Path) -> dict[str, Any]:
    from headscope.runs import check_run, read_record

    check_run(folder)
    try:
        return read_record(folder / "run.json")
    except (OSError, ValueError, TypeError) as error:
        given = f"run folder {str(folder)!r}, whose run.json is damaged ({error})"
        raise RunError(given, "a record that headscope wrote", "check it: headscope verify RUN") from error


def _names(path: Path, column: str) -> list[str]:
    """The values of one column of a table, each once; none where the run has no such table."""
    from headscope.frames import check_columns, columns_of, read_frame

    if not path.is_file():
        return []
    try:
        frame = read_frame(path)
        check_columns(frame, columns_of(text=column), name=path.stem)
        return [str(name) for name in frame[column].unique()]
    except (OSError, ValueError) as error:
        raise RunError(
            f"table {str(path)!r}, which cannot be read", "a table that headscope wrote", "run the analysis again"
        ) from error


def _fields(paper: Paper) -> dict[str, Any]:
    return {name: getattr(paper, name) for name in ("key", "authors", "year", "title", "where", "arxiv")}


def _text(paper: Paper) -> str:
    """As a list of references has it."""
    people = [each.partition(", ") for each in paper.authors.removesuffix(" and others").split(" and ")]
    names = ", ".join(f"{given} {surname}" for surname, _, given in people)
    names += " et al." if paper.authors.endswith(" and others") else ""
    where = ([] if paper.where == "arXiv" else [paper.where]) + ([f"arXiv {paper.arxiv}"] if paper.arxiv else [])
    return f"{names} ({paper.year}). {paper.title}. {', '.join(where)}."


def _bibtex(paper: Paper, told: str) -> str:
    rows = {"author": paper.authors, "title": f"{{{paper.title}}}", "year": str(paper.year)}
    rows["howpublished"] = paper.where
    rows |= {"eprint": paper.arxiv, "archiveprefix": "arXiv"} if paper.arxiv else {}
    rows |= {"annote": f"headscope: {told}"} if told else {}
    return _entry("misc", paper.key, rows)


def _people(software: dict[str, Any]) -> list[str]:
    return [each.get("name") or f"{each['family-names']}, {each['given-names']}" for each in software["authors"]]


def _software(software: dict[str, Any]) -> str:
    people, year = ", ".join(_people(software)), software["date-released"][:4]
    return f"{people} ({year}). {software['title']} Version {software['version']}. {software['license']} licence."


def _software_bibtex(software: dict[str, Any]) -> str:
    people = " and ".join(f"{{{name}}}" if "," not in name else name for name in _people(software))
    rows = {"author": people, "title": f"{{{software['title']}}}", "year": software["date-released"][:4]}
    return _entry("software", "headscope", rows | {"version": software["version"], "license": software["license"]})


def _entry(kind: str, key: str, rows: dict[str, str]) -> str:
    inner = "".join(f"  {name} = {{{_escaped(value)}}},\n" for name, value in rows.items())
    return f"@{kind}{{{key},\n{inner}}}\n"


def _escaped(text: str) -> str:
    return "".join(f"\\{each}" if each in "&%$#_" else each for each in text)
