"""Disks that are full, folders that may not be written to, and folders that go away while a run is at work."""

import errno
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from results import results

from headscope.errors import RunError
from headscope.runs import Run, check_writable, open_run

TOLD = (
    "\n  expected: a folder that may be written to, with some 20 MB left\n",
    "choose another --out, or free some space",
)


@pytest.fixture(scope="module")
def run() -> Run:
    import torch

    made = results(grid=(8, 12))
    values = {"induction.patching.denoising": torch.zeros(64, 8, 12)}
    return Run(identity=made.identity, scores=made.scores, tasks=made.tasks, views=made.views, examples=values)


@pytest.fixture(autouse=True)
def short_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a megabyte in place of four, in no time."""
    monkeypatch.setattr("headscope.report.write", lambda _run, path: path.write_text("x" * 500_000))


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[Path]:
    """A disk of its own, where this machine allows one."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root mounts disks")
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(["mount", *options], capture_output=True, check=False).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=True)


@pytest.mark.parametrize("size", ["20k", "100k", "400k"])
def test_a_disk_that_fills_up_is_told_and_leaves_no_half_run(run: Run, tmp_path: Path, size: str) -> None:
    with mounted(tmp_path / "disk", size) as disk:
        with pytest.raises(RunError) as caught:
            run.save(disk / "run")
        text = str(caught.value)
        assert f"output folder {str(disk / 'run')!r}, which cannot be written (" in text
        assert "No space left on device" in text
        assert all(part in text for part in TOLD)
        assert not list((disk / "run").rglob("*.part"))
        if (disk / "run" / "run.json").exists():  # the disk was full when the report came, after all numbers
            assert open_run(disk / "run").scores.equals(run.scores)


def test_a_disk_with_room_again_takes_the_run(run: Run, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "3m") as disk:
        (disk / "ballast").write_bytes(b"x" * 2_950_000)
        with pytest.raises(RunError, match="No space left on device"):
            run.save(disk / "run")
        (disk / "ballast").unlink()
        assert open_run(run.save(disk / "run")).scores.equals(run.scores)


def test_a_limit_on_the_size_of_files_is_told(run: Run, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(RunError) as caught:
            run.save(tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.strerror(errno.EFBIG) in str(caught.value)
    assert all(part in str(caught.value) for part in TOLD)
    assert [path.name for path in (tmp_path / "run").rglob("*") if path.is_file()] == []


def test_a_disk_that_is_read_only_is_told_before_any_work(run: Run, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "1m") as disk:
        (disk / "run").mkdir()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], capture_output=True, check=True)
        for attempt in (check_writable, run.save):
            for folder in (disk / "run", disk / "new"):
                with pytest.raises(RunError, match=r"which cannot be written \(Read-only file system\)"):
                    attempt(folder)


def test_a_folder_of_somebody_else_is_told_before_any_work(run: Run, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o555)
    if os.geteuid() != 0:
        with pytest.raises(RunError, match=r"which cannot be written \(Permission denied\)"):
            check_writable(tmp_path / "run")
        return
    os.seteuid(65534)
    try:
        with pytest.raises(RunError, match=r"which cannot be written \(Permission denied\)"):
            check_writable(tmp_path / "run")
        with pytest.raises(RunError, match=r"which cannot be written \(Permission denied\)"):
            run.save(tmp_path / "run")
    finally:
        os.seteuid(0)


def test_a_folder_that_goes_away_while_the_run_is_at_work_comes_back(run: Run, tmp_path: Path) -> None:
    check_writable(tmp_path / "run")
    (tmp_path / "run").rmdir()
    assert open_run(run.save(tmp_path / "run")).scores.equals(run.scores)


def test_a_folder_that_goes_away_while_it_is_written_is_told(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors import numpy

    inner = numpy.save_file

    def gone(*given: object, **options: object) -> None:
        inner(*given, **options)  # type: ignore[arg-type]
        shutil.rmtree(tmp_path / "run")

    monkeypatch.setattr(numpy, "save_file", gone)
    with pytest.raises(RunError) as caught:
        run.save(tmp_path / "run")
    assert "which cannot be written (" in str(caught.value)
    assert all(part in str(caught.value) for part in TOLD)
    assert not (tmp_path / "run" / "run.json").exists()
