"""What the shell offers at Tab: right, complete, and without waiting for torch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from shells import Shell, environment

from headscope.cli import complete, names
from headscope.cli.information import Kind
from headscope.methods import METHODS
from headscope.methods.probing.labels import NAMES
from headscope.metrics import METRICS
from headscope.models import ALIASES
from headscope.models.sources import PACKAGES
from headscope.reproducing import PAPERS
from headscope.tasks import TASKS


@pytest.mark.parametrize(
    ("repeated", "table"),
    [
        (names.TASKS, TASKS),
        (names.METHODS, METHODS),
        (names.METRICS, METRICS),
        (names.PAPERS, PAPERS),
        (names.MODELS, ["mini", *PACKAGES, *(name for name in ALIASES if "/" not in name)]),
    ],
)
def test_the_repeated_names_are_those_of_the_tables(repeated: tuple[str, ...], table: list[str]) -> None:
    assert list(repeated) == list(table), "mend headscope/cli/names.py, which repeats them for the shell"


def test_every_label_of_words_is_offered() -> None:
    assert set(NAMES) <= set(names.LABELS)


@pytest.fixture
def tab(shell: Shell, monkeypatch: pytest.MonkeyPatch):
    """Press Tab after the given words, as bash does."""

    def press(*words: str) -> list[str]:
        monkeypatch.setenv("_HEADSCOPE_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", " ".join(["headscope", *words]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        answer = shell()
        assert (answer.code, answer.err) == (0, "")
        return answer.out.split()

    return press


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("ho",), []),
        (("re",), ["reproduce"]),
        (("mini", "e"), ["evaluate"]),
        (("list", "me"), ["methods", "metrics"]),
        (("analyze", "gpt2-m"), ["gpt2-medium"]),
        (("analyze", "--task", "ioi-"), ["ioi-s2", "ioi-random"]),
        (("analyze", "--task", "ioi,ind"), ["ioi,induction"]),
        (("analyze", "-t", "ioi,ioi"), ["ioi,ioi-s2", "ioi,ioi-random"]),
        (("analyze", "--method", "attr"), ["attribution", "attribution-parts"]),
        (("analyze", "--metric", "k"), ["kl"]),
        (("analyze", "--device", "c"), ["cpu", "cuda"]),
        (("analyze", "--dtype", "b"), ["bfloat16"]),
        (("analyze", "--bat"), ["--batch-size"]),
        (("few", "--ablation", "mean_"), ["mean_position", "mean_template"]),
        (("probe", "--label", "io"), ["io", "io-name"]),
        (("probe", "--site", "re"), ["resid"]),
        (("probe", "--kind", "r"), ["ridge"]),
        (("reproduce", ""), ["three-percent"]),
        (("mini", "train", "--device", ""), ["cpu", "cuda", "mps"]),
    ],
)
def test_tab_offers_what_fits(tab, words: tuple[str, ...], offered: list[str]) -> None:
    assert tab(*words) == offered


def test_tab_offers_all_kinds_of_lists(tab) -> None:
    assert tab("list", "") == [kind.value for kind in Kind]


def test_tab_offers_saved_runs_and_local_models(tab, tmp_path: Path) -> None:
    for name, mark in (("runs/a", "run.json"), ("runs/b", "other"), ("alone", "run.json"), ("model", "config.json")):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / mark).write_text("{}")
    assert tab("compare", "") == ["alone", "runs/a"]
    assert tab("compare", "runs/") == ["runs/a"]
    assert tab("cite", "al") == ["alone"]
    assert tab("analyze", "mod") == ["model"]
    assert tab("analyze", "./mod") == ["./model"]


def test_tab_offers_models_of_the_cache(tab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hub" / "models--EleutherAI--pythia-70m").mkdir(parents=True)
    (tmp_path / "hub" / "datasets--EleutherAI--pile").mkdir()
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert tab("analyze", "Eleu") == ["EleutherAI/pythia-70m"]


def test_a_folder_that_is_not_there_offers_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "none"))
    assert complete.runs("no/such/") == []
    assert complete.models("~nobody/") == []
    assert complete.runs("\0") == []


def test_a_tab_imports_nothing_heavy() -> None:
    code = (
        "import sys, json; sys.argv = ['headscope']\n"
        "from headscope.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit:\n    sys.stderr.write(json.dumps(sorted(sys.modules)))"
    )
    asked = {"_HEADSCOPE_COMPLETE": "complete_bash", "COMP_WORDS": "headscope analyze -t io", "COMP_CWORD": "3"}
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(**asked), check=True
    )
    assert "ioi-s2" in ran.stdout.split()
    heavy = {"torch", "numpy", "pandas", "transformers", "scipy", "pydantic", "rich"}
    assert not heavy & set(json.loads(ran.stderr))


def test_the_script_for_bash_names_the_command(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    answer = shell("--show-completion", "bash")
    if answer.code:  # the shell that runs the tests is looked for instead
        pytest.skip("this version of typer looks for the shell when it is imported")
    assert "_HEADSCOPE_COMPLETE=complete_bash" in answer.out


def test_python_m_headscope_cannot_be_completed(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    from headscope import cli

    monkeypatch.setattr(sys, "argv", ["/somewhere/headscope/__main__.py", "--install-completion"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
