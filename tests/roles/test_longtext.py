"""One long text: cut into windows and blocks, equal to the readers of short texts, and refused where it cannot be."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from headscope.errors import ModelError, UsageError
from headscope.models import Model, load
from headscope.prompts import Prompts, pad
from headscope.roles.lexical import duplicate_reader, induction_reader
from headscope.roles.longtext import long_text_evidence
from headscope.roles.passes import observe
from headscope.roles.positional import positional_reader, sink_reader
from headscope.roles.queries import UNIFORM

STORY = "The teacher sees Tom and Tom likes the teacher. Kate plays cards. The phone rang, and the queen smiles. "


@pytest.fixture(scope="module")
def wide(mini: Model) -> Model:
    """A random decoder with room for 600 tokens, which reads `mini`'s words."""
    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=2,
        n_head=3,
        n_embd=12,
        n_positions=600,
        vocab_size=mini.vocabulary,
        bos_token_id=1,
        eos_token_id=1,
        initializer_range=0.3,
    )
    return load(GPT2LMHeadModel(config).eval(), tokenizer=mini.tokenizer, device="cpu", check=False)


def test_windows_equal_what_the_readers_say_of_them(mini: Model) -> None:
    found = long_text_evidence(mini, STORY * 12, memory=2**20)
    ids = mini.encode(STORY * 12)[1:]
    assert (found.tokens, found.windows, found.left) == (len(ids), 2, len(ids) - 254)
    tokens, mask = pad([[1, *ids[:127]], [1, *ids[127:254]]], 0)
    windows = Prompts(task="own", tokens=tokens, mask=mask, groups=torch.arange(2))
    makers = (positional_reader, sink_reader, duplicate_reader, induction_reader)
    expected = observe(mini, windows, [make(mini) for make in makers])
    assert [(each.role, each.case) for each in found.evidence] == [(each.role, each.case) for each in expected]
    for ours, theirs in zip(found.evidence, expected, strict=True):
        assert ours.reason == theirs.reason
        assert torch.equal(ours.groups, theirs.groups)
        torch.testing.assert_close(ours.values, theirs.values, rtol=0, atol=1e-5, msg=ours.case)
        torch.testing.assert_close(dict(ours.baselines), dict(theirs.baselines), rtol=0, atol=1e-6)


@pytest.mark.parametrize("memory", [3_000_000, 2**30])
def test_blocks_of_256_queries_are_the_instances(wide: Model, memory: int) -> None:
    found = long_text_evidence(wide, STORY * 40, memory=memory)
    length = min(found.tokens + 1, 600)
    named = {each.case: each for each in found.evidence if each.role in {"positional", "sink"}}
    assert found.windows == 2
    assert named["first token"].groups.tolist() == [0, 0, 0, 1, 1]
    ids = wide.encode(STORY * 40)[:length]
    for layer, weights in wide.patterns(torch.tensor([ids])):
        sink = [weights[0, :, part, 0].mean(-1) for part in (slice(1, 256), slice(256, 512), slice(512, 600))]
        torch.testing.assert_close(named["first token"].values[:3, layer], torch.stack(sink), rtol=0, atol=1e-5)
        back = [[row[1 : q + 1].argmax() == q - 2 for q, row in enumerate(head[256:512], 256)] for head in weights[0]]
        shares = torch.tensor(back).float().mean(-1)
        torch.testing.assert_close(named["offset -1"].values[1, layer], shares, rtol=0, atol=1e-5)
    even = sum(1 / (q + 1) for q in range(256, 512)) / 256
    assert float(named["first token"].baselines[UNIFORM][1]) == pytest.approx(even, abs=1e-6)


def test_a_file_is_read_and_faults_are_told(tmp_path: Path, mini: Model, gpt2_model: Model) -> None:
    good, empty, latin = (tmp_path / name for name in ("good.txt", "empty.txt", "latin.txt"))
    good.write_text(STORY * 4, encoding="utf-8")
    assert long_text_evidence(mini, good).tokens == long_text_evidence(mini, STORY * 4).tokens
    empty.write_text("")
    latin.write_bytes("café".encode("latin-1"))
    faults: list[tuple[Any, str, str]] = [
        (empty, "a text of 0 tokens", "give a longer text, or the path of its file as a pathlib.Path"),
        ("book.txt", "a text of 3 tokens", "give a longer text, or the path of its file as a pathlib.Path"),
        (latin, f"file {str(latin)!r}, which is not UTF-8 (byte 3)", "save it as UTF-8 and try again"),
        (tmp_path / "no", f"file {str(tmp_path / 'no')!r}, which cannot be read (No such file or directory)",
         "check the path"),
        (tmp_path, f"file {str(tmp_path)!r}: {tmp_path.name} is no plain file", "check the path"),
    ]  # fmt: skip
    for source, given, fix in faults:
        with pytest.raises(UsageError) as caught:
            long_text_evidence(mini, source)
        assert (caught.value.given, caught.value.fix) == (given, fix)
    with pytest.raises(ModelError, match="a long text for model 'GPT2LMHeadModel', which has no tokenizer"):
        long_text_evidence(gpt2_model, STORY)


def test_an_encoder_keeps_its_frame_in_every_window(encoder: Model) -> None:
    found = long_text_evidence(encoder, STORY * 23)
    ids = encoder.encode(STORY * 23)
    size = encoder.max_length - 2
    assert (found.tokens, found.windows, found.left) == (len(ids) - 2, 1, len(ids) - 2 - size)
    assert 0 < found.left < 64
    separator = next(each for each in found.evidence if each.case == "separator")
    offsets = [each.case for each in found.evidence if each.role == "positional"]
    assert len(offsets) == 17
    by_hand = [
        layer[0, :, 1:256, -1].mean(-1) for _, layer in encoder.patterns(torch.tensor([[*ids[: size + 1], ids[-1]]]))
    ]
    torch.testing.assert_close(separator.values[0], torch.stack(by_hand), rtol=0, atol=1e-5)
