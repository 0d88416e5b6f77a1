"""`--device-map` and `--max-memory`: models that one device does not hold, at the shell."""

import json
from pathlib import Path

import pandas as pd
import pytest
from shells import QUICK, Shell

from headscope.cli import names
from headscope.models.placing import WORDS

LOADING = (
    ("analyze", "MODEL"),
    ("few", "MODEL"),
    ("roles", "MODEL"),
    ("probe", "MODEL"),
    ("hierarchy", "MODEL"),
    ("explain", "MODEL", "5 6", "--ids"),
    ("reproduce", "three-percent", "MODEL"),
)


def test_the_shell_offers_the_maps_that_there_are() -> None:
    assert names.MAPS == WORDS


@pytest.mark.parametrize("command", LOADING, ids=lambda words: words[0])
def test_one_device_and_a_map_contradict_each_other(command: tuple[str, ...], ids: Path, shell: Shell) -> None:
    words = (str(ids) if word == "MODEL" else word for word in command)
    answer = shell(*words, "--device", "cpu", "--device-map", "auto")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == (
        "headscope: device 'cpu' together with a device_map\n"
        "  expected: one of the two: one device for all, or a map over several\n"
        "  to fix it: leave the device out\n"
    )


def test_a_word_that_is_no_map_is_refused(ids: Path, shell: Shell) -> None:
    answer = shell("analyze", ids, "--device-map", "evenly")
    assert answer.code == 2
    assert answer.err.startswith("headscope: device_map 'evenly'\n  expected: one of auto, balanced, balanced_low_0")


@pytest.mark.slow
def test_an_analysis_of_a_model_on_disk_gives_the_same_scores(ids: Path, shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "map.json").write_text(json.dumps({"": "cpu", "transformer.h": "disk"}))
    assert shell("analyze", ids, *QUICK, "--out", "whole").code == 0
    assert shell("analyze", ids, *QUICK, "--device-map", "map.json", "--out", "spread").code == 0
    whole, spread = (pd.read_parquet(tmp_path / name / "scores.parquet") for name in ("whole", "spread"))
    pd.testing.assert_frame_equal(whole, spread)
    record = json.loads((tmp_path / "spread" / "run.json").read_text())
    places = record["model"]["device_map"]
    assert places == {f"transformer.{name}": "cpu" for name in ("wte", "wpe", "drop", "ln_f")} | {
        "transformer.h": "disk", "lm_head": "cpu"
    }  # fmt: skip
