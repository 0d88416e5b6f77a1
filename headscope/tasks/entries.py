"""Reading examples that a user gives, and collecting everything that is wrong with them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

from headscope.errors import TaskError
from headscope.metrics import METRICS
from headscope.prompts import ABSENT
from headscope.tasks.words import Reader, locate

SHOWN = 3
"""Examples that a message names for each problem."""

LONGEST = 400
"""Characters of one of them."""

_IDS = ("token ids that the model knows", "take ids from the model's own tokenizer")
_SINGLE = (
    "single-token answers and foils, for this metric compares logits of one position",
    "choose other words, or leave foils and metric out to score answers by their summed log-probability",
)
_FOILS = (
    "no foils where the metric is the log-probability of an answer's tokens, each given those before it: a foil's "
    "tokens would have to be read in a prompt of their own",
    "leave the foils out, or choose single-token answers and foils for a logit difference",
)
PROBLEMS: dict[str, tuple[str, str]] = {
    "no list": ("a list, with one entry for each prompt", "put a single prompt into a list too, such as ['The cat']"),
    "lists of unequal length": (
        "one entry for each prompt in every list",
        "give clean, corrupted, answers and all other lists equal lengths",
    ),
    "no prompts": ("one prompt or more", "give prompts"),
    "no tokenizer for texts": (
        "token ids, for a model without a tokenizer",
        "give lists of token ids, or load the model with tokenizer=...",
    ),
    "empty prompts": ("at least one token in every prompt", "leave empty prompts out"),
    "token ids outside the vocabulary": _IDS,
    "unknown words": ("words that the model's tokenizer knows", "choose other words"),
    "prompts without one mask token": (
        "one mask token in every prompt of an encoder, where its answer is read",
        "write the tokenizer's mask token once, or leave it out of a text for one at the end",
    ),
    "prompts that do not say where to read": (
        "positions={'end': ...}, for token ids of an encoder without a tokenizer",
        "give the index of the mask token of each prompt",
    ),
    "twins that are read at different places": (
        "the mask token at one place in both",
        "write the corrupted prompt with its mask token where the clean one has it",
    ),
    "twins of unequal length": (
        "clean and corrupted prompts of equal token length",
        "exchange words for others of as many tokens",
    ),
    "twins without difference": (
        "a corrupted prompt that differs from its clean one",
        "change what the answer depends on",
    ),
    "prompts that are too long": ("prompts and answers within the model's context", "shorten them"),
    "empty answers": ("at least one token in every answer and foil", "give each example its answer"),
    "answers that change the prompt before them": (
        "answers that only add tokens to their prompt",
        "leave white space out at the end of prompts, or give the answers as token ids",
    ),
    "answers that are also foils": ("answers and foils that share no token", "choose other foils"),
    "unknown metric": (
        f"one of: {', '.join(METRICS)}; or a function (logits [example, vocabulary], pairs) -> [example]",
        "correct the metric",
    ),
    "no foils": ("foils, which a logit difference is taken against", "give foils, or another metric"),
    "answers that are not single tokens": _SINGLE,
    "several answers to one prompt": (
        "one answer for each prompt where its log-probability is the metric",
        "give foils, choose one answer, or take metric='probability' for the summed probability of single tokens",
    ),
    "foils where log-probability is the metric": _FOILS,
    "answers of several tokens at one mask": (
        "single-token answers for an encoder, which reads one mask token",
        "choose other words",
    ),
    "answers of several tokens after an 'end' of one's own": (
        "no position 'end', for a longer answer is read after the prompt",
        "leave 'end' out of the positions, or choose single-token answers",
    ),
    "positions outside the prompt": (
        "token indices from 0, a word of the clean prompt, or None where an example has none",
        "correct the positions",
    ),
    "words that their prompt lacks": ("a word as it is written in the clean prompt", "correct the positions"),
    "positions that cannot be found by word": (
        "texts and a fast tokenizer, which says where its tokens stand",
        "give positions as token indices",
    ),
}
"""What can be wrong: for each what was expected and what to do."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is wrong so far with the pairs of one task.

    Attributes:
        reader: the model that they are made for.
        task: what they are called.
        found: problem -> the cases of it.
        shown: how many cases of each a message names.
    """

    reader: Reader
    task: str
    found: dict[str, list[str]] = field(default_factory=dict)
    shown: int = SHOWN

    def say(self, problem: str, what: str) -> None:
        """Note one case of a problem.

        Args:
            problem: a key of `PROBLEMS`.
            what: where it is.
        """
        self.found.setdefault(problem, []).append(what)

    def settle(self) -> None:
        """Raise TaskError with all that was noted, if anything was."""
        if not self.found:
            return
        given, expected, fix = told(self.found, PROBLEMS, self.shown)
        raise TaskError(f"task {self.task!r} on {self.reader.name!r}: {given}", expected, fix)


def told(found: Mapping[str, Sequence[str]], table: Mapping[str, tuple[str, str]], shown: int) -> tuple[str, str, str]:
    """What was found, what was expected and what to do, for every problem at once.

    Args:
        found: problem -> its cases.
        table: problem -> what is expected, and what to do.
        shown: how many cases of each are named; of others only the number.

    Example:
        >>> told({"gaps": ["row 2", "row 3", "row 9"]}, {"gaps": ("no gaps", "fill them")}, 2)
        ('gaps: row 2; row 3; and 1 more', 'no gaps', 'fill them')
    """
    lines = []
    for problem, cases in found.items():
        more = f"; and {len(cases) - shown} more" if len(cases) > shown else ""
        told_of = (case if len(case) <= LONGEST else f"{case[:LONGEST]} ..." for case in cases[:shown])
        lines.append(f"{problem}: {'; '.join(told_of)}{more}")
    given = lines[0] if len(lines) == 1 else "\n  - ".join([f"{len(lines)} problems", *lines])
    expected, fix = ("; ".join(dict.fromkeys(table[problem][part] for problem in found)) for part in (0, 1))
    return given, expected, fix


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One pair as token ids.

    Attributes:
        where: what messages call it.
        prompt: the clean prompt as it was given.
        tokens: the clean prompt.
        twin: the corrupted one.
        answers: the ids of each right answer.
        foils: those of each wrong one.
        places: named positions.
    """

    where: str
    prompt: Any
    tokens: list[int]
    twin: list[int]
    answers: list[list[int]]
    foils: list[list[int]]
    places: dict[str, int]


