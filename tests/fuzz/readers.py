"""Every reader of outside input: how it is called on a folder of files, as the command line would."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from fuzz import kept, opening, seeds
from fuzz.seeds import Files


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Something that reads what other people wrote.

    Attributes:
        seeds: sound inputs.
        read: reads a folder that holds one of them, or what was made of it; raises HeadscopeError, or nothing.
        share: inputs of a million.
        spoil: the endings of files that are spoilt; empty: all.
        seconds: of the processor that one input may take.
    """

    seeds: Callable[[], list[Files]]
    read: Callable[[Path], None]
    share: int
    spoil: tuple[str, ...] = ()
    seconds: float = 5.0


SMALL = 12_000
"""Bytes."""


@cache
def words() -> Any:
    """A reader of words: GPT-2's tokenizer where it is, else the bundled one's."""
    from fixtures_chains import gpt2, mini
    from fixtures_tasks import SHARED

    return gpt2(512) if SHARED.is_dir() else mini()


def _treebank(folder: Path) -> None:
    from headscope.corpora import read_treebank
    from headscope.errors import UsageError

    try:
        read_treebank(folder / "own.conllu")
    except UsageError:
        read_treebank(folder / "own.conllu", repair=True)


def _only(folder: Path) -> Path:
    return next(folder.iterdir(), folder / "in.none")


def _task(kind: str, folder: Path) -> None:
    import numpy as np

    from headscope.tasks.files import from_file

    path = _only(folder)
    task = from_file(f"{kind}:{path}")
    size = path.stat().st_size
    if size < SMALL and size % 3 == 0:  # tokenisers are slow: they are tried on some inputs
        task.build(words(), n=3, rng=np.random.default_rng(0))


def _chains(kind: str, folder: Path) -> None:
    from headscope.tasks.chains import read_problems

    read_problems(_only(folder), kind=kind)


@cache
def _prompts() -> Any:
    import torch

    from headscope.corpora import Passage, Word
    from headscope.prompts import Labelled

    forms = [Word(form=form, upos="X", head=at - 1, rel="x", start=2 * at, end=2 * at + 1)
             for at, form in enumerate("abcd")]  # fmt: skip
    passages = tuple(Passage(text="a b c d", words=tuple(forms), name=name) for name in ("one", "two"))
    tokens = torch.ones(2, 4, dtype=torch.long)
    spans = torch.stack([torch.arange(4), torch.arange(1, 5)], -1).expand(2, 4, 2)
    return Labelled(task="own", tokens=tokens, mask=tokens > 0, groups=torch.arange(2), passages=passages, spans=spans)


def _labels(folder: Path) -> None:
    from headscope.methods.probing.labelfile import read_labels

    read_labels(_only(folder), _prompts())


def _run(folder: Path) -> None:
    from headscope.comparing import reading
    from headscope.runs import open_run

    run = open_run(folder)
    run.top(2)
    both, _ = reading.shared(run, run)
    reading.side(run, both[0])
    reading.same_prompts(run, run, both[0][0])
    reading.differing(run, run)


def _whole_run(folder: Path) -> None:
    """What `headscope compare` and the figure of a run make of it."""
    from headscope.cli.comparison import record
    from headscope.comparing import compare
    from headscope.runs import open_run

    json.dumps(record(compare(folder, folder, leading=True), []), allow_nan=False)
    open_run(folder).heatmap()


def _weights(folder: Path) -> None:
    from headscope.models.sources import weight_files

    weight_files(folder)


def _tokenizer(folder: Path) -> None:
    from headscope.models import reading, sources, tokenisation

    tokenizer = reading.read_tokenizer(sources.locate(folder))
    if tokenizer is not None:
        tokenisation.describe(tokenizer, tokenisation.frame_of(tokenizer, causal=False))


def _model(folder: Path) -> None:
    from headscope.models import load

    load(folder, device="cpu")


READERS: dict[str, Reader] = {
    "conllu": Reader(seeds=seeds.treebanks, read=_treebank, share=200_000),
    **{
        kind: Reader(seeds=lambda kind=kind: seeds.tasks()[kind], read=partial(_task, kind), share=share)
        for kind, share in (("lambada", 80_000), ("commonsenseqa", 80_000), ("winograd", 80_000),
                            ("relations", 70_000), ("pairs", 70_000))
    },
    **{
        kind: Reader(seeds=lambda kind=kind: seeds.chains()[kind], read=partial(_chains, kind), share=70_000)
        for kind in ("prontoqa", "proofwriter")
    },
    "labels": Reader(seeds=seeds.labels, read=_labels, share=60_000),
    "run": Reader(seeds=seeds.runs, read=_run, share=5_000),
    "whole-run": Reader(
        seeds=seeds.runs, read=_whole_run, share=400, seconds=60,
        spoil=("scores.parquet", "tasks.parquet", "run.json", ".safetensors"),
    ),
    "weights": Reader(seeds=seeds.models, read=_weights, share=45_000, spoil=(".safetensors", ".index.json")),
    "tokenizer": Reader(
        seeds=lambda: seeds.models()[:1], read=_tokenizer, share=6_000, seconds=20,
        spoil=("tokenizer.json", "tokenizer_config.json"),
    ),
    "model": Reader(
        seeds=seeds.models, read=_model, share=600, seconds=60,
        spoil=("config.json", ".safetensors", ".index.json"),
    ),
    "plan": Reader(seeds=kept.outlines, read=opening.outlined, share=2_000, seconds=20),
    "cells": Reader(seeds=kept.cells, read=opening.cells, share=40_000, spoil=(".safetensors",)),
    "sheet": Reader(seeds=kept.analysed, read=opening.sheet, share=40_000, spoil=("plan.json",)),
    "notes": Reader(seeds=kept.notes, read=opening.noted, share=20_000),
    "merge": Reader(
        seeds=kept.analysed, read=opening.merged, share=1_000, seconds=30, spoil=("plan.json", ".safetensors")
    ),
    "verify": Reader(seeds=kept.analysed, read=opening.verified, share=4_000, seconds=20),
    "cite": Reader(
        seeds=kept.small_runs, read=opening.cited, share=10_000,
        spoil=("run.json", "scores.parquet", "tasks.parquet", "roles.parquet"),
    ),
    "report": Reader(seeds=kept.small_runs, read=opening.report, share=600, seconds=60),
    "pictures": Reader(seeds=kept.small_runs, read=opening.pictures, share=400, seconds=60),
    "reproduction": Reader(seeds=kept.reproductions, read=opening.reproduction, share=5_000),
    "reproduced-page": Reader(seeds=kept.reproductions, read=opening.reproduced_page, share=400, seconds=60),
    "cache": Reader(seeds=kept.caches, read=opening.cache, share=20_000),
    "checkpoint": Reader(seeds=kept.checkpoints, read=opening.checkpoint, share=9_600),
    "long-text": Reader(seeds=kept.texts, read=opening.long_text, share=10_000),
}  # fmt: skip
"""What can be named with --reader. The shares of a million add up to one million."""
