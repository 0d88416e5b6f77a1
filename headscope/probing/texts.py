"""What probes are fitted on: gold text in a model's tokens, labels of one's own, and prompts of tasks."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from headscope import provenance
from headscope.corpora import gold_treebank, windows
from headscope.errors import ModelError, TaskError, UsageError
from headscope.methods.probing.labelfile import read_labels
from headscope.methods.probing.labels import Labels
from headscope.models import Model
from headscope.models.words import read_words
from headscope.probing.request import Request
from headscope.prompts import Labelled, Pairs
from headscope.roles.texts import WINDOW, draw, sentences
from headscope.tasks import TASKS


def texts(
    model: Model, asked: Request, words: Sequence[str], record: dict[str, Any], skipped: dict[str, str]
) -> tuple[Labelled | None, list[Labels]]:
    """Gold text in windows of several sentences, and labels of one's own, which number the words of single sentences.

    Args:
        model: whose tokens they are made of.
        asked: treebanks and files.
        words: labels of gold text; without any, none is read.
        record: gets what was read.
        skipped: gets the reasons, where the model cannot read text.

    Raises:
        UsageError: if a label file does not fit the text.
    """
    if not words and not asked.files:
        return None, []
    drawn = draw(asked.treebanks or (gold_treebank(),), n=10**9, seed=asked.seed)
    record["treebanks"] = [
        {"name": each.name, "sha256": each.sha256, "sentences": len(each.sentences), "skipped": dict(each.skipped)}
        for each in drawn
    ]
    own: list[Labels] = []
    if asked.files:
        single = read_words(model, sentences(drawn), task="sentences")
        own = [read_labels(path, single) for path in asked.files]
    if not words:
        return None, own
    try:
        passages = [each for bank in drawn for each in windows(bank, longest=WINDOW)]
        prompts = read_words(model, passages, task="gold text", overflow="cut")
    except (TaskError, ModelError) as problem:
        skipped |= dict.fromkeys(words, f"{problem.given}; expected: {problem.expected}")
        return None, own
    record["windows"] = {"passages": len(prompts), "longest": f"{WINDOW} words", "lost": dict(prompts.lost)}
    return prompts, own


def pairs_of(
    model: Model, wanted: tuple[str, str], n: int, about: tuple[str, int], skipped: dict[str, str]
) -> Pairs | None:
    """Prompts of a task that turns on a label; None, with the reason, where the model cannot read them.

    Args:
        model: whose tokens they are made of.
        wanted: the label, and the task.
        n: how many.
        about: what they are for, and the seed.
        skipped: gets the reason.
    """
    (label, task), (use, seed) = wanted, about
    rng = np.random.default_rng(provenance.seed_for(seed, "probing", use, task))
    try:
        return TASKS[task].build(model, n=n, rng=rng)
    except (TaskError, UsageError) as problem:
        skipped[label] = f"{problem.given}; expected: {problem.expected}"
        return None
