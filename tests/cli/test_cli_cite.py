"""`headscope cite`: one source for headscope itself, and every source that a table names is a paper that is known."""

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from shells import Shell

from headscope.cli import citing, papers
from headscope.methods import METHODS
from headscope.roles import ROLES
from headscope.tasks import TASKS
from headscope.tasks.files import FORMATS

PROJECT = Path(__file__).resolve().parents[2]
SOURCES = {
    f"{kind} {name}": each.source
    for kind, table in (("method", METHODS), ("task", TASKS), ("file", FORMATS), ("role", ROLES))
    for name, each in table.items()
}


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_is_a_paper_that_is_known(name: str) -> None:
    found, unknown = papers.named(SOURCES[name])
    assert not unknown, f"{name}: enter it in headscope/cli/papers.py"
    assert found or re.match("own construction|your own", SOURCES[name]), SOURCES[name]


def test_keys_and_numbers_are_unique_and_whole() -> None:
    keys = [paper.key for paper in papers.PAPERS]
    numbers = [paper.arxiv for paper in papers.PAPERS if paper.arxiv]
    assert len(set(keys)) == len(keys)
    assert len(set(numbers)) == len(numbers)
    assert all(re.fullmatch(r"\d{4}\.\d{5}", number) for number in numbers)
    for text in (*papers.EVERY, *papers.KINDS.values()):
        found, unknown = papers.named(text)
        assert found
        assert not unknown
    for paper in papers.PAPERS:
        assert papers.named(f"arXiv {paper.arxiv}")[0] == [paper] or not paper.arxiv


@pytest.mark.parametrize(
    ("text", "keys", "unknown"),
    [
        ("Hanna et al. 2023; Hanna et al. 2024", ["hanna2023does", "hanna2024have"], []),
        ("Nanda 2022, eq. 4", ["nanda2022attribution"], []),
        ("Nanda & Bloom 2022", ["nanda2022transformerlens"], []),
        ("Hewitt and Liang 2019", ["hewitt2019designing"], []),
        ("Wang et al. 2022 (arXiv 2211.00593), section 2", ["wang2022interpretability"], []),
        ("Wang et al. 2019", [], ["Wang et al. 2019"]),
        ("arXiv 9999.99999", [], ["9999.99999"]),
        ("own construction of 2024", [], []),
    ],
)
def test_names_and_numbers_are_read(text: str, keys: list[str], unknown: list[str]) -> None:
    found = papers.named(text)
    assert ([paper.key for paper in found[0]], found[1]) == (keys, unknown)


def test_headscope_is_cited_from_one_file(shell: Shell) -> None:
    source = yaml.safe_load((PROJECT / "CITATION.cff").read_text())
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    assert source["version"] == project["project"]["version"]
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert included["CITATION.cff"] == "headscope/data/CITATION.cff"
    answer = shell("cite")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == (
        "The headscope authors (2026). headscope: which attention heads matter, for what, and how sure are we? "
        f"Version {source['version']}. MIT licence.\n"
    )
    entry = shell("cite", "--bibtex").out
    assert entry.startswith("@software{headscope,\n  author = {{The headscope authors}},\n")
    assert entry.count("{") == entry.count("}")
    assert json.loads(shell("cite", "--json").out)["software"]["cff-version"] == "1.2.0"


def test_an_installed_package_reads_its_own_copy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "site" / "headscope" / "data").mkdir(parents=True)
    (tmp_path / "site" / "CITATION.cff").write_text("title: someone else's\n")
    monkeypatch.setattr(citing, "__file__", str(tmp_path / "site" / "headscope" / "cli" / "citing.py"))
    with pytest.raises(citing.HeadscopeError, match=r"CITATION\.cff, which is not there"):
        citing.read_citation()
    (tmp_path / "site" / "headscope" / "data" / "CITATION.cff").write_text("title: ours\n")
    assert citing.read_citation() == {"title": "ours"}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """As much of a run's folder as is read."""
    import pandas as pd

    target = tmp_path / "run"
    target.mkdir()
    (target / "run.json").write_text(json.dumps({"few": ["ioi"], "probes": {}}))
    pd.DataFrame({"method": ["patching", "few"]}).to_parquet(target / "scores.parquet")
    pd.DataFrame({"task": ["ioi", "lambada:test.jsonl", "pairs:x.csv"]}).to_parquet(target / "tasks.parquet")
    pd.DataFrame({"role": ["sink", "sink"]}).to_parquet(target / "roles.parquet")
    return target


def test_the_papers_behind_a_run(shell: Shell, run: Path) -> None:
    found = json.loads(shell("cite", run, "--json").out)
    uses = {paper["key"]: paper["for"] for paper in found["papers"]}
    assert found["not in the table"] == {}
    assert uses["vig2020investigating"] == ["patching"]
    assert uses["wang2022interpretability"] == ["few heads", "ioi"]
    assert uses["paperno2016lambada"] == ["lambada:test.jsonl"]
    assert uses["gu2025when"] == ["role sink"]
    assert "hewitt2019designing" not in uses
    text = shell("cite", run).out
    assert "Xiangming Gu et al. (2025). When Attention Sink Emerges" in text
    assert "\n  for role sink\n" in text
    assert "for role sink" not in shell("cite", run, "-q").out
    entries = shell("cite", run, "--bibtex").out
    assert entries.count("@misc{") == len(uses)
    assert entries.count("{") == entries.count("}")


def test_a_damaged_run_is_told(shell: Shell, run: Path) -> None:
    (run / "scores.parquet").write_text("no table")
    answer = shell("cite", run)
    assert answer.code == 1
    assert answer.err.startswith(f"headscope: table '{run / 'scores.parquet'}', which cannot be read\n")
    for damage in ("{", "[]"):
        (run / "run.json").write_text(damage)
        assert shell("cite", run).code == 1


def test_what_bibtex_would_read_as_commands_is_escaped() -> None:
    assert citing._escaped("50 % & more_") == r"50 \% \& more\_"


def test_no_folder_of_the_package_is_ignored_by_git_and_left_out_of_the_wheel() -> None:
    lines = (PROJECT / ".gitignore").read_text().split()
    ignored = {line.rstrip("/") for line in lines if not line.startswith("/")}
    folders = {path.parent.name for path in (PROJECT / "headscope").rglob("*.py")}
    assert "runs" in folders
    assert not folders & ignored
