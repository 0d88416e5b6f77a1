"""A randomly initialised model of GPT-2's exact shape, with the real tokenizer, from a directory at the shell."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from headscope import open_run
from headscope.cli import main


@pytest.mark.slow
def test_a_directory_of_gpt2s_shape_runs_every_task(
    tmp_path: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    folder = tmp_path / "random-gpt2"
    GPT2LMHeadModel(GPT2Config()).save_pretrained(folder)
    for file in (shared_data / "gpt2-tokenizer").iterdir():
        shutil.copy(file, folder / file.name)
    capsys.readouterr()
    command = ["headscope", "analyze", str(folder), "-n", "2", "-m", "patching,attention", "--offline", "--json"]
    monkeypatch.setattr("sys.argv", [*command, "--out", str(tmp_path / "run")])
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
    told = json.loads(capsys.readouterr().out)
    assert {row["task"] for row in told["tasks"]} == {"induction", "ioi", "agreement"}
    assert all(row["n"] == 2 for row in told["tasks"]), "no task was skipped"
    run = open_run(tmp_path / "run")
    assert len(run.scores) == 3 * 144 * (2 + 7)
    causal = run.scores[run.scores["method"] == "patching"]
    assert causal["value"].notna().all()
    assert (causal["value"] != 0).any()
    assert run.identity["model"]["self_check"]["logits_equal_hugging_face"] < 1e-4
