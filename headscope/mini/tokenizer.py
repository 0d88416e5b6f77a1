"""The bundled model's word-level tokenizer: ordinary English in, one token a word."""

from __future__ import annotations

from transformers import PreTrainedTokenizerFast

from headscope.grammar import Document, vocabulary

PAD, BOS, EOS, UNKNOWN = "<pad>", "<bos>", "<eos>", "<unk>"
SPECIAL = (PAD, BOS, EOS, UNKNOWN)


def build() -> PreTrainedTokenizerFast:
    """The tokenizer: lower case, split at spaces and punctuation, one id for each word of the grammar."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    words = {word: index for index, word in enumerate((*SPECIAL, *vocabulary()))}
    core = Tokenizer(models.WordLevel(words, unk_token=UNKNOWN))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token=PAD, bos_token=BOS, eos_token=EOS, unk_token=UNKNOWN, model_max_length=128
    )


def identifiers(document: Document, ids: dict[str, int]) -> list[int]:
    """A document's token ids between `<bos>` and `<eos>`: word `i` is token `i + 1`."""
    return [ids[BOS], *(ids[word.form] for word in document.words), ids[EOS]]
