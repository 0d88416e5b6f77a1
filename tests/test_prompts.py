"""Prompts are right-padded and fit together, or are refused; left-padded arrays have a way in."""

import inspect
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from fixtures_tasks import random_pairs
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from headscope.errors import UsageError
from headscope.prompts import ABSENT, Contrast, Pairs, Prompts, pad, right_pad


def unchecked(kind: type[Any], **values: Any) -> Any:
    """Made as without jaxtyping's import hook, which would refuse wrong shapes before headscope does."""
    made = object.__new__(kind)
    inspect.unwrap(kind.__init__)(made, **values)
    return made


def contents(prompts: Prompts) -> dict[str, Any]:
    return {item.name: getattr(prompts, item.name) for item in fields(prompts)}


def spoiled(change: Callable[[Pairs], dict[str, Any]], *, padded: bool = True) -> UsageError:
    pairs = random_pairs(padded=padded)
    with pytest.raises(UsageError) as caught:
        unchecked(Pairs, **(contents(pairs) | change(pairs)))
    return caught.value


# --- padding


blocks = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5), st.integers(0, 3)), min_size=1, max_size=5)


def padded_anywhere(rows: list[tuple[int, int, int]]) -> tuple[Tensor, Tensor]:
    """Rows with `before` fillers, `size` tokens that are all different, and fillers up to a common width."""
    width = max(sum(row) for row in rows)
    tokens = torch.zeros(len(rows), width, dtype=torch.long)
    for index, (before, size, _) in enumerate(rows):
        tokens[index, before : before + size] = torch.arange(size) + 10 * index + 1
    return tokens, tokens > 0


@settings(derandomize=True, max_examples=40, deadline=None)
@given(rows=blocks)
def test_right_padding_keeps_tokens_in_order_and_positions_at_their_tokens(rows: list[tuple[int, int, int]]) -> None:
    tokens, mask = padded_anywhere(rows)
    last = torch.tensor([before + size - 1 for before, size, _ in rows])
    absent = torch.full_like(last, ABSENT)
    moved, kept, positions = right_pad(tokens, mask, {"end": last, "absent": absent})
    assert [row[real].tolist() for row, real in zip(moved, kept, strict=True)] == [
        row[real].tolist() for row, real in zip(tokens, mask, strict=True)
    ]
    assert kept.sum(1).tolist() == [size for _, size, _ in rows]
    assert moved.shape[1] == max(size for _, size, _ in rows), "no column is padding in all rows"
    assert (moved[~kept] == 0).all(), "padding keeps the filler"
    assert torch.equal(moved.gather(1, positions["end"][:, None]), tokens.gather(1, last[:, None]))
    assert torch.equal(positions["absent"], absent)
    Prompts(task="t", tokens=moved, mask=kept, groups=torch.arange(len(rows)), positions=positions)


def test_right_padded_arrays_stay_as_they_are() -> None:
    tokens, mask = pad([[1, 2, 3], [4]], filler=0)
    moved, kept, positions = right_pad(tokens, mask, {"end": torch.tensor([2, 0])})
    assert torch.equal(moved, tokens)
    assert torch.equal(kept, mask)
    assert positions["end"].tolist() == [2, 0]


@pytest.mark.parametrize("row", [[1, 0, 1], [0, 0, 0], [0, 1, 0, 1, 1]])
def test_a_row_that_is_not_one_block_cannot_be_moved(row: list[int]) -> None:
    mask = torch.tensor([[1] * len(row), row]).bool()
    with pytest.raises(UsageError) as caught:
        right_pad(mask.long(), mask)
    assert str(caught.value) == (
        "a mask whose real tokens are not one block (in example 1)\n"
        "  expected: in every row real tokens side by side, with padding only before or after them\n"
        "  to fix it: leave padding inside a prompt and empty prompts out"
    )