def read_example(
    job: Job, where: str, row: Sequence[Any], places: Mapping[str, Any], *, foiled: bool, twinned: bool = True
) -> Example:
    """One pair as token ids; what is wrong with it is noted in the job.

    Args:
        job: collects problems.
        where: what messages call the example.
        row: clean and corrupted prompt, answers and foils, as `headscope.pairs` takes them.
        places: named positions, as `headscope.pairs` takes them.
        foiled: whether there are foils.
        twinned: whether there is a corrupted prompt; without one the example is its own twin, and can only be scored.
    """
    clean, corrupted, answers, foils = row
    tokens = _prompt(job, where, clean)
    twin = _prompt(job, f"{where} (corrupted)", corrupted) if twinned else tokens
    found = _places(job, where, clean, tokens, places)
    if tokens and twin:
        if "end" not in places:
            found["end"] = _end(job, where, tokens)
        if twinned:
            _check_twins(job, where, tokens, twin, found["end"])
    right = _answers(job, where, clean, tokens, answers) if tokens else []
    wrong = _answers(job, where, clean, tokens, foils) if tokens and foiled else []
    if shared := [ids for ids in right if ids in wrong]:
        job.say("answers that are also foils", f"{where}: {pieces(job, shared[0])}")
    length = len(tokens) + max((len(ids) for ids in right), default=1) - 1
    if length > job.reader.max_length:
        job.say("prompts that are too long", f"{where}: {length} tokens, context {job.reader.max_length}")
    return Example(where=where, prompt=clean, tokens=tokens, twin=twin, answers=right, foils=wrong, places=found)


def _prompt(job: Job, where: str, prompt: Any) -> list[int]:
    """Token ids of a prompt, empty where it has none that can be used."""
    reader = job.reader
    if isinstance(prompt, str) and reader.tokenizer is None:
        job.say("no tokenizer for texts", f"{where}: {prompt!r}")
        return []
    if isinstance(prompt, str):
        mask = None if reader.causal else reader.tokenizer.mask_token
        tokens = reader.encode(prompt if mask is None or mask in prompt else f"{prompt} {mask}.")
        _is_known(job, where, prompt, tokens)
    else:
        tokens = _ids(job, where, prompt)
    if not tokens or (isinstance(prompt, str) and not prompt.strip()):
        job.say("empty prompts", where)
        return []
    return tokens


def _ids(job: Job, where: str, ids: Iterable[Any]) -> list[int]:
    found = [int(token) for token in ids]
    if strange := [token for token in found if not 0 <= token < job.reader.vocabulary]:
        job.say("token ids outside the vocabulary", f"{where}: {strange[0]}, not in 0-{job.reader.vocabulary - 1}")
    return found


def _is_known(job: Job, where: str, text: str, tokens: list[int]) -> bool:
    tokenizer = job.reader.tokenizer
    unknown = tokenizer.unk_token_id
    if unknown is None or unknown == tokenizer.bos_token_id or unknown not in tokens:
        return True
    words = [word for word in text.split() if unknown in tokenizer(word, add_special_tokens=False)["input_ids"]]
    job.say("unknown words", f"{where}: {', '.join(map(repr, words)) or repr(text)}")
    return False


def _end(job: Job, where: str, tokens: list[int]) -> int:
    """Where the continuation is read: the last token, or an encoder's mask token."""
    if job.reader.causal:
        return len(tokens) - 1
    if job.reader.tokenizer is None:
        job.say("prompts that do not say where to read", where)
        return 0
    masks = [index for index, token in enumerate(tokens) if token == job.reader.tokenizer.mask_token_id]
    if len(masks) != 1:
        job.say("prompts without one mask token", f"{where}: {len(masks)}")
    return masks[0] if masks else 0


