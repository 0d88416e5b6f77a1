"""What is asked of one prompt: its tokens, the position, and the token that is voted for; all problems at once."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from headscope.errors import UsageError, together, tried
from headscope.models import Model

Word = str | int
Text = str | Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A prompt as the model reads it, and what is to be explained.

    Attributes:
        text: as given; empty where ids were given.
        ids: its tokens, with the model's special tokens.
        tokens: the same as text.
        at: the position whose logits are explained.
        token: the id that is voted for; None: whatever the model predicts.
        against: the id that it is set against, or None.
        notes: what a reader must know of how the text was read.
    """

    text: str
    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    at: int
    token: int | None
    against: int | None
    notes: tuple[str, ...]


def read(
    model: Model, text: Text, *, token: Word | None = None, against: Word | None = None, at: int | None = None
) -> Asked:
    """Read a prompt and what is asked of it.

    Args:
        model: the model.
        text: a text, or token ids, which are taken as they are.
        token: one token as text or id; None means the one that the model predicts.
        against: likewise; None means none.
        at: a position from 0, special tokens counted, or from -1 backwards; None means the last token of a decoder and
            the mask of an encoder.

    Raises:
        UsageError: with everything that is wrong at once.

    Example:
        >>> from headscope.models import load
        >>> model = load("mini", check=False)
        >>> asked = read(model, "Mary met John .", token="Mary", at=2)
        >>> asked.tokens, asked.at, asked.token
        (('<bos>', 'mary', 'met', 'john', '.'), 2, 383)
        >>> read(model, "Mary met John .", token="Mary John", at=9)
        Traceback (most recent call last):
        headscope.errors.UsageError: position 9 in a prompt of 5 tokens; token 'Mary John', which is 2 tokens of ...
          expected: ...
    """
    problems: list[UsageError] = []
    ids = tried(lambda: _ids(model, text), problems) or ()
    place = tried(lambda: _place(model, ids, at), problems) if ids else None
    wanted = None if token is None else tried(lambda: one_token(model, token, "token"), problems)
    other = None if against is None else tried(lambda: one_token(model, against, "against"), problems)
    if wanted is not None and wanted == other:
        given = f"token {token!r} against {against!r}, which are the same token ({wanted})"
        problems.append(UsageError(given, "two different tokens", "set it against another token, or against none"))
    if problems:
        raise together(problems)
    assert place is not None  # there is no prompt without a problem otherwise
    plain = text if isinstance(text, str) else ""
    return Asked(
        text=plain, ids=ids, tokens=tuple(spelt(model, each) for each in ids), at=place, token=wanted, against=other,
        notes=(*_notes(model, plain, ids), *_twins(model, token), *_twins(model, against)),
    )  # fmt: skip


def spelt(model: Model, token: int) -> str:
    """A token as text; its number where the model has no tokenizer or the tokenizer no such token.

    Args:
        model: the model.
        token: its id.
    """
    if model.tokenizer is None or token >= len(model.tokenizer):
        return str(token)
    return str(model.tokenizer.decode([token]))


def _ids(model: Model, text: Text) -> tuple[int, ...]:
    if isinstance(text, str):
        if model.tokenizer is None:
            given = f"a text for model {model.name!r}, which has no tokenizer"
            raise UsageError(given, "token ids", "give ids such as --ids '5 9 3', or load it with tokenizer=...")
        if not text.strip():
            raise UsageError(f"text {text!r}", "at least one word", "write the prompt whose next token is explained")
        ids = model.encode(text)
        if len(ids) <= len(model.encode("")):
            given = f"text {text!r:.60}, of which the tokenizer of {model.name!r} reads nothing"
            raise UsageError(given, "at least one token", "write words that the model knows")
        _check_known(model, text, ids)
    else:
        ids = list(text)
        wrong = [each for each in ids if not _is_id(each) or not 0 <= each < model.vocabulary]
        if wrong or not ids:
            given = f"token ids {wrong[:5]}" if wrong else "no token ids"
            expected = f"at least one id, each from 0 to {model.vocabulary - 1}"
            raise UsageError(given, expected, f"give ids that {model.name!r} has")
    if len(ids) > model.max_length:
        given = f"a prompt of {len(ids)} tokens for model {model.name!r}"
        raise UsageError(given, f"at most {model.max_length} tokens", "shorten it")
    return tuple(int(each) for each in ids)


