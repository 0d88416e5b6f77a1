"""`headscope compare` at the shell: tables, JSON, a picture, and what is told of bad input."""

import json
import shutil
from pathlib import Path

import pytest
from shells import Shell

import headscope
from headscope.grid import Grid
from headscope.runs import Run
from headscope.testing import Plant, planted_model

FOUR = Grid(2, 4)


def analysed(heads: tuple[tuple[int, int], tuple[int, int]], *, seed: int = 0, grid: Grid = FOUR) -> Run:
    model = planted_model(Plant(induction=heads), grid=grid, vocabulary=40, positions=32, noise=0.02)
    methods = ["patching", "attention"]
    return headscope.analyze(
        model, tasks=["induction"], methods=methods, n=8, seed=seed, roles=False, device="cpu", progress=False
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs a and b differ in one planted head, c has the model of a and other prompts, d another grid."""
    target = tmp_path_factory.mktemp("runs")
    analysed(((0, 1), (1, 2))).save(target / "a")
    analysed(((0, 1), (1, 3))).save(target / "b")
    analysed(((0, 1), (1, 2)), seed=1).save(target / "c")
    analysed(((0, 1), (1, 2)), grid=Grid(2, 3)).save(target / "d")
    return target


def test_two_models_on_the_same_prompts(shell: Shell, folders: Path) -> None:
    answer = shell("compare", folders / "a", folders / "b")
    assert (answer.code, answer.err) == (0, "")
    for text in (
        "what differs",
        "weights_sha256",
        "induction: patching, denoising (in logits; the same 8 prompts)",
        "2 of 8 heads changed (q < .05); the 8 that differ most:",
        "Heads are matched by layer and number.",
        "rank correlation: Spearman's",
    ):
        assert text in answer.out
    first, second = answer.out.split("rank A")[1].split("\n")[2:4]
    assert sorted((first.split()[0], second.split()[0])) == ["L1H2", "L1H3"]
    assert max(map(len, answer.out.splitlines())) <= 120


def test_tables_fit_a_narrow_terminal(shell: Shell, folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    answer = shell("compare", folders / "a", folders / "b")
    assert max(map(len, answer.out.splitlines())) <= 80
    assert "…" not in answer.out


def test_two_seeds_as_json(shell: Shell, folders: Path) -> None:
    answer = shell("compare", folders / "a", folders / "c", "--json", "--top", "2", "--seed", "3")
    assert (answer.code, answer.err) == (0, "")
    record = json.loads(answer.out, parse_constant=pytest.fail)
    (row,) = record["tasks"]
    assert (row["task"], row["method"], row["score"], row["paired"]) == ("induction", "patching", "denoising", False)
    assert (row["k"], row["shared"], row["jaccard"]) == (2, 2, 1.0)
    assert row["rho_low"] <= row["rho"] <= row["rho_high"]
    assert (record["seed"], len(record["heads"]), len(record["sides"])) == (3, 8, 2)
    assert {line["what"] for line in record["differs"]} == {"plan seed", "provenance seed"}
    assert {head["changed"] for head in record["heads"]} == {False}


def test_more_scores_on_demand(shell: Shell, folders: Path) -> None:
    def scores(*words: str) -> list[str]:
        answer = shell("compare", folders / "a", folders / "b", "--json", *words)
        return [f"{row['method']} {row['score']}" for row in json.loads(answer.out)["tasks"]]

    assert scores() == ["patching denoising"]
    assert scores("-m", "patching") == ["patching denoising", "patching noising"]
    assert scores("-t", "induction", "--all")[:3] == [
        "patching denoising",
        "patching noising",
        "attention previous_token",
    ]


def test_one_run_twice(shell: Shell, folders: Path) -> None:
    answer = shell("compare", folders / "a", folders / "a")
    assert answer.code == 0
    assert "Nothing that was recorded of the two runs differs." in answer.out
    assert "Both are one run, or two with the same numbers" in answer.out
    assert "0 of 8 heads changed" in answer.out


def test_other_grids(shell: Shell, folders: Path) -> None:
    answer = shell("compare", folders / "a", folders / "d", "--figure", "no.html")
    assert (answer.code, answer.err) == (0, "")
    assert "heads cannot be matched: layers x heads are 2 x 4 and 2 x 3" in answer.out
    assert "mean depth" in answer.out
    assert not Path("no.html").exists()


def test_a_picture_is_drawn(shell: Shell, folders: Path) -> None:
    answer = shell("compare", folders / "a", folders / "b", "--figure", "new/scatter.html")
    assert answer.out.endswith("figure: new/scatter.html\n")
    assert "effect in A" in Path("new/scatter.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("nowhere",), 2, "run folder 'nowhere', which is not there\n"),
        (("--figure", "a.gif"), 2, "a picture ending in '.gif'\n  expected: .html or .png"),
        (("--top", "0"), 2, "top 0\n  expected: 1 or more heads"),
        (("--top", "9"), 2, "top 9\n  expected: 1 to 8, the heads with a number in both runs"),
        (("--seed", "-1"), 2, "seed -1\n  expected: a whole number, 0 or more"),
        (("-t", "ioi"), 2, "task 'ioi'\n  expected: tasks of both runs: induction"),
        (("-m", "ablation"), 2, "method 'ablation'\n  expected: methods of both runs: patching, attention"),
    ],
)
def test_bad_input_is_explained(shell: Shell, folders: Path, words: tuple[str, ...], code: int, text: str) -> None:
    second = () if words == ("nowhere",) else (folders / "b",)
    answer = shell("compare", folders / "a", *second, *words)
    assert (answer.code, answer.out) == (code, "")
    assert answer.err.startswith(f"headscope: {text}")


def test_a_picture_that_cannot_be_written_is_explained(shell: Shell, folders: Path) -> None:
    Path("file").write_text("in the way")
    answer = shell("compare", folders / "a", folders / "b", "--figure", "file/scatter.html")
    assert answer.code == 2
    assert answer.err.startswith("headscope: file 'file/scatter.html', which cannot be written (")


def test_a_half_written_run_is_explained(shell: Shell, folders: Path, tmp_path: Path) -> None:
    shutil.copytree(folders / "a", tmp_path / "half")
    (tmp_path / "half" / "scores.parquet").unlink()
    answer = shell("compare", tmp_path / "half", folders / "b")
    assert answer.code == 1
    assert "expected: a folder written by headscope analyze" in answer.err


@pytest.mark.slow
def test_mini_with_two_seeds_end_to_end(shell: Shell) -> None:
    for seed in (0, 1):
        made = shell(
            "analyze", "-t", "induction", "-m", "patching", "-n", "6", "--seed", seed, "--out", f"s{seed}", "-q"
        )
        assert made.code == 0
    answer = shell("compare", "s0", "s1", "--json")
    (row,) = json.loads(answer.out)["tasks"]
    assert (row["heads"], row["k"], row["n_a"], row["paired"]) == (96, 3, 6, False)
    assert row["rho"] > 0.3
    assert row["changed"] == 0
