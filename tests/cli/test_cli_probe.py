"""`headscope probe` and `headscope hierarchy`: what they print and write, and what they refuse."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from keptcases import reading, write_bank
from probecases import invented
from shells import Shell

from headscope import probing
from headscope.cli import depths
from headscope.contract import COLUMNS
from headscope.errors import UsageError
from headscope.methods.probing import study as probes
from headscope.models import load
from headscope.pipeline import ABSENT_TASK, Interrupted
from headscope.probed.result import FRAMES
from headscope.report.probing import summary
from headscope.runs import Run, open_run

FEW = ("-n", "100", "--no-bits", "--no-twin")


def run_of(**options: Any) -> Any:
    """What printing needs of a run."""
    identity = {"model": {"name": "m"}, "complete": True, "plan": {"treebanks": ["the bundled gold set"], "use": True}}
    return SimpleNamespace(probes=invented(**options), identity=identity)


def printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int, run: Any) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "dumb")
    depths.print_probes(run)
    return capsys.readouterr().out


@pytest.mark.parametrize("columns", [80, 120])
def test_tables_fit_the_terminal_and_hold_the_frames(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    run = run_of()
    out = printed(capsys, monkeypatch, columns, run)
    assert max(map(len, out.splitlines())) <= columns
    assert "…" not in out, "a cell was cut"
    lines = [" ".join(line.split()) for line in out.splitlines()]
    best = run.probes.best.iloc[1]
    told = f"{best['label']} {best['name']} {best['accuracy']:.2f} [{best['low']:.2f}, {best['high']:.2f}] "
    told += (
        f"{100 * best['difference']:+.0f} [{100 * best['difference_low']:+.0f}, {100 * best['difference_high']:+.0f}]"
    )
    line = next(line for line in lines if line.startswith(told))
    assert line.endswith(f"{best['n']} {best['decodable_sites']} of 12")
    depth = run.probes.hierarchy.depths.iloc[0]
    told = f"upos syntax {depth['expected']:.1f} [{depth['expected_low']:.1f}, {depth['expected_high']:.1f}]"
    assert any(line.startswith(told) for line in lines)
    used = run.probes.used.iloc[0]
    told = f"number agreement L{used['layer']}H{used['head']} {100 * used['present']:+.0f} 0.800 [0.700, 0.900] 0.010"
    assert any(line.startswith(told) and line.endswith("64 yes" if columns == 120 else "0.0020 yes") for line in lines)
    assert run.probes.hierarchy.verdict in " ".join(lines)


def test_what_is_absent_is_told_and_commands_that_follow_are_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of()
    out = " ".join(printed(capsys, monkeypatch, 120, run).split())
    assert "Not probed: boundary (no windows)." in out
    assert "dropped: X (2 in 1)" in out
    assert depths.next_commands(run, "my model") == ["headscope roles 'my model'"]


def test_names_of_a_file_cannot_write_on_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = printed(capsys, monkeypatch, 400, run_of(hostile="\x1b[2J[red]"))
    assert "\x1b[2J" not in out
    assert "number\\x1b[2J[red]" in out


def test_the_record_is_json_without_nan() -> None:
    run = run_of()
    record = json.loads(json.dumps(depths.as_record(run, None), allow_nan=False))
    assert (record["model"], record["folder"], record["complete"]) == ("m", None, True)
    assert {name: len(record[name]) for name in FRAMES if name != "probes"} == {
        name: len(frame) for name, frame in run.probes.frames().items() if name != "probes"
    }
    assert record["verdict"] == run.probes.hierarchy.verdict
    assert next(row for row in record["order"] if row["order"].count("<") == 2)["difference"] is None


@pytest.fixture
def carried_out(monkeypatch: pytest.MonkeyPatch) -> Run:
    """An invented study, which the commands are made to find."""
    identity = {"model": {"name": "m"}, "plan": {}, "complete": True}
    scores = pd.DataFrame(columns=pd.Index([*COLUMNS, "model", "flagged"]))
    tasks = pd.DataFrame(columns=pd.Index([*ABSENT_TASK, "model"]))
    run = Run(identity=identity, scores=scores, tasks=tasks, probes=invented())
    monkeypatch.setattr("headscope.models.load", lambda *_, **__: None)
    monkeypatch.setattr(probing, "carry_out", lambda *_, **__: run)
    return run


def test_json_is_all_there_is_and_a_run_reads_back_what_was_saved(shell: Shell, carried_out: Run) -> None:
    answer = shell("probe", "m", "--json", "--out", "here")
    assert (answer.code, answer.err) == (0, "")

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is no JSON")

    record = json.loads(answer.out, parse_constant=refuse)
    back = open_run("here").probes
    assert (record["folder"], record["complete"]) == ("here", True)
    assert back is not None
    assert carried_out.probes is not None
    for name, frame in carried_out.probes.frames().items():
        pd.testing.assert_frame_equal(back.frames()[name], frame)
    assert back.record == carried_out.probes.record
    assert record["summary"] == summary(back)
    assert "What each head knows" in Path("here/report.html").read_text(encoding="utf-8")
    tables = {f"{name}.parquet" for name in FRAMES}
    assert tables <= {path.name for path in Path("here").iterdir()}


@pytest.mark.usefixtures("carried_out")
def test_quiet_prints_where_the_report_is_and_nothing_else(shell: Shell) -> None:
    assert shell("hierarchy", "m", "-q").out == "report: runs/m-hierarchy/report.html\n"


def test_ctrl_c_keeps_and_prints_what_was_finished(
    shell: Shell, carried_out: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = replace(carried_out, identity={**carried_out.identity, "complete": False})

    def stopped(*_: Any, **__: Any) -> None:
        raise Interrupted(part, 1, 2)

    monkeypatch.setattr(probing, "carry_out", stopped)
    answer = shell("probe", "m")
    assert answer.code == 130
    assert "headscope: interrupted after 1 of 2 cells" in answer.err
    assert "What heads' outputs hold" in answer.out
    assert open_run("runs/m-probes").identity["complete"] is False


def interrupting(monkeypatch: pytest.MonkeyPatch, after: int) -> list[str]:
    """Ctrl-C once so many labels were probed; their names."""
    done: list[str] = []
    one = probes._study

    def until(model: Any, labels: Any, *rest: Any) -> Any:
        if len(done) == after:
            raise KeyboardInterrupt
        done.append(labels.name)
        return one(model, labels, *rest)

    monkeypatch.setattr(probes, "_study", until)
    return done


def test_ctrl_c_between_two_labels_keeps_those_that_were_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    done = interrupting(monkeypatch, after=1)
    asked = probing.request(labels=["io", "rule"], sites=["z"], n=100, untrained=False, bits=False)
    with pytest.raises(Interrupted, match="interrupted after 1 of 2 cells") as stop:
        probing.carry_out(load("mini", device="cpu"), asked, progress=False)
    assert "what was finished is kept" in str(stop.value)
    run = stop.value.run
    assert run.identity["complete"] is False
    assert run.probes is not None
    assert run.probes.best["label"].unique().tolist() == done == ["io"]
    assert run.probes.used.empty
    assert run.probes.record["left out"] == {"rule": "interrupted before it was probed"}


def test_ctrl_c_before_the_first_label_is_finished_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    interrupting(monkeypatch, after=0)
    asked = probing.request(labels=["io"], sites=["z"], n=100, untrained=False, bits=False)
    with pytest.raises(KeyboardInterrupt):
        probing.carry_out(load("mini", device="cpu"), asked, progress=False)


def test_the_same_command_goes_on_where_it_was_stopped(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("headscope.report.write", lambda _run, path: Path(path).write_text("a report"))
    monkeypatch.setattr("headscope.models.load", lambda *_, **__: reading())
    write_bank(tmp_path / "bank.conllu")
    words = ("probe", "m", "-l", "upos,number", "--site", "resid", "--treebank", "bank.conllu", *FEW)
    with monkeypatch.context() as patch:
        interrupting(patch, after=1)
        assert shell(*words).code == 130
    assert open_run("runs/m-probes").probes.best["label"].tolist() == ["upos"]  # type: ignore[union-attr]
    answer = shell(*words)
    assert answer.code == 0
    assert answer.err == (
        "headscope: going on with runs/m-probes, which was stopped\n"
        "headscope: 1 of 2 cells were there from before (--refresh: anew)\n"
    )
    assert open_run("runs/m-probes").probes.best["label"].tolist() == ["upos", "number"]  # type: ignore[union-attr]
    interrupting(monkeypatch, after=0)
    answer = shell(*words, "--out", "runs/m-probes", "-q", "-l", "number")
    assert (answer.code, answer.err) == (0, "")
    assert open_run("runs/m-probes").identity["cells"] == {"computed": {}, "reused": {"probes": 2}}
    assert shell(*words, "--out", "runs/m-probes", "--refresh").code == 130


@pytest.mark.slow
@pytest.mark.parametrize("command", [("probe", "--site", "z", "-l", "upos,io,rule", "--no-twin"), ("hierarchy",)])
def test_ctrl_c_at_the_shell_writes_the_labels_that_were_finished(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, bank: str, command: tuple[str, ...]
) -> None:
    done = interrupting(monkeypatch, after=1)
    answer = shell(*command, "mini", "-n", "100", "--treebank", "bank.conllu", "--out", "here")
    assert answer.code == 130
    count = 3 if command[0] == "probe" else 7
    assert answer.err.startswith(f"headscope: interrupted after 1 of {count} cells\n")
    assert "Not probed: rule (interrupted before it was probed)." in " ".join(answer.out.split())
    run = open_run("here")
    assert run.identity["complete"] is False
    assert run.probes is not None
    assert run.probes.best["label"].unique().tolist() == done == ["upos"]
    assert answer.out.endswith("report: here/report.html\n")


def test_every_option_arrives(shell: Shell, carried_out: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Any] = []

    def kept(_: Any, request: Any, **__: Any) -> Run:
        asked.append(request)
        return carried_out

    monkeypatch.setattr(probing, "carry_out", kept)
    line = "{0}\t{1}\t_\tNOUN\t_\t_\t{2}\t{3}\t_\t_\n"
    sound = line.format(1, "cats", 2, "nsubj") + line.format(2, "sleep", 0, "root") + "\n"
    (tmp_path / "one.conllu").write_text(sound)
    (tmp_path / "own.csv,x.csv").write_text("sentence,word,label\n")
    words = ["probe", "m", "-q", "-l", "upos", "--label", "own.csv,x.csv", "--label", "io, upos", "--site", "q,z"]
    options = ["--treebank", "one.conllu", "--kind", "logistic", "-n", "150", "--seed", "4", "--no-twin", "--no-use"]
    answer = shell(*words, *options, "--no-bits", "--batch-size", "7", "--memory", "1G")
    assert answer.code == 0, answer.err
    assert shell("hierarchy", "m", "-q", "-n", "150", "--twin", "--kind", "logistic").code == 0
    one, other = asked
    assert (one.labels, [path.name for path in one.files], one.sites) == (("upos", "io"), ["own.csv,x.csv"], ("q", "z"))
    assert (one.kind, one.n, one.seed, one.untrained, one.use, one.bits) == ("logistic", 150, 4, False, False, False)
    assert (one.batch_size, one.memory, len(one.treebanks[0].sentences)) == (7, 2**30, 1)
    assert other.labels == ("upos", "relation", "arc", "entity", "coreference", "io", "rule")
    assert (other.sites, other.untrained, other.use, other.bits, other.n) == (("resid", "z"), True, False, False, 150)


def test_everything_that_is_wrong_is_told_before_weights_are_touched(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("headscope.models.load", lambda *_, **__: pytest.fail("weights were touched"))
    (tmp_path / "bad.conllu").write_text("1\tA\t_\n\n")
    options = ["-l", "uposs", "-l", "none.csv", "--site", "zz", "--kind", "svm", "--treebank", "bad.conllu"]
    answer = shell("probe", "m", "-n", "3", *options, "--batch-size", "0")
    assert (answer.code, answer.out) == (2, "")
    given = answer.err.splitlines()[0]
    assert given.startswith(
        "headscope: label 'uposs'; label file 'none.csv', which is no file; site 'zz'; kind 'svm'; n 3; batch_size 0; "
    )
    assert "bad.conllu" in given
    assert "one of: ridge, logistic" in answer.err
    assert "  to fix it: did you mean 'upos'?; check the path; " in answer.err
    assert not Path("runs").exists()


LINE = "{0}\t{1}\t_\t{4}\t_\t_\t{2}\t{3}\t_\t_\n"


@pytest.fixture
def bank(tmp_path: Path) -> str:
    """Thirty documents of a sentence, and a label of each noun's number that its article carries; the labels' text."""
    trees, labels = "", "sentence,word,label\n"
    for number in range(30):
        noun, verb = ("dog", "runs") if number % 2 else ("dogs", "run")
        trees += f"# newdoc id = d{number}\n# sent_id = s{number}\n# text = The {noun} {verb}.\n"
        trees += LINE.format(1, "The", 2, "det", "DET") + LINE.format(2, noun, 3, "nsubj", "NOUN")
        trees += LINE.format(3, verb, 0, "root", "VERB").replace("\t_\n", "\tSpaceAfter=No\n")
        trees += LINE.format(4, ".", 3, "punct", "PUNCT") + "\n"
        kind = "one" if number % 2 else "many"
        labels += "".join(f"s{number},{word},{kind if word == 1 else ''}\n" for word in range(1, 5))
    (tmp_path / "bank.conllu").write_text(trees)
    return labels


def test_the_bundled_model_is_probed_and_its_run_says_the_same(shell: Shell, bank: str, tmp_path: Path) -> None:
    """Real probes of a few words, and of labels of one's own: numbers and reasons are in folder, table and record."""
    (tmp_path / "count.csv").write_text(bank)
    words = [
        "probe",
        "mini",
        "-l",
        "upos",
        "-l",
        "boundary",
        "-l",
        "count.csv",
        "--treebank",
        "bank.conllu",
        "--seed",
        "3",
    ]
    answer = shell(*words, "--site", "resid", *FEW)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.endswith("report: runs/mini-probes/report.html\n")
    run = open_run(tmp_path / "runs" / "mini-probes")
    assert run.probes is not None
    assert set(zip(run.probes.probes["label"], run.probes.probes["site"], strict=True)) == {
        ("upos", "resid"), ("count", "resid")
    }  # fmt: skip
    record = run.probes.record
    assert (record["use"], record["untrained twin"]) == ("not tested: z was not probed", "not asked for")
    assert record["treebanks"][0]["sentences"] == 30
    assert run.identity["provenance"]["command"][:3] == ["headscope", "probe", "mini"]
    assert "Not probed: boundary (label 'boundary' of 'gold text', which has 0 classes" in " ".join(answer.out.split())
    best = run.probes.best.set_index("label")
    assert best.loc["upos", "accuracy"] == 1
    assert best.loc["count", "accuracy"] < 0.9, "a decoder cannot know at 'the' how many there will be"
    line = next(line for line in answer.out.splitlines() if line.split()[:2] == ["upos", "depth"])
    assert "1.00 [1.00, 1.00]" in line