@pytest.mark.parametrize("place", [0, 3, 7])
def test_a_position_at_padding_cannot_be_moved(place: int) -> None:
    mask = torch.tensor([[True] * 4, [False, True, True, False]])
    with pytest.raises(UsageError) as caught:
        right_pad(mask.long(), mask, {"end": torch.tensor([1, place])})
    assert str(caught.value) == (
        "position 'end' at padding (in example 1)\n"
        "  expected: columns of real tokens, or -1 where an example has none\n"
        "  to fix it: give positions as columns of the tokens before they are moved"
    )


def test_a_mask_of_another_shape_cannot_be_moved() -> None:
    with pytest.raises(UsageError) as caught:
        inspect.unwrap(right_pad)(torch.ones(2, 3).long(), torch.ones(2, 4).bool())
    assert str(caught.value) == (
        "tokens (2, 3) and a mask (2, 4)\n  expected: both of one shape, [example, position]\n"
        "  to fix it: give the mask that belongs to the tokens"
    )


# --- what prompts cannot be made of


@pytest.mark.parametrize(
    "mask",
    [[[0, 1, 1], [1, 1, 1]], [[1, 0, 1], [1, 1, 1]]],
    ids=["left-padded", "padding inside"],
)
def test_prompts_that_are_not_right_padded_are_refused(mask: list[list[int]]) -> None:
    real = torch.tensor(mask).bool()
    with pytest.raises(UsageError) as caught:
        Prompts(task="t", tokens=real.long(), mask=real, groups=torch.arange(2))
    assert str(caught.value) == (
        "prompts of task 't' that are not right-padded (example 0)\n"
        "  expected: real tokens first, padding after them\n"
        "  to fix it: move them with headscope.prompts.right_pad(tokens, mask, positions)"
    )


def test_empty_prompts_are_refused() -> None:
    assert str(spoiled(lambda pairs: {"mask": pairs.mask & (torch.arange(4) % 2 == 0)[:, None]})) == (
        "prompts of task 'random' without a token (examples 1, 3)\n"
        "  expected: at least one real token in every prompt\n"
        "  to fix it: leave empty prompts out"
    )


SHAPES = {"tokens": (4, 9), "mask": (4, 9), "groups": (4,), "corrupted": (4, 9), "answers": (4, 2), "foils": (4, 2)}


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("tokens", (4, 8)), ("tokens", (4,)), ("mask", (3, 9)), ("groups", (3,)), ("groups", (4, 1)),
        ("corrupted", (4, 10)), ("answers", (4,)), ("answers", (3, 2)), ("foils", (5, 2)), ("position 'end'", (1,)),
    ],
)  # fmt: skip
def test_shapes_that_do_not_fit_are_refused(name: str, wrong: tuple[int, ...]) -> None:
    value = torch.ones(wrong, dtype=torch.bool if name == "mask" else torch.long)
    changed = {"positions": {"end": value}} if "end" in name else {name: value}
    shapes = {**SHAPES, "position 'end'": (4,), name: wrong}
    assert str(spoiled(lambda _: changed)) == (
        "prompts of task 'random' that do not fit together: "
        f"{', '.join(f'{key} {shape}' for key, shape in shapes.items())}; a mask of torch.bool\n"
        "  expected: tokens, mask (torch.bool) and corrupted of one shape [example, position]; for every example one "
        "group, one number in each position, and one row of answers and of foils\n"
        "  to fix it: make tokens and mask with headscope.prompts.pad, and give every array one entry for each prompt"
    )


def test_a_mask_of_numbers_is_refused() -> None:
    error = spoiled(lambda pairs: {"mask": pairs.mask.long()})
    assert error.given.endswith("position 'end' (4,); a mask of torch.int64")
    assert error.expected.startswith("tokens, mask (torch.bool)")


def test_sets_of_answers_are_not_read_as_consecutive_tokens() -> None:
    pairs = random_pairs()
    with pytest.raises(UsageError) as caught:
        replace(pairs, metric="log_probability")
    assert str(caught.value) == (
        "pairs of task 'random' under the metric 'log_probability', whose prompts do not go on with their answers "
        "(examples 1, 3)\n"
        "  expected: after 'end', clean and corrupted prompts that hold every token of the answer but its last\n"
        "  to fix it: make such pairs with headscope.pairs, or take another metric for a set of answers"
    )


