"""Sound files of every kind that headscope reads, as the tests' own fixtures write them: what is then spoilt."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import fixtures_conllu
import fixtures_files

Files = dict[str, bytes]
"""Path within a folder -> content."""

FACTS = [("France", "The capital of {} is", "Paris"), ("Italy", "The capital of {} is", "Rome"),
         ("Spain", "The capital of {} is", "Madrid"), ("Japan", "{}'s capital is called", "Tokyo")]  # fmt: skip
WORDS = (("Mary", "nsubj", 2), ("saw", "root", 0), ("her", "nmod:poss", 4), ("dog", "obj", 2), (".", "punct", 2))
MENTIONS = ("(e1-person-1-x)", "_", "(e2-animal-2-x(e1-person-1-x)", "e2)", "(e3[1/2]-x-1-y)(e3[2/2]-x-1-y)")
CONTEXT = (
    "Every tumpus is sour. Tumpuses are wumpuses. Each wumpus is not shy. Wumpuses are butterflies. "
    "Butterflies are six-legged. Rex is a tumpus. Every dumpus is sour. Jompuses are dumpuses."
)


def written(write: Callable[[Path], Any]) -> bytes:
    """What a writer puts into a file."""
    with TemporaryDirectory() as folder:
        write(Path(folder, "file"))
        return Path(folder, "file").read_bytes()


def rows(records: list[Any]) -> bytes:
    """One JSON value on each line."""
    return written(lambda path: fixtures_files.lines(path, records))


def table(header: str, records: list[tuple[str, ...]], mark: str = ",") -> bytes:
    """A CSV table."""
    quoted = [mark.join(f'"{cell}"' if mark in cell else cell for cell in record) for record in records]
    return "\n".join([header.replace(",", mark), *quoted, ""]).encode()


@cache
def treebanks() -> list[Files]:
    """Plain sentences; multiword tokens and empty nodes; coreference in both headers."""
    plain = fixtures_conllu.sentence(*WORDS, comments=["sent_id = s1", "text = Mary saw her dog ."]) * 3
    fused = fixtures_conllu.sentence(
        "1-2\tdu\t_\t_\t_\t_\t_\t_\t_\tSpaceAfter=No", ("de", "case", 3), ("le", "det", 3), ("pain", "root", 0),
        "3.1\tx\tx\tX\t_\t_\t_\t_\t_\t_", comments=["newdoc id = d", "text = du pain", "newpar"],
    )  # fmt: skip
    header = "# newdoc id = d\n# global.Entity = eid-etype-head-other\n"
    marked = "".join(
        fixtures_conllu.line(number, form, rel, head, misc=f"Entity={mark}" if mark != "_" else "_") + "\n"
        for number, ((form, rel, head), mark) in enumerate(zip(WORDS, MENTIONS, strict=True), start=1)
    )
    texts = (plain, fused + plain, header + marked + "\n" + marked + "\n", fixtures_conllu.GOOD)
    return [{"own.conllu": text.encode()} for text in texts]


def _pairs() -> list[dict[str, Any]]:
    return [
        {"clean": f"{one} likes tea and {two} likes", "corrupted": f"{two} likes tea and {one} likes", "answer": "tea",
         "foil": "milk", "group": number // 2, "position:name": one}
        for number, (one, two) in enumerate([("Mary", "John"), ("Anna", "Paul"), ("John", "Mary"), ("Paul", "Anna")])
    ]  # fmt: skip


@cache
def tasks() -> dict[str, list[Files]]:
    """For each format of task files its forms."""
    pairs = _pairs()
    ids = [{"clean": [5, 6, at], "corrupted": [5, 9, at], "answer": [8, 3], "position:x": at % 3} for at in range(4)]
    cells = [tuple(map(str, record.values())) for record in pairs]
    names = ",".join(pairs[0])
    questions = [fixtures_files.question(number, key="ABCD"[number % 4]) for number in range(6)]
    hub = [{"question": "Where?", "choices": {"label": ["A", "B"], "text": ["here", "there"]}, "answerKey": "A"}]
    forms = {
        "lambada": [rows([{"text": text} for text in [*fixtures_files.passages(), fixtures_files.ALONE]])],
        "commonsenseqa": [rows(questions), rows([*hub, {**hub[0], "question": "Who?"}])],
        "relations": [rows([dict(zip(("subject", "template", "object"), each, strict=True)) for each in FACTS])],
        "pairs": [rows(pairs), rows(ids)],
    }
    found = {kind: [{"in.jsonl": data} for data in each] for kind, each in forms.items()}
    found["winograd"] = [
        {"in.xml": written(fixtures_files.xml)}, {"in.jsonl": written(fixtures_files.pronoun_lines)},
        {"in.jsonl": written(fixtures_files.blanks)},
    ]  # fmt: skip
    found["relations"] += [{"in.csv": table("subject,template,object", FACTS)}]
    found["pairs"] += [{"in.csv": table(names, cells, mark)} for mark in (",", "\t", ";")]
    found["pairs"] += [{"in.parquet": parquet(pairs)}, {"in.parquet": parquet(ids)}]
    return found


def parquet(records: list[dict[str, Any]], **options: Any) -> bytes:
    """Records as a parquet file."""
    import pandas as pd

    return written(lambda path: pd.DataFrame(records).to_parquet(path, **options))


@cache
def chains() -> dict[str, list[Files]]:
    """ProntoQA in both forms, and ProofWriter."""
    published = {
        f"example{at}": {"test_example": {"question": CONTEXT, "query": f"True or false: {said}", "answer": answer}}
        for at, (said, answer) in enumerate([("Rex is six-legged.", "True"), ("Rex is shy.", "False")])
    }
    asked = {"context": CONTEXT, "question": "Is it true or false? Rex is sour.", "answer": "A", "options": ["A) True"]}
    bob = '("Bob" "is" "cold" "+")'
    big = '("something" "is" "big" "-")'
    theory = {
        "triples": {"triple1": {"representation": bob}, "triple2": {"representation": '("Anne" "is" "red" "+")'}},
        "rules": {"rule1": {"representation": f'((("something" "is" "cold" "+")) -> {big})'},
                  "rule2": {"representation": f'(({bob} ("Bob" "is" "big" "-")) -> ("Bob" "likes" "dog" "+"))'}},
        "questions": {"Q1": {"representation": '("Bob" "likes" "dog" "+")', "answer": True},
                      "Q2": {"representation": '("Bob" "is" "big" "+")', "answer": False}},
    }  # fmt: skip
    prontoqa = [json.dumps(published).encode(), json.dumps([asked, asked]).encode()]
    return {"prontoqa": [{"in.json": data} for data in prontoqa], "proofwriter": [{"in.jsonl": rows([theory] * 2)}]}


@cache
def labels() -> list[Files]:
    """Labels of two sentences of four words."""
    cells = [(name, str(word), "XY"[word % 2]) for name in ("one", "two") for word in (1, 2, 3, 4)]
    named = [dict(zip(("sentence", "word", "label"), each, strict=True)) for each in cells]
    return [{"in.csv": table("sentence,word,label", cells)}, {"in.jsonl": rows(named)}]


@cache
def runs() -> list[Files]:
    """A run with everything that a run may hold, and one with the least."""
    import numpy as np
    import torch
    from fewcases import invented as few
    from probecases import invented as probes
    from results import results
    from rolecases import invented as roles

    from headscope.grid import Grid
    from headscope.runs import Run

    made = results(grid=(2, 3))
    task = made.tasks["task"][0]
    shown = made.views[:0]
    values = {f"{task}.patching.denoising": torch.randn(8, 2, 3, generator=torch.Generator().manual_seed(0))}
    least = Run(identity=dict(made.identity), scores=made.scores, tasks=made.tasks, views=shown, examples=values)
    whole = Run(
        identity=dict(made.identity), scores=made.scores, tasks=made.tasks, examples=values, views=made.views[:1],
        groups={task: torch.as_tensor(np.arange(8) // 2)}, few={"ioi": few()}, roles=roles(grid=Grid(2, 3)),
        probes=probes(),
    )  # fmt: skip
    with TemporaryDirectory() as folder, patch("headscope.report.write"):
        return [contents(run.save(Path(folder, str(at)))) for at, run in enumerate((least, whole))]


def contents(folder: Path) -> Files:
    """The files of a folder, without the report."""
    files = (
        path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix not in {".html", ".md", ".svg"}
    )
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@cache
def models() -> list[Files]:
    """Tiny models of three families, one of them with the bundled model's tokenizer, and one in several files."""
    from architectures import tiny

    from headscope.models.sources import locate

    found = []
    for name in ("gpt2", "llama", "bert"):
        with TemporaryDirectory() as folder:
            tiny(name).save_pretrained(folder)
            found.append(contents(Path(folder)))
    with TemporaryDirectory() as folder:
        tiny("gpt2").save_pretrained(folder, max_shard_size="60KB")
        found.append(contents(Path(folder)))
    place = locate("mini").directory
    words = {name: (place / name).read_bytes() for name in ("tokenizer.json", "tokenizer_config.json")}
    return [found[0] | words, *found[1:]]
