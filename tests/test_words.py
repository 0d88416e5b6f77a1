"""Gold words in a model's tokens: the tokens of `encode`, and the pieces of each word, whatever the tokenizer."""

import unicodedata
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from fixtures_conllu import opening
from fixtures_tasks import reader
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers import models as kinds
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from headscope.corpora import Mention, Passage, Word
from headscope.errors import TaskError, UsageError
from headscope.models import Model, load, read_words, words
from headscope.prompts import ABSENT, Labelled

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def passage(*forms: str, heads: tuple[int, ...] = (), space: str = " ", **facts: Any) -> Passage:
    """Words with a space between them."""
    found, at = [], 0
    for index, form in enumerate(forms):
        head = heads[index] if heads else index - 1
        found.append(Word(form=form, upos="X", head=head, rel="dep", start=at, end=at + len(form)))
        at += len(form) + len(space)
    return Passage(text=space.join(forms), words=tuple(found), **facts)


def around(tokenizer: Any) -> Model:
    config = GPT2Config(vocab_size=len(tokenizer), n_layer=1, n_head=1, n_embd=4, n_positions=512)
    config.bos_token_id = config.eos_token_id = None
    return load(GPT2LMHeadModel(config), tokenizer=tokenizer, check=False, device="cpu")


def sentencepiece(*, prepend: str) -> Model:
    """Pieces with a mark for the space before them and a byte fallback, as Llama and T5 have them."""
    pieces = ["▁the", "▁", "cat", "s", "▁cat", "▁don", "'", "t", "fi"]
    vocabulary = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    model = kinds.Unigram([(piece, -1.0) for piece in vocabulary], unk_id=0, byte_fallback=True)
    tokenizer = Tokenizer(model)
    if prepend == "normalizer":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        tokenizer.normalizer = normalizers.NFKC()
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return around(PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>"))


@cache
def model_of(kind: str) -> Model:
    if kind == "gpt2":
        if not SHARED.is_dir():
            pytest.skip("no ../shared/data beside the project")
        return around(AutoTokenizer.from_pretrained(SHARED / "gpt2-tokenizer"))
    if kind == "bert":
        return reader("bert")
    if kind == "mini":
        return load("mini", check=False, device="cpu")
    return sentencepiece(prepend=kind.partition(" ")[2])


KINDS = ("gpt2", "bert", "mini", "sentencepiece normalizer", "sentencepiece always", "sentencepiece never")


def bare(text: str) -> str:
    """Without spaces, case and accents, which BERT's and mini's tokenizers drop."""
    letters = unicodedata.normalize("NFD", text.replace(" ", "").lower())
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


def read_back(model: Model, prompts: Labelled, example: int, word: int) -> str:
    """What the tokenizer makes of a word's own tokens."""
    first, last = prompts.spans[example, word].tolist()
    tokenizer: Any = model.tokenizer
    return tokenizer.decode(prompts.tokens[example, first:last].tolist(), clean_up_tokenization_spaces=False)


@pytest.mark.parametrize("corpus", ["gum", "ewt"])
@pytest.mark.parametrize("kind", KINDS[:3])
def test_treebanks_in_a_models_own_tokens(kind: str, corpus: str) -> None:
    model, sentences = model_of(kind), opening(corpus, 50).sentences
    prompts = read_words(model, sentences, task="gold")
    assert prompts.passages == sentences  # none is too long
    assert prompts.texts == tuple(each.text for each in sentences)
    lost = shared = 0
    for number, sentence in enumerate(sentences):
        assert prompts.tokens[number][prompts.mask[number]].tolist() == model.encode(sentence.text)
        spans = [range(*span) for span in prompts.spans[number].tolist()]
        owners = Counter(token for span in spans for token in span)
        for index, word in enumerate(sentence.words):
            if prompts.spans[number, index, 0] == ABSENT:
                lost += 1
                continue
            found, form = bare(read_back(model, prompts, number, index)), bare(word.form)
            if all(owners[token] == 1 for token in spans[index]):
                assert found == form
            else:
                shared += 1
                assert form in found
        assert (prompts.spans[number, len(sentence.words) :] == ABSENT).all()
    total = sum(len(sentence.words) for sentence in sentences)
    assert lost == sum(prompts.lost.values())
    assert shared < 0.07 * total
    assert (lost == 0) == (kind != "mini")


def test_a_piece_that_holds_two_words_belongs_to_both() -> None:
    sentence = Passage(
        text="We don't.",
        words=tuple(
            Word(form=form, upos="X", head=-1, rel="x", start=start, end=start + len(form))
            for form, start in (("We", 0), ("do", 3), ("n't", 5), (".", 8))
        ),
    )
    prompts = read_words(model_of("gpt2"), [sentence], task="own")
    assert model_of("gpt2").tokenizer.convert_ids_to_tokens(prompts.tokens[0].tolist())[2:4] == ["Ġdon", "'t"]  # pyright: ignore
    assert prompts.spans.tolist() == [[[1, 2], [2, 3], [2, 4], [4, 5]]]


@pytest.mark.parametrize("kind", KINDS[3:])
def test_sentencepiece_marks_and_bytes(kind: str) -> None:
    model = model_of(kind)
    sentence = passage("the", "cats", "日本", "don't")
    prompts = read_words(model, [sentence], task="own")
    pieces: Any = model.tokenizer.convert_ids_to_tokens(prompts.tokens[0].tolist())  # pyright: ignore
    held = [[pieces[at] for at in range(*span)] for span in prompts.spans[0].tolist()]
    assert [piece for piece in held[2] if piece != "▁"] == [f"<0x{byte:02X}>" for byte in "日本".encode()]
    assert held[3] == ["▁don", "'", "t"]
    assert [read_back(model, prompts, 0, index).strip() for index in (0, 1, 3)] == ["the", "cats", "don't"]


def test_a_normaliser_that_changes_lengths_moves_no_word() -> None:
    sentence = passage("ﬁ", "cat", "the")  # NFKC makes two letters of the first
    prompts = read_words(model_of("sentencepiece always"), [sentence], task="own")
    assert read_back(model_of("sentencepiece always"), prompts, 0, 0).strip() == "fi"
    assert read_back(model_of("sentencepiece always"), prompts, 0, 2).strip() == "the"


@given(
    forms=st.lists(
        st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp", "Cn"]), min_size=1, max_size=6),
        min_size=1, max_size=6,
    )
)  # fmt: skip
@settings(max_examples=15, derandomize=True, deadline=None)
def test_words_of_any_letters(forms: list[str]) -> None:
    sentence = passage(*forms)
    for kind in ("gpt2", "sentencepiece never"):
        model = model_of(kind)
        prompts = read_words(model, [sentence], task="own")
        assert prompts.tokens[0].tolist() == model.encode(sentence.text)
        assert prompts.lost == {}
        for index, form in enumerate(forms):
            first, last = prompts.spans[0, index].tolist()
            assert 0 <= first < last <= prompts.tokens.shape[1]
            if kind == "gpt2":
                assert form in read_back(model, prompts, 0, index)
    prompts = read_words(model_of("bert"), [passage("the", *forms)], task="own")  # some words it drops, some it joins
    assert prompts.spans[0, 0].tolist() == [1, 2]


def test_words_without_a_token_and_unknown_words_are_lost() -> None:
    sentences = [passage("mary", "zebra", "waited"), passage("mary", "\u200b", "waited")]
    mini = read_words(model_of("mini"), sentences, task="own")
    assert (mini.spans[0] == ABSENT).all(1).tolist() == [False, True, False]
    assert mini.lost["words with an unknown token"] >= 1
    assert mini.notes == (f"{sum(mini.lost.values())} of 6 words are lost: the tokenizer does not know them.",)
    bert = read_words(model_of("bert"), sentences, task="own")
    assert bert.lost == {"words without a token": 1}
    assert bert.spans[1].tolist() == [[1, 2], [ABSENT, ABSENT], [2, 3]]


def test_groups_are_documents() -> None:
    sentences = [passage("mary", document=name) for name in ("b", "a", "b", "", "")]
    assert read_words(model_of("mini"), sentences, task="own").groups.tolist() == [0, 1, 0, 2, 3]


def test_the_end_is_the_last_token_and_selection_keeps_words() -> None:
    prompts = read_words(model_of("mini"), [passage("mary"), passage("mary", "waited", ".")], task="own")
    assert prompts.positions["end"].tolist() == [1, 3]
    chosen = prompts.select(torch.tensor([1]))
    assert chosen.passages == (prompts.passages[1],)
    assert chosen.spans.tolist() == [[[1, 2], [2, 3], [3, 4]]]


def long(number: int) -> Passage:
    """As many words, each of which depends on the last; with mentions at both ends."""
    mention = Mention(entity="e", first=0, last=2, head=0, kind="proper")
    late = replace(mention, first=number - 2, last=number, head=number - 1)
    heads = (*(number - 1 for _ in range(number - 1)), -1)
    return replace(passage(*["mary"] * number, heads=heads), mentions=(mention, late), starts=(0, 10, number - 1))


def test_long_passages_are_left_out_or_cut() -> None:
    model = model_of("mini")
    kept = read_words(model, [long(127), long(128)], task="own")
    assert len(kept) == 1
    assert kept.lost == {words.TOO_LONG: 1}
    cut = read_words(model, [long(127), long(140)], task="own", overflow="cut")
    assert cut.tokens.shape == (2, 128)
    assert cut.lost == {words.CUT: 1, words.CUT_WORDS: 13}
    shorter = cut.passages[1]
    assert cut.texts[1] == shorter.text == " ".join(["mary"] * 127)
    assert cut.tokens[1].tolist() == model.encode(shorter.text)
    assert [(word.head, word.rel) for word in shorter.words] == [(-1, "")] * 127
    assert [mention.first for mention in shorter.mentions] == [0]
    assert shorter.starts == (0, 10)
    assert cut.passages[0] == long(127)


def test_a_cut_splits_no_multiword_token() -> None:
    plain = long(140)
    shared = replace(plain.words[125], start=plain.words[126].start, end=plain.words[127].end)
    both = (*plain.words[:126], shared, shared, *plain.words[128:])
    cut = read_words(model_of("mini"), [replace(plain, words=both)], task="own", overflow="cut")
    assert len(cut.passages[0].words) == 126


def test_what_cannot_be_read_is_refused() -> None:
    with pytest.raises(TaskError, match=r"passages of text \('own'\) for model .* which has no tokenizer\n"):
        read_words(reader("ids"), [passage("a")], task="own")
    with pytest.raises(TaskError, match=r"1 passages for 'own', none of .* 'mini' .*\(1 are longer than its 128 tok"):
        read_words(model_of("mini"), [long(300)], task="own")
    # Where types are checked, that check would be first.
    plain: Any = getattr(read_words, "__wrapped__", read_words)
    with pytest.raises(UsageError, match=r"overflow='shrink'\n  expected: 'skip' or 'cut'"):
        plain(model_of("mini"), [passage("a")], task="own", overflow="shrink")


class Slow:
    """A tokenizer without offsets, which reads words as one of the fast ones does."""

    is_fast = False

    def __init__(self, inner: Any, *, mangled: bool = False) -> None:
        self.inner, self.mangled = inner, mangled
        self.unk_token_id, self.pad_token_id = inner.unk_token_id, None

    def __call__(self, text: str, **options: Any) -> dict[str, list[int]]:
        ids = self.inner(text, add_special_tokens=False, verbose=False)["input_ids"]
        return {"input_ids": ids[::-1] if self.mangled else ids}


@pytest.mark.parametrize("kind", ["gpt2", "bert", "mini"])
def test_tokenizers_without_offsets_are_read_word_by_word(kind: str) -> None:
    model: Any = model_of(kind)
    sentences = [passage("The", "cat", "waited", "unbelievably"), passage("Mary", "waited")]
    slow: Any = replace(model, tokenizer=Slow(model.tokenizer))
    fast, other = read_words(model, sentences, task="own"), read_words(slow, sentences, task="own")
    assert torch.equal(fast.tokens, other.tokens)
    assert torch.equal(fast.spans, other.spans)
    mangled: Any = replace(model, tokenizer=Slow(model.tokenizer, mangled=True))
    with pytest.raises(TaskError, match=r"tokenizer \(Slow\) does not say which token holds which word in 2 passages"):
        read_words(mangled, sentences, task="own")