def continued() -> Pairs:
    """Answers of one and of three tokens, which the prompts go on with."""
    tokens, mask = pad([[5, 6], [7, 8, 9, 10]], filler=0)
    corrupted, _ = pad([[4, 6], [3, 8, 9, 10]], filler=0)
    return Pairs(
        task="t", tokens=tokens, corrupted=corrupted, mask=mask, groups=torch.arange(2), metric="log_probability",
        positions={"end": torch.tensor([1, 1])}, answers=torch.tensor([[11, ABSENT, ABSENT], [9, 10, 12]]),
        foils=torch.zeros(2, 0).long(), notes=("a note",),
    )  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        lambda pairs: {"tokens": pairs.tokens + (pairs.tokens == 10)},
        lambda pairs: {"corrupted": pairs.corrupted + (pairs.corrupted == 9)},
        lambda pairs: {"positions": {"end": pairs.end + torch.tensor([0, 1])}},
        lambda pairs: {"mask": pairs.mask & (torch.arange(4) < 3)},
        lambda pairs: {"answers": pairs.answers.flip(0)},
        lambda pairs: {"answers": torch.tensor([[11, ABSENT, ABSENT], [9, ABSENT, 10]])},
        lambda pairs: {"answers": torch.tensor([[11, ABSENT, ABSENT], [ABSENT, ABSENT, ABSENT]])},
    ],
)
def test_an_answer_that_its_prompt_does_not_hold_is_refused(change: Callable[[Pairs], dict[str, Any]]) -> None:
    pairs = continued()
    with pytest.raises(UsageError, match=r"whose prompts do not go on with their answers \(example [01]\)"):
        replace(pairs, **change(pairs))


# --- what methods ask of them


def test_the_metric_reads_at_the_end_or_along_the_answer() -> None:
    pairs = random_pairs()
    assert torch.equal(pairs.reads, pairs.end[:, None])
    assert continued().reads.tolist() == [[1, ABSENT, ABSENT], [1, 2, 3]]
    one = replace(pairs, metric="log_probability", answers=pairs.answers[:, :1])
    assert torch.equal(one.reads, pairs.end[:, None])


@settings(derandomize=True, max_examples=20, deadline=None)
@given(index=st.lists(st.integers(0, 1), min_size=1, max_size=5))
def test_what_is_selected_is_what_would_be_made_of_it(index: list[int]) -> None:
    pairs, chosen = continued(), torch.tensor(index)
    part = pairs.select(chosen)
    again = Pairs(**contents(part))  # goes through all checks
    assert contents(again).keys() == contents(part).keys()
    assert torch.equal(part.reads, pairs.reads[chosen])
    rows = [row[real].tolist() for row, real in zip(pairs.tokens, pairs.mask, strict=True)]
    assert [row[real].tolist() for row, real in zip(part.tokens, part.mask, strict=True)] == [rows[i] for i in index]
    assert (part.metric, part.notes, part.task) == ("log_probability", ("a note",), "t")
    assert part.tokens.shape[1] == max(len(rows[i]) for i in index)


def test_selecting_leaves_out_the_texts_of_others() -> None:
    pairs = replace(continued(), texts=("one", "two"))
    assert pairs.select(torch.tensor([1, 1])).texts == ("two", "two")
    assert type(pairs.select(torch.tensor([0]))) is Pairs


@pytest.mark.parametrize(
    ("name", "fix"),
    [("edn", "did you mean 'end'?"), ("subject", "name a position that the task has, or choose another task")],
)
def test_a_position_that_the_task_lacks_is_explained(name: str, fix: str) -> None:
    pairs = replace(random_pairs(), positions={"end": torch.arange(4), "io": torch.arange(4)})
    assert torch.equal(pairs.place("io"), torch.arange(4))
    with pytest.raises(UsageError) as caught:
        pairs.place(name)
    assert str(caught.value) == f"position {name!r} of task 'random'\n  expected: one of: end, io\n  to fix it: {fix}"


