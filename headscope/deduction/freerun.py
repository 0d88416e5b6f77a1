"""A model's own chains, written greedily from the question on: are they right, and are they chains at all?"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from headscope.deduction.ablation import Lost
from headscope.deduction.decoding import Writer
from headscope.deduction.forward import MODES, TOKENS, Removal, instead_of, removed
from headscope.deduction.sets import HeadSet
from headscope.errors import TaskError
from headscope.models import Model
from headscope.progress import track
from headscope.tasks.chains import Chain, Chains

ABLE = 0.4
"""The least share of steps that a model must get right in its own chains for its heads to be looked at. The weakest
model of arXiv 2605.27824 gets about half of them."""

SLACK = 8
"""Tokens that an own chain may have beyond the gold one, before it is stopped; half as many again at least."""

OWN = {
    "exact": "share of chains with all the gold steps in their order, no other, and the right answer",
    "step_accuracy": "share of gold steps that the own chain has at the same place",
    "answer": "share of chains with the right answer",
    "format_failures": "share of chains that are no chains: pieces of another form, or no answer",
}
"""What is measured of own chains."""

CHAINS = ["chain", "set", "mode", "given", "gold", "own", *OWN]
"""Columns of `chain_table`."""

_SYMBOL = r"'?\s*([^'\s,\[\]{}()=>]+)\s*'?"
_STEP = re.compile(rf"=>\s*F\s*\(\s*KB\s*\[([^\]]*)\]\s*,\s*Rule\s*(\d+)\s*\)\s*=>\s*{_SYMBOL}\s*")
_KNOWN = re.compile(r"KB\s*=\s*\{[^{}]*\}\s*")
_ANSWER = re.compile(r"Answer\s*:\s*(\w+)")
_PLAIN = re.compile(r"\s*(\w+(?: so \w+)+) answer (yes|no)\b")
_END = {"symbolic": re.compile(r"Answer\s*:\s*\w+"), "plain": re.compile(r"\banswer \w+ ?[^\w\s]")}

Step = tuple[tuple[str, ...], str, str]


@dataclass(frozen=True, slots=True)
class Own:
    """A chain as it was read from text.

    Attributes:
        steps: premises, rule (empty in plain words) and conclusion of each.
        answer: what it answers; empty without one.
        sound: whether the text is a chain throughout and comes to an answer.
    """

    steps: tuple[Step, ...]
    answer: str
    sound: bool


def parse(text: str, form: str) -> Own:
    """Read a chain from text, as far as it is one; what stands after the answer is not looked at.

    Args:
        text: gold or written by a model.
        form: `symbolic` or `plain` (capital letters are then of no account).

    Example:
        >>> parse("calm so poor so wise answer no.", "plain").steps
        ((('calm',), '', 'poor'), (('poor',), '', 'wise'))
        >>> parse("KB = {A}\\n=> F(KB['A', 'C'], Rule4) => 'D'\\nKB = {A, D}\\nAnswer: True", "symbolic")
        Own(steps=((('A', 'C'), '4', 'D'),), answer='True', sound=True)
        >>> parse("calm calm so", "plain")
        Own(steps=(), answer='', sound=False)
    """
    if form == "plain":
        return _plain(" ".join(text.casefold().split()))
    end = _ANSWER.search(text)
    body = text[: end.start()] if end else text
    steps = tuple((_premises(each[1]), each[2], each[3]) for each in _STEP.finditer(body))
    rest = _KNOWN.sub("", _STEP.sub("", body)).strip()
    return Own(steps, end[1] if end else "", bool(end) and not rest)


def _plain(text: str) -> Own:
    found = _PLAIN.match(text)
    line = found[1] if found else (re.match(r"\s*\w+(?: so \w+)*", text) or [""])[0]
    words = line.split(" so ")
    steps = tuple(((one,), "", other) for one, other in pairwise(words))
    return Own(steps, found[2] if found else "", found is not None)


def _premises(text: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("'").strip() for part in text.split(","))


def judge(own: Own, gold: Own) -> dict[str, float]:
    """The measures of `OWN` for one chain.

    Args:
        own: what the model wrote.
        gold: the gold chain.

    Returns:
        0 or 1, and a share of steps; NaN for that if the gold chain has none.

    Example:
        >>> gold = parse("calm so poor so wise answer no.", "plain")
        >>> judge(parse("calm so poor so rich answer no.", "plain"), gold)
        {'exact': 0.0, 'step_accuracy': 0.5, 'answer': 1.0, 'format_failures': 0.0}
    """
    hits = [one == other for one, other in zip(own.steps, gold.steps, strict=False)]
    return {
        "exact": float(own.sound and own.steps == gold.steps and own.answer == gold.answer),
        "step_accuracy": sum(hits) / len(gold.steps) if gold.steps else float("nan"),
        "answer": float(own.answer == gold.answer),
        "format_failures": float(not own.sound),
    }


def gold_text(chain: Chain) -> str:
    """The gold chain of the problem that is asked, without what is given.

    Args:
        chain: the whole text.
    """
    return chain.text[len(chain.given) :]


def write(
    model: Model, chains: Chains, rows: Int[Tensor, " example"], removal: Removal | None = None
) -> tuple[str, ...]:
    """The model's own chains, greedily, each from the last token of what is given.

    A chain ends with its answer, or when it is half as long again as the gold one.

    Args:
        model: the model, with a tokenizer.
        chains: whose problems are asked.
        rows: which of them.
        removal: heads that are removed at every token, in what is given and in what is written; None: none.

    Returns:
        What it wrote, as text. Cost: a forward over what is given for each chain, and one over each token that is
        written, with the keys and values of what stands before it (a model that cannot be cut open: a whole forward).

    Example:
        >>> from headscope.models import load
        >>> from headscope.tasks.chains import draw_chains
        >>> model = load("mini", check=False)
        >>> made = draw_chains(model, n=1, rng=np.random.default_rng(0))
        >>> own, = write(model, made, torch.tensor([0]))
        >>> parse(own, "plain") == parse(gold_text(made.chains[0]), "plain")
        True
    """
    if model.tokenizer is None:
        raise TaskError(
            f"own chains of {model.name!r}, which has no tokenizer", "a model that writes text", "load it with one"
        )
    begin = chains.place("begin")[rows]
    gold = chains.mask[rows].sum(1) - 1 - begin
    extra = int(max(gold.max() + SLACK, gold.max() * 3 // 2))
    longest = min(int(begin.max()) + 1 + extra, model.max_length)
    writer = Writer(model, chains.tokens[rows], begin + 1, longest, removal)
    found: list[list[int]] = [[] for _ in rows]
    texts = [""] * len(rows)
    ends = [_END[chains.chains[row].form] for row in rows.tolist()]
    for said in writer:
        open_ = False
        for index, token in enumerate(said.tolist()):
            if ends[index].search(texts[index]) or token < 0:
                continue
            found[index].append(token)
            texts[index] = str(model.tokenizer.decode(found[index]))
            open_ = True
        if not open_:
            break
    return tuple(texts)


Texts = dict[tuple[str, int], tuple[str, ...]]
"""What was written, by mode and set; set 0 is empty."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Written:
    """Own chains under several sets of removed heads.

    Attributes:
        lost: the measures, by mode, as for other ablations.
        texts: what was written, by (mode, set); set 0 is empty.
    """

    lost: tuple[Lost, ...]
    texts: Texts


