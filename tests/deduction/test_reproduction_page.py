"""The page of a reproduction in a real browser with its network off: drawn, quiet, narrow enough, and safe."""

import time
from pathlib import Path

import pandas as pd
import pytest
from browser import chromium, page
from claimcases import circuit, frame

from headscope.deduction.claims import claims
from headscope.deduction.lens import LENS
from headscope.report.reproduction import write

HOSTILE = "<img src=x onerror=alert(1)>"

pytestmark = [pytest.mark.slow, pytest.mark.skipif(chromium() is None, reason="no Chromium on PATH")]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = circuit()
    chains = base.ablation[(base.ablation["where"] == "chains") & (base.ablation["measure"] == "step_accuracy")]
    swept = [chains.assign(set=f"top {size}", size=size) for size in (1, 2, 6, 20)]
    right = [{"component": "answer", "step": -1, "layer": layer, "measure": "right", "value": 0.1 * layer, "low": 0.0,
              "high": 0.2 * layer} for layer in range(-1, 8)]  # fmt: skip
    made = circuit(
        HOSTILE, notes=(HOSTILE,), tokens=base.tokens.assign(token=HOSTILE), stopped="own chains",
        ablation=pd.concat([base.ablation, *swept], ignore_index=True),
        lens=pd.concat([base.lens, frame(LENS, right)], ignore_index=True),
    )  # fmt: skip
    return write({"paper": "p"}, made, claims(made), tmp_path_factory.mktemp("page") / "report.html")


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (375, False)])
def test_the_page_draws_every_figure_and_asks_for_nothing(path: Path, tmp_path: Path, width: int, dark: bool) -> None:
    with page(tmp_path / "profile") as seen:
        seen.open(path, width=width, dark=dark)
        limit = time.monotonic() + 120
        while seen.evaluate("document.documentElement.dataset.drawn") != "yes" and time.monotonic() < limit:
            time.sleep(0.2)
        assert seen.evaluate("document.documentElement.dataset.drawn") == "yes"
        assert seen.errors == []
        assert [url for url in seen.requests if not url.startswith(("file:", "data:", "blob:"))] == []
        plots = "[...document.querySelectorAll('.plot')]"
        assert seen.evaluate(f"{plots}.length") >= 12
        assert seen.evaluate(f"{plots}.every(each => each.querySelector('.main-svg'))")
        assert seen.evaluate("document.documentElement.scrollWidth") <= width, "no sideways scrolling"
        assert seen.evaluate("document.querySelectorAll('img').length") == 0, "names and tokens stay text"
        assert seen.evaluate("document.querySelectorAll('.claim').length") == 8
        assert "stopped during: own chains" in seen.evaluate("document.querySelector('.incomplete').textContent")
        shades = seen.evaluate("getComputedStyle(document.querySelector('.tokens li.unsure')).backgroundColor")
        assert shades == "rgb(33, 113, 181)"