def _check_twins(job: Job, where: str, tokens: list[int], twin: list[int], end: int) -> None:
    if len(tokens) != len(twin):
        one, two = _apart(job, tokens, twin)
        job.say("twins of unequal length", f"{where}: {len(tokens)} tokens {one} and {len(twin)} tokens {two}")
    elif tokens == twin:
        job.say("twins without difference", f"{where}: {pieces(job, tokens[-8:])}")
    elif not job.reader.causal and job.reader.tokenizer is not None:
        mask = job.reader.tokenizer.mask_token_id
        if tokens[end] == mask != twin[end]:
            job.say("twins that are read at different places", where)


def pieces(job: Job, ids: Sequence[int]) -> str:
    """Tokens as a person can tell them apart, such as `' The| cat'`.

    Args:
        job: whose model's tokenizer.
        ids: token ids.
    """
    if job.reader.tokenizer is None or not all(0 <= token < job.reader.vocabulary for token in ids):
        return str(list(ids))
    return repr("|".join(str(job.reader.tokenizer.decode([token])) for token in ids))


def _apart(job: Job, one: list[int], two: list[int]) -> tuple[str, str]:
    """Both prompts from shortly before their first difference on."""
    differs = (at for at, pair in enumerate(zip(one, two, strict=False)) if pair[0] != pair[1])
    start = max(0, next(differs, min(len(one), len(two))) - 2)
    shown = [pieces(job, ids[start : start + 10]) for ids in (one, two)]
    return (f"...{shown[0]}", f"...{shown[1]}") if start else (shown[0], shown[1])


def _answers(job: Job, where: str, prompt: Any, tokens: list[int], given: Any) -> list[list[int]]:
    """Token ids of every right (or wrong) answer of one example."""
    if isinstance(given, (Integral, str)):
        members: list[Any] = [given]
    else:
        members = list(given)
        members = [members] if members and all(isinstance(member, Integral) for member in members) else members
    if not members:
        job.say("empty answers", where)
    found = [_answer(job, where, prompt, tokens, member) for member in members]
    return [ids for index, ids in enumerate(found) if ids and ids not in found[:index]]


def _answer(job: Job, where: str, prompt: Any, tokens: list[int], member: Any) -> list[int]:
    """Token ids of one answer, empty where it has none that can be used."""
    if isinstance(member, str) and job.reader.tokenizer is None:
        job.say("no tokenizer for texts", f"{where}: {member!r}")
        return []
    if not isinstance(member, str):
        ids = _ids(job, where, [member] if isinstance(member, Integral) else member)
    else:
        ids = _continuation(job.reader, prompt, tokens, member)
    if ids is None:
        job.say("answers that change the prompt before them", f"{where}: {member!r} after {prompt[-40:]!r}")
        return []
    if not ids:
        job.say("empty answers", where)
    return ids if not isinstance(member, str) or _is_known(job, where, member, ids) else []


def _continuation(reader: Reader, prompt: Any, tokens: list[int], answer: str) -> list[int] | None:
    """The tokens that an answer adds to its prompt; None where it changes those of the prompt."""
    if not answer.strip():
        return []
    if reader.causal and isinstance(prompt, str):
        space = "" if answer[0].isspace() or prompt[-1].isspace() else " "
        before, both = tokens, reader.encode(f"{prompt}{space}{answer}")
    else:  # as it is written after another word
        texts = ("a", f"a {answer.strip()}")
        before, both = (list(reader.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts)
    return both[len(before) :] if both[: len(before)] == before else None


def _places(job: Job, where: str, prompt: Any, tokens: list[int], places: Mapping[str, Any]) -> dict[str, int]:
    found, spans = dict.fromkeys(places, ABSENT), {}
    fast = isinstance(prompt, str) and getattr(job.reader.tokenizer, "is_fast", False)
    for name, place in places.items():
        if place is None and name != "end":
            continue
        if isinstance(place, Integral) and 0 <= int(place) < len(tokens):
            found[name] = int(place)
        elif not isinstance(place, str):
            job.say("positions outside the prompt", f"{where}: {name!r} {place}, in {len(tokens)} tokens")
        elif not fast:
            job.say("positions that cannot be found by word", f"{where}: {name!r} {place!r}")
        elif (match := _word(prompt, place)) is None:
            job.say("words that their prompt lacks", f"{where}: {name!r} {place!r} in {prompt!r}")
        else:
            spans[name] = match.span()
    if spans and tokens:
        try:
            found |= locate(job.reader, job.task, prompt, spans, tokens)
        except (TaskError, ValueError):  # other tokens inside a prompt, or none for the word
            job.say("positions that cannot be found by word", f"{where}: {', '.join(map(repr, spans))}")
    return found


def _word(text: str, word: str) -> re.Match[str] | None:
    """The first occurrence of a word, whole if there is one that is whole."""
    word = word.strip()
    whole = re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text)
    return (whole or re.search(re.escape(word), text)) if word else None