def test_a_label_file_that_is_a_row_short_is_refused(shell: Shell, bank: str, tmp_path: Path) -> None:
    (tmp_path / "count.csv").write_text(bank.replace("s0,1,many\n", ""))
    answer = shell("probe", "mini", "-l", "count.csv", "--treebank", "bank.conllu", *FEW)
    assert answer.code == 2
    assert "of 119 rows for 120 words: 1 words without a row (word 1 of 's0')" in answer.err


@pytest.mark.usefixtures("bank")
def test_a_model_that_cannot_read_text_has_its_reasons_told(ids: Path, tmp_path: Path) -> None:
    model = load(str(ids), device="cpu")
    request = probing.request(labels=["upos", "io"], treebanks=[tmp_path / "bank.conllu"], untrained=False)
    with pytest.raises(UsageError) as caught:
        probing.carry_out(model, request, progress=False)
    assert caught.value.given == (
        "label 'upos': passages of text ('gold text') for model 'ids', which has no tokenizer; expected: a model "
        "that reads text; label 'io': task 'ioi' on 'ids', which has no tokenizer; expected: a model that reads words"
    )
    assert caught.value.expected == "one set of labels that this model can read"


def test_help_teaches_what_is_done(shell: Shell) -> None:
    words = " ".join(shell("probe", "--help").out.split())
    for told in ("--treebank", "--label", "--site", "--kind", "--no-use", "--no-bits", "Present is not used"):
        assert told in words
    assert "order of the stages a test" in " ".join(shell("hierarchy", "--help").out.split())
    assert {"probe", "hierarchy"} <= set(shell("--help").out.split())
