"""From a text to what is asked of it, and from an explanation to what a person sees of it."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from architectures import VOCABULARY, tiny
from browser import chromium, page
from rolecases import invented
from transformers import AutoTokenizer, BertTokenizer, GPT2Config, GPT2LMHeadModel

import headscope
from headscope.errors import RunError, UsageError
from headscope.explaining import Explanation
from headscope.explaining.files import check_free
from headscope.explaining.frames import SOURCES, VOTES
from headscope.explaining.request import read
from headscope.models import Model, load
from headscope.plots.explanation import steps
from headscope.runs import Run

TEXT = "mary and john went to the house and john gave the book to"
HOSTILE = "<script>alert(1)</script> \"quotes' & \u202eright-to-left \U0001f600\n</style><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def mini() -> Model:
    return load("mini", device="cpu", check=False)


@pytest.fixture(scope="module")
def found(mini: Model) -> Explanation:
    return headscope.explain(mini, TEXT)


@pytest.fixture(scope="module")
def bytewise(shared_data: Path) -> Model:
    """A random model with GPT-2's own tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(shared_data / "gpt2-tokenizer")
    plain = GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=2, n_embd=8, n_positions=64))
    return load(plain, tokenizer=tokenizer, device="cpu", check=False)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A random BERT that reads a few words."""
    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]", "paris", "is", "in", "france", "##ing", "."]
    words += [f"w{number}" for number in range(VOCABULARY - len(words))]
    path = tmp_path_factory.mktemp("words") / "vocab.txt"
    path.write_text("\n".join(words))
    return load(tiny("bert"), tokenizer=BertTokenizer(str(path)), device="cpu", check=False)


def refusal(model: Any, text: Any, **asked: Any) -> str:
    with pytest.raises(UsageError) as caught:
        read(model, text, **asked)
    return str(caught.value)


# --- what is asked


def test_by_default_the_end_and_the_predicted_token(mini: Model, found: Explanation) -> None:
    assert (found.at, found.token.text, found.token.rank, found.against) == (13, "mary", 1, None)
    assert found.tokens[0] == "<bos>"
    assert found.title() == "mini on 'mary' (p = 0.978, rank 1) at position 13 ('to')"
    other = headscope.explain(mini, TEXT, token="Mary", against=" John", at=-3)
    assert (other.at, other.token.id, other.logit) == (11, found.token.id, other.token.logit - other.against.logit)


ONE = "exactly one token of the vocabulary"
REST = "explain its first token, {}, and then the rest with a longer text"
REFUSED: list[tuple[Any, dict[str, Any], str, str, str]] = [
    ("", {}, "text ''", "at least one word", "write the prompt whose next token is explained"),
    ("zorg blarf", {}, "text 'zorg blarf', in which the tokenizer of 'mini' knows no word", "words that it knows",
     "use the model's own language and spelling"),
    ("mary " * 128, {}, "a prompt of 129 tokens for model 'mini'", "at most 128 tokens", "shorten it"),
    (TEXT, {"at": 14}, "position 14 in a prompt of 14 tokens",
     "0 to 13, special tokens counted, or -1 to -14 from the end", "leave it out for the last token"),
    (TEXT, {"at": -15}, "position -15 in a prompt of 14 tokens",
     "0 to 13, special tokens counted, or -1 to -14 from the end", "leave it out for the last token"),
    (TEXT, {"token": "mary john"}, "token 'mary john', which is 2 tokens of 'mini' ('mary', 'john')", ONE,
     REST.format("'mary'")),
    (TEXT, {"token": "mery"}, "token 'mery', which is a word that 'mini' does not know", ONE, "did you mean 'mary'?"),
    (TEXT, {"token": ""}, "token '', which is no token of 'mini'", ONE,
     "choose a word that the model's tokenizer knows"),
    (TEXT, {"token": 673}, "token id 673", "0 to 672", "give an id that the model has"),
    (TEXT, {"token": "Mary", "against": "mary"}, "token 'Mary' against 'mary', which are the same token (383)",
     "two different tokens", "set it against another token, or against none"),
    ([], {}, "no token ids", "at least one id, each from 0 to 672", "give ids that 'mini' has"),
    ([1, -2, 999, True], {}, "token ids [-2, 999, True]", "at least one id, each from 0 to 672",
     "give ids that 'mini' has"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "asked", "given", "expected", "fix"), REFUSED)
def test_what_cannot_be_asked_is_told_in_three_parts(
    mini: Model, text: Any, asked: dict[str, Any], given: str, expected: str, fix: str
) -> None:
    assert refusal(mini, text, **asked) == str(UsageError(given, expected, fix))


def test_all_problems_are_told_at_once(mini: Model) -> None:
    told = refusal(mini, TEXT, token="a b", against="c", at=99)
    for part in ("position 99", "token 'a b'", "against 'c', which is a word that 'mini' does not know"):
        assert part in told.splitlines()[0]


def test_what_the_model_predicts_is_not_set_against_itself(mini: Model) -> None:
    with pytest.raises(UsageError) as caught:
        headscope.explain(mini, TEXT, against="mary")
    wanted = ("another token than the predicted one", "say which token is voted for (token=...)")
    assert str(caught.value) == str(UsageError("against 'mary', which is what 'mini' predicts there", *wanted))


def test_a_space_belongs_to_a_token_of_gpt2(bytewise: Model) -> None:
    assert read(bytewise, "When Mary met John", token=" Mary").token == 5335
    told = refusal(bytewise, "When", token="Xyzzy", against="mary ")
    assert "token 'Xyzzy', which is 3 tokens of" in told
    spaced = "write ' Mary': a space before a word belongs to its token"
    assert told.splitlines()[2] == f"  to fix it: {REST.format(repr('X'))}; {spaced}"
    note = "'Mary' and ' Mary' are two tokens of 'GPT2LMHeadModel': this is the one without a space."
    assert read(bytewise, "When", token="Mary", against=" John").notes == (note,)
    assert read(bytewise, "When", token="<|endoftext|>").token == 50256
    assert read(bytewise, "a <|endoftext|> b").notes == (), "its unknown token is its first token: nothing is lost"


def test_a_model_without_a_tokenizer_takes_ids(gpt2_model: Model) -> None:
    asked = read(gpt2_model, [5, 6], token=9)
    assert (asked.tokens, asked.at, asked.token) == (("5", "6"), 1, 9)
    told = refusal(gpt2_model, "words", token="x").splitlines()
    assert told[0] == (
        "a text for model 'GPT2LMHeadModel', which has no tokenizer; "
        "token 'x' for model 'GPT2LMHeadModel', which has no tokenizer"
    )
    assert told[1] == "  expected: token ids; a token id"
    fix = "give ids such as --ids '5 9 3', or load it with tokenizer=...; give the id, with --ids at the shell"
    assert told[2] == f"  to fix it: {fix}"


def test_an_encoder_is_read_at_its_mask(encoder: Model) -> None:
    asked = read(encoder, "paris is in [MASK] .", token="##ing")
    assert (asked.tokens[asked.at], asked.token) == ("[MASK]", 9)
    assert read(encoder, "paris is in france .", at=1).at == 1
    for text, count in (("paris is", "no"), ("[MASK] is [MASK]", "2")):
        given = f"a prompt with {count} mask tokens for 'BertForMaskedLM', an encoder"
        wanted = ("one [MASK], which is what an encoder predicts", "write [MASK] for a word, or say at=N")
        assert refusal(encoder, text) == str(UsageError(given, *wanted))
    assert refusal(encoder, "\u00ad").startswith(
        "text '\\xad', of which the tokenizer of 'BertForMaskedLM' reads nothing"
    )
    assert read(encoder, "paris is [MASK] in\u00ad zorg").notes[0].startswith("The tokenizer does not know 1 of the 7")


def test_characters_that_are_dropped_are_told(encoder: Model) -> None:
    notes = read(encoder, "paris\x00 is [MASK]").notes
    assert notes == ("The tokenizer drops 1 characters of the text ('\\x00').",)


# --- frames


def test_frames_are_tidy(found: Explanation) -> None:
    assert tuple(found.votes.columns) == VOTES
    assert tuple(found.sources.columns) == SOURCES
    heads = found.votes[found.votes["kind"] == "head"]
    assert len(heads) == 96
    assert len(found.sources) == 96 * 14
    assert heads[["looked", "attention", "source", "source_vote", "below", "z"]].notna().all(axis=None)
    others = found.votes[found.votes["kind"] != "head"]
    assert others[["looked", "attention", "source", "head"]].isna().all(axis=None)


def test_sums_layers_and_steps_are_the_same_sum(found: Explanation) -> None:
    sums = found.sums().set_index("kind")
    assert sums.loc["total", "logit"] == pytest.approx(found.logit, abs=1e-9)
    assert sums.loc["total", "vote"] == pytest.approx(found.logit - found.mean, abs=1e-9)
    assert sums["parts"].tolist() == [1, 96, 6, 7, 1, 111]
    layers = found.layers().pivot(index="layer", columns="kind", values="vote")
    assert layers["head"].sum() == pytest.approx(sums.loc["head", "vote"])
    way = steps(found.votes)
    assert way["end"].iloc[-1] == pytest.approx(found.logit - found.mean, abs=1e-4)
    assert (way["start"].iloc[1:].to_numpy() == way["end"].iloc[:-1].to_numpy()).all()
    figure = found.figure()
    assert list(figure.data[0].y)[-1] == "total"
    assert len(found.figure("heads", k=3).data[0].y) == 6
    assert found.figure().layout.xaxis.title.text == "logits, from the mean of the vocabulary"


def test_a_difference_is_called_one(mini: Model) -> None:
    apart = headscope.explain(mini, TEXT, against="john")
    assert apart.figure("heads").layout.xaxis.title.text == "difference of two logits"
    html = apart.html(1)
    assert "voted for <bdi>mary</bdi> against <bdi>john</bdi>?</h1>" in html
    assert "of the difference" in html
    assert (apart.votes["logit"] - apart.votes["vote"]).abs().max() < 1e-12


def test_unknown_wishes_are_refused(found: Explanation) -> None:
    with pytest.raises(UsageError, match=r"^top 0\n  expected: 1 or more heads"):
        found.top(0)
    with pytest.raises(UsageError, match=r"^head 'L9H9'\n  expected: a label from L0H0 to L5H15"):
        found.looked("L9H9")
    with pytest.raises(UsageError, match=r"^figure 'pie'\n  expected: layers or heads"):
        found.figure("pie")


# --- roles


def of_roles(mini: Model, **changes: Any) -> Run:
    roles: Any = invented(grid=mini.grid)
    nothing = pd.DataFrame()
    return Run(identity={"model": {**mini.identity, **changes}}, scores=nothing, tasks=nothing, roles=roles)


def test_roles_come_from_a_run_of_the_same_weights(mini: Model, found: Explanation) -> None:
    assert set(found.votes["role"]) == {""}
    assert found.roles.startswith("No roles are shown: give the run folder")
    with_roles = headscope.explain(mini, TEXT, run=of_roles(mini))
    assert with_roles.votes.loc[with_roles.votes["kind"] == "head", "role"].ne("").all()
    assert with_roles.roles == "Roles: from the run, measured there on other text"
    with pytest.raises(UsageError) as caught:
        headscope.explain(mini, TEXT, run=of_roles(mini, weights_sha256="0", name="other"))
    assert str(caught.value) == (
        "the run of model 'other', for 'mini'\n  expected: a run of the same weights\n  to fix it: give a run of the "
        "model that is explained"
    )


def test_a_run_without_roles_is_refused(mini: Model, tmp_path: Path) -> None:
    nothing = pd.DataFrame()
    with pytest.raises(UsageError, match=r"^the run, which has no roles\n  expected: a run with roles"):
        headscope.explain(mini, TEXT, run=Run(identity={"model": mini.identity}, scores=nothing, tasks=nothing))
    with pytest.raises(RunError, match="run folder"):
        headscope.explain(mini, TEXT, run=tmp_path)


# --- what is kept and shown


def test_a_folder_holds_everything(found: Explanation, tmp_path: Path) -> None:
    folder = found.save(tmp_path / "new" / "why")
    assert sorted(path.name for path in folder.iterdir()) == [
        "explanation.html", "explanation.json", "sources.parquet", "votes.parquet",
    ]  # fmt: skip
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "votes.parquet"), found.votes)
    record = json.loads((folder / "explanation.json").read_text())
    assert record["token"] == {"id": 383, "text": "mary", "logit": found.token.logit,
                               "probability": found.token.probability, "rank": 1}  # fmt: skip
    assert sum(row["logit"] for row in record["votes"]) == pytest.approx(found.logit)
    assert record["votes"][-1]["below"] is None
    assert len({row["label"] for row in record["sources"]}) == 16
    with pytest.raises(RunError, match="which already holds an explanation"):
        check_free(folder, None)
    with pytest.raises(RunError, match="which is a folder"):
        check_free(None, folder)
    check_free(tmp_path / "other", tmp_path / "deep" / "why.html")
    assert not (tmp_path / "deep" / "why.html.headscope").exists()


def test_the_page_shows_the_votes_and_runs_nothing(found: Explanation) -> None:
    html = found.html(3)
    assert "<script" not in html
    assert "default-src 'none'" in html
    assert html.count('class="strip"') == 7
    assert all(f"<h3>{label}</h3>" in html for label in found.top(3)["label"])
    assert f"{found.sums()['logit'].iloc[-1]:+.6f}" in html
    assert html.count('scope="row">L') >= 6
    assert found._repr_html_().startswith("<iframe title=")
    assert "looked most at john at position" in html
    assert "looked most at mary (" in html
    assert "http://" not in html
    assert "https://" not in html


def test_every_text_on_the_page_is_escaped(bytewise: Model) -> None:
    found = headscope.explain(bytewise, HOSTILE)
    html = found.html()
    for raw in ("<script", "<img", "</style><", "\u202e"):
        assert raw not in html
    assert "&lt;" in html
    assert html.count("</style>") == 1


def test_long_texts_are_cut_on_the_page_and_say_so(mini: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    from headscope.explaining import page as drawn

    monkeypatch.setattr(drawn, "MOST", 8)
    found = headscope.explain(mini, TEXT)
    summed = found.sources.loc[found.sources["position"] < 6, "vote"].sum()
    strip = drawn._whole(found)
    assert len(strip.bits) == 8
    assert strip.left_out == f"6 earlier tokens: {summed:+.3f}"


@pytest.mark.slow
@pytest.mark.skipif(chromium() is None, reason="no chromium on PATH: the page is not opened in a browser")
def test_the_page_opens_without_a_network(bytewise: Model, found: Explanation, tmp_path: Path) -> None:
    with page(tmp_path / "profile") as tab:
        for name, each in (("mini", found), ("hostile", headscope.explain(bytewise, HOSTILE))):
            path = each.save_html(tmp_path / f"{name}.html")
            for width, dark in ((1200, False), (390, True)):
                tab.open(path, width=width, dark=dark)
                assert tab.errors == []
                assert [url for url in tab.requests if not url.startswith(("file:", "data:", "about:"))] == []
                assert tab.evaluate("document.scripts.length") == 0
                assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth + 1")
                bars = (
                    "[...document.querySelectorAll('.track i')].filter(e => e.getBoundingClientRect().width > 2).length"
                )
                assert tab.evaluate(bars) > 1
                tab.picture(tmp_path / f"{name}-{width}.png")


def test_a_namespace_is_no_model() -> None:
    with pytest.raises(headscope.ModelError):
        headscope.explain(SimpleNamespace(), "text")
