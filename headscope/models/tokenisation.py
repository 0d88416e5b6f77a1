"""One recorded way to turn text into token ids, so that no BOS is ever doubled or lost in silence."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

OWN = "the tokenizer's own special tokens"
PREPENDED = "BOS prepended by headscope"
NONE = "no special tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The special tokens around every prompt.

    Attributes:
        prefix: ids put before the text.
        suffix: ids put after it.
        policy: how they were chosen, for the record.
    """

    prefix: tuple[int, ...] = ()
    suffix: tuple[int, ...] = ()
    policy: str = NONE


def frame_of(tokenizer: Any, *, causal: bool) -> Frame:
    """The special tokens for `tokenizer`: its own if it adds any, else BOS for a decoder whose tokenizer has one.

    A decoder reads its answer after the prompt's last token, so an end token that the tokenizer would add is left out.

    Args:
        tokenizer: a transformers tokenizer, or None.
        causal: whether the model is a decoder.

    Example:
        >>> frame_of(None, causal=True).policy
        'no special tokens'
    """
    if tokenizer is None:
        return Frame()
    plain, framed = _ids(tokenizer, "a"), _ids(tokenizer, "a", special=True)
    starts = [i for i in range(len(framed) - len(plain) + 1) if framed[i : i + len(plain)] == plain]
    start = starts[0] if starts else len(framed)
    prefix, suffix = tuple(framed[:start]), tuple(framed[start + len(plain) :])
    if prefix:
        return Frame(prefix=prefix, suffix=() if causal else suffix, policy=OWN)
    if causal and tokenizer.bos_token_id is not None:
        return Frame(prefix=(int(tokenizer.bos_token_id),), policy=PREPENDED)
    return Frame(suffix=suffix, policy=OWN) if suffix and not causal else Frame()


def encode(tokenizer: Any, frame: Frame, text: str) -> list[int]:
    """Token ids of `text` inside `frame`; a text that spells the prefix out does not get it twice.

    Args:
        tokenizer: a transformers tokenizer.
        frame: its special tokens, from `frame_of`.
        text: any text.
    """
    ids = _ids(tokenizer, text)
    prefix = [] if frame.prefix and tuple(ids[: len(frame.prefix)]) == frame.prefix else list(frame.prefix)
    return [*prefix, *ids, *frame.suffix]


def describe(tokenizer: Any, frame: Frame) -> dict[str, Any] | None:
    """The tokenizer's identity as JSON: class, size, sha256 of its full definition, and the special tokens used.

    Args:
        tokenizer: a transformers tokenizer, or None.
        frame: its special tokens, from `frame_of`.
    """
    if tokenizer is None:
        return None
    backend = getattr(tokenizer, "backend_tokenizer", None)
    definition = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    return {
        "class": type(tokenizer).__name__,
        "size": len(tokenizer),
        "sha256": hashlib.sha256(definition.encode()).hexdigest(),
        "policy": frame.policy,
        "prefix": list(frame.prefix),
        "suffix": list(frame.suffix),
    }


def _ids(tokenizer: Any, text: str, *, special: bool = False) -> list[int]:
    # verbose=False: a prompt that is too long is refused by the model in our words, not by a log line.
    return [int(i) for i in tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"]]