def test_prompts_without_an_end_say_so_when_they_are_read() -> None:
    with pytest.raises(UsageError) as caught:
        replace(random_pairs(), positions={}).reads  # noqa: B018 - what is tested is that it raises
    assert str(caught.value).startswith(
        "position 'end' of task 'random'\n  expected: one of: none, for it names no position\n"
    )


# --- what embeddings are compared with


def contrast_of(paraphrases: list[list[int]], distractors: list[list[int]]) -> Contrast:
    (near, near_mask), (distant, distant_mask) = pad(paraphrases, filler=0), pad(distractors, filler=0)
    return Contrast(paraphrase=near, paraphrase_mask=near_mask, distractor=distant, distractor_mask=distant_mask)


def test_a_contrast_goes_where_its_pairs_go() -> None:
    pairs = contrasted(contrast_of([[1, 2, 3], [4], [5, 6]], [[7], [8, 9, 10, 11], [12]]))
    part = pairs.select(torch.tensor([2, 0, 2]))
    assert part.contrast is not None
    assert part.contrast.paraphrase.tolist() == [[5, 6, 0], [1, 2, 3], [5, 6, 0]]
    assert part.contrast.paraphrase_mask.sum(1).tolist() == [2, 3, 2]
    assert part.contrast.distractor.tolist() == [[12], [7], [12]], "columns that are padding in all are dropped"
    assert replace(pairs, metric="embedding_contrast").contrast is pairs.contrast
    assert pairs.select(torch.tensor([], dtype=torch.long)).contrast.paraphrase.shape == (0, 3)  # type: ignore[union-attr]
    assert contrasted(None).select(torch.tensor([1])).contrast is None


def test_left_padded_contrasts_are_moved_by_right_pad() -> None:
    left = torch.tensor([[0, 5, 6], [7, 8, 9]])
    tokens, mask, _ = right_pad(left, left > 0)
    moved = Contrast(paraphrase=tokens, paraphrase_mask=mask, distractor=tokens, distractor_mask=mask)
    assert moved.paraphrase.tolist() == [[5, 6, 0], [7, 8, 9]]
    with pytest.raises(UsageError) as caught:
        Contrast(paraphrase=tokens, paraphrase_mask=mask, distractor=left, distractor_mask=left > 0)
    assert str(caught.value) == (
        "prompts of task 'distractor' that are not right-padded (example 0)\n"
        "  expected: real tokens first, padding after them\n"
        "  to fix it: move them with headscope.prompts.right_pad(tokens, mask, positions)"
    )


def test_contrasts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match=r"do not fit together: (.|\n)*contrast \(2,\)"):
        contrasted(contrast_of([[1], [2]], [[3], [4]]))
    with pytest.raises(UsageError, match=r"prompts of task 'paraphrase' without a token \(example 1\)"):
        contrast_of([[1], []], [[3], [4]])
    short = contrast_of([[1], [2]], [[3], [4]])
    with pytest.raises(UsageError) as caught:
        unchecked(Contrast, paraphrase=short.paraphrase, paraphrase_mask=short.paraphrase_mask,
                  distractor=short.distractor[:1], distractor_mask=short.distractor_mask[:1])  # fmt: skip
    assert str(caught.value) == (
        "2 paraphrases and 1 distractors\n  expected: one of each for every example\n"
        "  to fix it: give both for all examples, in their order"
    )


def contrasted(contrast: Contrast | None) -> Pairs:
    tokens, mask = pad([[1, 2], [3, 4], [5]], filler=0)
    nothing = torch.full((3, 1), ABSENT)
    return Pairs(task="t", tokens=tokens, corrupted=tokens, mask=mask, groups=torch.arange(3), answers=nothing,
                 foils=nothing, contrast=contrast)  # fmt: skip