def _is_id(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _check_known(model: Model, text: str, ids: Sequence[int]) -> None:
    unknown = getattr(model.tokenizer, "unk_token_id", None)
    special = set(getattr(model.tokenizer, "all_special_ids", ())) - {getattr(model.tokenizer, "mask_token_id", None)}
    if unknown is not None and unknown in ids and all(each in special for each in ids):
        given = f"text {text!r:.60}, in which the tokenizer of {model.name!r} knows no word"
        raise UsageError(given, "words that it knows", "use the model's own language and spelling")


def _place(model: Model, ids: Sequence[int], at: int | None) -> int:
    if at is not None:
        if not -len(ids) <= at < len(ids):
            given = f"position {at} in a prompt of {len(ids)} tokens"
            expected = f"0 to {len(ids) - 1}, special tokens counted, or -1 to -{len(ids)} from the end"
            raise UsageError(given, expected, "leave it out for the last token")
        return at % len(ids)
    if model.causal:
        return len(ids) - 1
    mask = getattr(model.tokenizer, "mask_token_id", None)
    found = [place for place, each in enumerate(ids) if each == mask]
    if len(found) == 1:
        return found[0]
    name = getattr(model.tokenizer, "mask_token", None) or "its mask token"
    given = f"a prompt with {len(found) or 'no'} mask tokens for {model.name!r}, an encoder"
    raise UsageError(given, f"one {name}, which is what an encoder predicts", f"write {name} for a word, or say at=N")


def one_token(model: Model, word: Word, name: str) -> int:
    """The id of a word that is one token.

    Args:
        model: the model.
        word: as text, exactly as it stands in the vocabulary (white space counts), or as an id.
        name: of what is asked, for the message.

    Raises:
        UsageError: if it is several tokens, none, or unknown, with the nearest spelling that is one.

    Example:
        >>> from headscope.models import load
        >>> one_token(load("mini", check=False), "Mary", "token")
        383
    """
    if _is_id(word):
        if 0 <= int(word) < model.vocabulary:
            return int(word)
        raise UsageError(f"{name} id {word}", f"0 to {model.vocabulary - 1}", "give an id that the model has")
    if model.tokenizer is None:
        given = f"{name} {word!r} for model {model.name!r}, which has no tokenizer"
        raise UsageError(given, "a token id", "give the id, with --ids at the shell")
    ids = _plain(model, str(word))
    unknown = getattr(model.tokenizer, "unk_token_id", None)
    if len(ids) == 1 and (ids[0] != unknown or word == getattr(model.tokenizer, "unk_token", None)):
        return ids[0]
    vocabulary: dict[str, int] = model.tokenizer.get_vocab()  # pieces such as ##ing, which no text spells
    if word in vocabulary:
        return vocabulary[str(word)]
    pieces = ", ".join(repr(spelt(model, each)) for each in ids[:6])
    what = f"{len(ids)} tokens of {model.name!r} ({pieces})" if ids else f"no token of {model.name!r}"
    what = f"a word that {model.name!r} does not know" if len(ids) == 1 else what
    fix = _nearest(model, str(word), ids)
    raise UsageError(f"{name} {word!r}, which is {what}", "exactly one token of the vocabulary", fix)


def _plain(model: Model, text: str) -> list[int]:
    tokenizer: Any = model.tokenizer
    return [int(each) for each in tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]]


def _nearest(model: Model, word: str, ids: Sequence[int]) -> str:
    bare, unknown = word.strip(), getattr(model.tokenizer, "unk_token_id", None)
    spellings = dict.fromkeys(
        f"{space}{form}" for space in (" ", "") for form in (bare, bare.capitalize(), bare.lower()) if bare
    )
    known = [each for each in spellings if len(found := _plain(model, each)) == 1 and found[0] != unknown]
    if known:
        return f"write {known[0]!r}" + (": a space before a word belongs to its token" if known[0][0] == " " else "")
    if len(ids) > 1 and ids[0] != unknown:
        return f"explain its first token, {spelt(model, ids[0])!r}, and then the rest with a longer text"
    vocabulary = sorted(getattr(model.tokenizer, "get_vocab", dict)())
    near = difflib.get_close_matches(bare, vocabulary, 1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else "choose a word that the model's tokenizer knows"


def _twins(model: Model, word: Word | None) -> list[str]:
    """A word that is one token both with and without a space before it is easily taken for the other."""
    if not isinstance(word, str) or model.tokenizer is None or word != word.lstrip() or not word:
        return []
    bare, spaced = _plain(model, word), _plain(model, f" {word}")
    if len(bare) != 1 or len(spaced) != 1 or bare == spaced:
        return []
    return [f"{word!r} and {' ' + word!r} are two tokens of {model.name!r}: this is the one without a space."]


def _notes(model: Model, text: str, ids: Sequence[int]) -> tuple[str, ...]:
    """What was lost on the way from the text to its tokens."""
    notes = []
    unknown = getattr(model.tokenizer, "unk_token_id", None)
    strange = sum(each == unknown for each in ids)
    if strange and (text or model.tokenizer is not None) and unknown not in (model.encode("") if text else ids[:1]):
        notes.append(
            f"The tokenizer does not know {strange} of the {len(ids)} tokens: they are read as one and the same."
        )
    if text and getattr(model.tokenizer, "is_fast", False):
        tokenizer: Any = model.tokenizer
        spans = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)["offset_mapping"]
        covered = {place for start, end in spans for place in range(start, end)}
        lost = [c for place, c in enumerate(text) if place not in covered and not c.isspace()]
        if lost:
            shown = "".join(dict.fromkeys(lost))[:12]
            notes.append(f"The tokenizer drops {len(lost)} characters of the text ({shown!r}).")
    missing = model.identity.get("random_weights") or []
    if missing:
        notes.append(f"{len(missing)} weights of this model are random, such as {missing[0]}: its logits mean nothing.")
    return tuple(notes)
