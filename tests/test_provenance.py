"""The record of a run: complete, impersonal, and without importing what it records."""

import hashlib
import json
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch

from headscope import provenance
from headscope.errors import UsageError


def git(folder, *words):
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "code.py").write_text("1")
    git(folder, "init", "-q")
    git(folder, "add", "code.py")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def test_record_says_what_is_needed_to_repeat_a_run():
    facts = provenance.record(command=["headscope", "analyze", "mini", "-n", "8"], seed=3)
    assert facts == json.loads(json.dumps(facts))
    assert facts["command"] == ["headscope", "analyze", "mini", "-n", "8"]
    assert facts["seed"] == 3
    assert facts["versions"]["torch"] == metadata.version("torch") == torch.__version__
    assert facts["versions"]["transformer-lens"] == metadata.version("transformer-lens")
    assert facts["python"].endswith(platform.python_version())
    started = datetime.fromisoformat(facts["started"])
    assert started.utcoffset().total_seconds() == 0
    assert abs((datetime.now(UTC) - started).total_seconds()) < 60
    assert provenance.record(seed=0)["command"] is None


def test_a_package_that_is_not_installed_has_no_version(monkeypatch):
    monkeypatch.setattr(provenance, "PACKAGES", ("numpy", "no-such-distribution"))
    assert provenance.record(seed=0)["versions"] == {"numpy": np.__version__, "no-such-distribution": None}


def test_record_is_impersonal(monkeypatch):
    for name in ("USER", "LOGNAME", "HOSTNAME"):
        monkeypatch.setenv(name, "private-name")
    monkeypatch.setattr(platform, "node", lambda: "private-name")
    words = [str(Path.home() / "models" / "mine"), f"--out={Path.cwd() / 'runs' / 'one'}", r"C:\Users\me\model", "~/x"]
    facts = provenance.record(command=["/opt/bin/headscope", *words, "openai-community/gpt2", "--n=8"], seed=0)
    assert facts["command"] == ["headscope", "mine", "--out=runs/one", "model", "x", "openai-community/gpt2", "--n=8"]
    text = json.dumps(facts)
    assert "private-name" not in text
    assert str(Path.home()) not in text


def test_git_state_of_a_checkout(checkout):
    assert provenance._git(checkout) == {"commit": git(checkout, "rev-parse", "HEAD"), "dirty": False}
    (checkout / "notes.txt").write_text("untracked")
    assert provenance._git(checkout)["dirty"] is False
    (checkout / "code.py").write_text("2")
    assert provenance._git(checkout)["dirty"] is True


def test_git_state_ignores_a_hooks_own_repository(checkout, monkeypatch, tmp_path):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert provenance._git(checkout)["dirty"] is False


def test_no_git_state_is_none(checkout, monkeypatch, tmp_path):
    inside = checkout / "venv" / "site-packages"
    inside.mkdir(parents=True)
    assert provenance._git(inside) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance._git(checkout) is None


def test_no_commit_yet_is_none(tmp_path):
    git(tmp_path, "init", "-q")
    assert provenance._git(tmp_path) is None


def test_digest_of_bytes_and_of_a_file_larger_than_a_block(tmp_path):
    data = bytes(range(256)) * 5000
    path = tmp_path / "data.bin"
    path.write_bytes(data)
    assert provenance.digest(path) == provenance.digest(data) == hashlib.sha256(data).hexdigest()
    with pytest.raises(FileNotFoundError):
        provenance.digest(tmp_path / "absent")


def test_seeds_are_the_same_in_every_process_and_differ_by_every_part():
    code = "from headscope.provenance import seed_for; import sys; sys.stdout.write(str(seed_for(1, 'mini', 'ioi')))"
    root = Path(provenance.__file__).parent.parent
    other = subprocess.run([sys.executable, "-c", code], cwd=root, check=True, capture_output=True, text=True).stdout
    assert provenance.seed_for(1, "mini", "ioi") == int(other) == 8097870694183180118
    cells = [(seed, *names) for seed in range(20) for names in [(), ("a", "b"), ("b", "a"), ("ab",), ("a", "b", "")]]
    seeds = [provenance.seed_for(*cell) for cell in cells]
    assert len(set(seeds)) == len(cells)
    assert all(0 <= seed < 2**63 for seed in seeds)
    torch.Generator().manual_seed(max(seeds))
    np.random.default_rng(max(seeds))


def test_a_negative_seed_is_refused():
    with pytest.raises(UsageError) as caught:
        provenance.seed_for(-1)
    assert str(caught.value) == (
        "seed -1\n  expected: a whole number, 0 or more\n  to fix it: write for example --seed 0"
    )


def test_recording_imports_nothing_heavy():
    code = (
        "import sys; from headscope.provenance import record; record(seed=0); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'pandas', 'transformers')))"
    )
    root = Path(provenance.__file__).parent.parent
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