def on_own_chains(
    model: Model, chains: Chains, sets: Sequence[HeadSet], *, modes: Sequence[str] = MODES, seed: int = 0,
    progress: bool = False,
) -> Written:  # fmt: skip
    """The model's own chains when all heads of a set are removed together, in reading and in writing.

    Args:
        model: the model.
        chains: whose problems are asked.
        sets: sets of heads.
        modes: `resample`: heads put out what they do on another gold chain at that position, its last where it is
            shorter; `zero`: nothing.
        seed: draws the other chains.
        progress: draw a progress bar.

    Returns:
        The measures of `OWN`, and the texts. Cost: that of `write` for each set and mode.
    """
    return judged(chains, own_texts(model, chains, sets, modes=modes, seed=seed, progress=progress))


def own_texts(
    model: Model, chains: Chains, sets: Sequence[HeadSet], *, modes: Sequence[str] = MODES, seed: int = 0,
    progress: bool = False,
) -> Texts:  # fmt: skip
    """The model's own chains as text; what `on_own_chains` judges.

    Args:
        model: as for `on_own_chains`.
        chains: as for `on_own_chains`.
        sets: as for `on_own_chains`.
        modes: as for `on_own_chains`.
        seed: as for `on_own_chains`.
        progress: as for `on_own_chains`.
    """
    size = max(1, TOKENS.get(model.device.type, 4096) // chains.tokens.shape[1])
    tables = [None, *(removed(model.grid, each) for each in sets)]
    texts: dict[tuple[str, int], list[str]] = {(mode, at): [] for mode in modes for at in range(len(tables))}
    for rows in torch.arange(len(chains)).split(size):
        instead = instead_of(model, chains, rows, modes=modes, seed=seed)
        intact = write(model, chains, rows)
        for mode in modes:
            label = f"own chains: {mode} ablation" if sets else ""
            for at, heads in enumerate(track(tables, label, show=progress, unit="set")):
                acts = heads is not None and bool(heads.any())
                removal = Removal(heads=heads, values=instead[mode]) if acts and heads is not None else None
                texts[mode, at] += intact if removal is None else write(model, chains, rows, removal)
    return {key: tuple(found) for key, found in texts.items()}


def judged(chains: Chains, texts: Texts) -> Written:
    """Own chains measured against the gold ones.

    Args:
        chains: whose problems were asked.
        texts: from `own_texts`.

    Returns:
        The measures of `OWN`, and the texts. Cost: no forward pass.
    """
    gold = [parse(gold_text(chain), chain.form) for chain in chains.chains]
    units = dict.fromkeys(OWN, "share")
    lost = [
        Lost(
            where="own chains", mode=mode, groups=chains.groups.numpy(), units=units,
            values=_measures([found for (each, _), found in texts.items() if each == mode], chains, gold),
        )
        for mode in dict.fromkeys(mode for mode, _ in texts)
    ]  # fmt: skip
    return Written(lost=tuple(lost), texts=texts)


def _measures(
    texts: Sequence[Sequence[str]], chains: Chains, gold: Sequence[Own]
) -> dict[str, Float[np.ndarray, "example set"]]:
    judged = [
        [judge(parse(text, chain.form), right) for text, chain, right in zip(each, chains.chains, gold, strict=True)]
        for each in texts
    ]
    return {name: np.array([[one[name] for one in each] for each in judged]).T for name in OWN}


def require_able(model: Model, lost: Lost, *, least: float = ABLE) -> None:
    """Raise TaskError if the model cannot do the chains: effects of its heads on them would mean nothing.

    Args:
        model: the model.
        lost: its own chains; those of the empty set count.
        least: the share of steps that it must get right.
    """
    steps = float(np.nanmean(lost.values["step_accuracy"][:, 0]))
    if steps >= least:
        return
    broken, exact = (float(lost.values[name][:, 0].mean()) for name in ("format_failures", "exact"))
    raise TaskError(
        f"deduction on {model.name!r}: in {len(lost.groups)} chains of its own {steps:.0%} of the steps are right, "
        f"{exact:.0%} of the chains, and {broken:.0%} are no chains at all",
        f"at least {least:.0%} of the steps right: the heads of a model that cannot do a task say nothing of it",
        "take a larger model, more demonstrations or easier problems (Setup), or go on with regardless=True",
    )


def chain_table(chains: Chains, written: Written, names: Sequence[str]) -> pd.DataFrame:
    """Own chains as text beside the gold ones.

    Args:
        chains: the problems.
        written: own chains.
        names: of the sets in their order, without the empty one; sets beyond them are left out.

    Returns:
        `CHAINS`; the intact model's have the set `none` and no
        mode.
    """
    rows = []
    first = next(iter(written.texts))[0]
    gold = [gold_text(chain).strip() for chain in chains.chains]
    for (mode, at), texts in written.texts.items():
        if at > len(names) or (at == 0 and mode != first):
            continue
        for index, (chain, text) in enumerate(zip(chains.chains, texts, strict=True)):
            measures = judge(parse(text, chain.form), parse(gold[index], chain.form))
            told = {"chain": index, "set": names[at - 1] if at else "none", "mode": mode if at else ""}
            rows.append(told | {"given": chain.given, "gold": gold[index], "own": text.strip()} | measures)
    return pd.DataFrame(rows, columns=CHAINS)
