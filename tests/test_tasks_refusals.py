"""Tasks in words say which words or years a tokenizer lacks, in three parts."""

import re
from typing import Any

import numpy as np
import pytest
from fixtures_tasks import reader
from fixtures_words import OURS

from headscope.errors import TaskError
from headscope.grammar import lexicon as lex
from headscope.models import Model, load
from headscope.tasks import TASKS, gender_bias, pronouns, winograd


def speaks(words: str, *, digits: bool = False) -> Model:
    """A word-level model of these words only."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    core = Tokenizer(
        models.WordLevel({"<unk>": 0} | {w: i + 1 for i, w in enumerate(dict.fromkeys(words.split()))}, "<unk>")
    )
    parts: list[Any] = [pre_tokenizers.Whitespace()]
    core.pre_tokenizer = pre_tokenizers.Sequence([*parts, pre_tokenizers.Digits(individual_digits=True)][: 1 + digits])
    sizes = {"n_layer": 1, "n_head": 1, "n_embd": 4, "bos_token_id": None, "eos_token_id": None}
    config = GPT2Config(vocab_size=len(core.get_vocab()), n_positions=40, **sizes)
    return load(
        GPT2LMHeadModel(config),
        tokenizer=PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>"),
        device="cpu",
    )


def refusal(task: str, model: Model) -> str:
    with pytest.raises(TaskError) as caught:
        TASKS[task].build(model, n=4, rng=np.random.default_rng(0))
    return str(caught.value).replace(model.name, "tiny")


OWN = "leave this task out with --task, or give pairs of your own in this model's words"


def test_years_need_a_decoder_that_writes_two_digits_at_a_time() -> None:
    assert refusal("greater-than", reader("bert")) == (
        "task 'greater-than' on 'tiny', an encoder\n"
        "  expected: a model that goes on within a word, with a year's last two digits\n"
        "  to fix it: leave this task out with --task for encoders"
    )
    text = (
        "task 'greater-than' with the tokenizer of 'tiny': 0 of 97 years are two tokens of two digits ('1732' is {})\n"
        "  expected: a tokenizer that writes a year as GPT-2's does, '1732' as '17' and '32'\n"
        "  to fix it: leave this task out with --task, or give pairs of your own in this model's tokens"
    )
    assert refusal("greater-than", reader("words")) == text.format("'<unk>'")
    single = speaks("a the war lasted from year to 0 1 2 3 4 5 6 7 8 9", digits=True)
    assert refusal("greater-than", single) == text.format("'1', '7', '3', '2'")


PEOPLE = " ".join([*lex.PEOPLE, *lex.PEOPLE.values()])
NAMES = " ".join([*pronouns.MEN, *pronouns.WOMEN])
NOUNS = " ".join(f"{scene.first} {scene.second} {' '.join(sum(scene.cues, ()))}" for scene in winograd.SCENES)
TRADES = " ".join([*gender_bias.HERS, *gender_bias.HIS])


@pytest.mark.parametrize(
    ("task", "words", "given", "expected"),
    [
        (
            "agreement", f"a The {PEOPLE} is are was were",
            "2 verbs, 24 nouns of which 12 name a trade, and words for 0 of 4 frames",
            "a verb and three trades with singular and plural as single tokens, such as 'is' and 'are', 'doctor' and "
            "'doctors', and the words of a frame",
        ),
        (
            "agreement", f"a The near {PEOPLE} is was has runs",
            "0 verbs, 24 nouns of which 12 name a trade, and words for 2 of 4 frames",
            "a verb and three trades with singular and plural as single tokens, such as 'is' and 'are', 'doctor' and "
            "'doctors', and the words of a frame",
        ),
        (
            "pronoun", f"a he she {NAMES} met says near park that", "it knows the words of 0 sentence frames",
            "2 or more, of such words as 'Yesterday', 'met', 'near', 'park', 'Today', 'says' and 'that'",
        ),
        (
            "pronoun", "a he she Tom John", "2 of 18 words are single tokens (not: 'James', 'Paul', 'Peter', ",
            "at least 4 different single-token words, such as 'Tom'",
        ),
        (
            "winograd", f"a The the it {NOUNS}",
            "it can write 0 of the sentences' nouns with their attributes (sentences whose words it knows: 0 of 10)",
            "two or more, with nouns and attributes as single tokens, and such words as 'because', 'too' and 'thing'",
        ),
        (
            "gender-bias", f"a The he she man woman {TRADES}", "it knows none of 26 clauses",
            "the words of a clause, such as 'said that'",
        ),
        (
            "gender-bias", "a The he she man woman nurse doctor said that", "1 of 22 words are single tokens (not: ",
            "at least 4 different single-token words, such as 'nurse'",
        ),
    ],
)  # fmt: skip
def test_words_that_a_tokenizer_lacks_are_named(task: str, words: str, given: str, expected: str) -> None:
    first, second, third = refusal(task, speaks(words)).split("\n")
    assert first.startswith(f"task {task!r} with the tokenizer of 'tiny': {given}")
    assert second == f"  expected: {expected}"
    assert third == f"  to fix it: {OWN}"


@pytest.mark.parametrize("task", OURS)
def test_a_model_without_tokenizer_is_told_what_to_do(task: str) -> None:
    assert refusal(task, reader("ids")) == (
        f"task {task!r} on 'tiny', which has no tokenizer\n  expected: a model that reads words\n"
        "  to fix it: load it with its tokenizer, choose --task induction, or give Pairs of token ids"
    )


def test_agreement_does_without_the_frames_whose_words_are_missing() -> None:
    model = speaks(f"a The the near {PEOPLE} is are was were")
    pairs = TASKS["agreement"].build(model, n=30, rng=np.random.default_rng(0))
    assert all(re.fullmatch(r"The \w+ near the \w+( near the \w+)?", text) for text in pairs.texts)
    assert {text.count("near") for text in pairs.texts} == {1, 2}
