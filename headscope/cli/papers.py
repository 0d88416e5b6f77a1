"""The papers that methods, tasks and roles name as their sources, and which of them a text names."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Paper:
    """A paper as it is cited.

    Attributes:
        authors: surnames first, separated by ` and `, as BibTeX wants them; ` and others` for those not named here.
        year: of publication, as the sources name it.
        title: in full.
        where: journal, proceedings, or the place on the web.
        arxiv: its number there, if it has one.
    """

    authors: str
    year: int
    title: str
    where: str
    arxiv: str = ""

    @property
    def surname(self) -> str:
        """The first author's."""
        return self.authors.partition(",")[0]

    @property
    def key(self) -> str:
        """A BibTeX key: surname, year, first long word of the title."""
        word = next(word for word in re.findall(r"[A-Za-z]+", self.title) if len(word) > 3 or word.isupper())
        return re.sub(r"[^a-z0-9]", "", f"{self.surname}{self.year}{word}".lower())


PAPERS = (
    Paper("Adebayo, Julius and others", 2018, "Sanity Checks for Saliency Maps", "NeurIPS", "1810.03292"),
    Paper("Alain, Guillaume and Bengio, Yoshua", 2016, "Understanding intermediate layers using linear classifier "
          "probes", "arXiv", "1610.01644"),
    Paper("Benjamini, Yoav and Hochberg, Yosef", 1995, "Controlling the False Discovery Rate: A Practical and Powerful "
          "Approach to Multiple Testing", "Journal of the Royal Statistical Society, Series B, 57(1)"),
    Paper("Chan, Lawrence and others", 2022, "Causal Scrubbing: a method for rigorously testing interpretability "
          "hypotheses", "AI Alignment Forum"),
    Paper("Clark, Kevin and Khandelwal, Urvashi and Levy, Omer and Manning, Christopher D.", 2019,
          "What Does BERT Look At? An Analysis of BERT's Attention", "BlackboxNLP", "1906.04341"),
    Paper("Elhage, Nelson and others", 2021, "A Mathematical Framework for Transformer Circuits",
          "Transformer Circuits Thread"),
    Paper("Feng, Jiahai and Steinhardt, Jacob", 2024, "How do Language Models Bind Entities in Context?", "ICLR",
          "2310.17191"),
    Paper("Goldowsky-Dill, Nicholas and others", 2023, "Localizing Model Behavior with Path Patching", "arXiv",
          "2304.05969"),
    Paper("Gu, Xiangming and others", 2025, "When Attention Sink Emerges in Language Models: An Empirical View",
          "ICLR", "2410.10781"),
    Paper("Hanna, Michael and Liu, Ollie and Variengien, Alexandre", 2023, "How does GPT-2 compute greater-than?: "
          "Interpreting mathematical abilities in a pre-trained language model", "NeurIPS", "2305.00586"),
    Paper("Hanna, Michael and Pezzelle, Sandro and Belinkov, Yonatan", 2024, "Have Faith in Faithfulness: Going Beyond "
          "Circuit Overlap When Finding Model Mechanisms", "COLM", "2403.17806"),
    Paper("Heimersheim, Stefan and Janiak, Jett", 2023, "A circuit for Python docstrings in a 4-layer attention-only "
          "transformer", "AI Alignment Forum"),
    Paper("Heimersheim, Stefan and Nanda, Neel", 2024, "How to use and interpret activation patching", "arXiv",
          "2404.15255"),
    Paper("Hernandez, Evan and others", 2024, "Linearity of Relation Decoding in Transformer Language Models", "ICLR",
          "2308.09124"),
    Paper("Hewitt, John and Liang, Percy", 2019, "Designing and Interpreting Probes with Control Tasks", "EMNLP",
          "1909.03368"),
    Paper("Kramar, Janos and Lieberum, Tom and Shah, Rohin and Nanda, Neel", 2024, "AtP*: An efficient and scalable "
          "method for localizing LLM behaviour to components", "arXiv", "2403.00745"),
    Paper("Levesque, Hector and Davis, Ernest and Morgenstern, Leora", 2012, "The Winograd Schema Challenge", "KR"),
    Paper("Linzen, Tal and Dupoux, Emmanuel and Goldberg, Yoav", 2016, "Assessing the Ability of LSTMs to Learn "
          "Syntax-Sensitive Dependencies", "TACL", "1611.01368"),
    Paper("Marvin, Rebecca and Linzen, Tal", 2018, "Targeted Syntactic Evaluation of Language Models", "EMNLP",
          "1808.09031"),
    Paper("Mathwin, Chris and others", 2023, "Identifying a Preliminary Circuit for Predicting Gendered Pronouns in "
          "GPT-2 Small", "Alignment Jam hackathon report"),
    Paper("McDougall, Callum and others", 2023, "Copy Suppression: Comprehensively Understanding an Attention Head",
          "arXiv", "2310.04625"),
    Paper("McGrath, Thomas and others", 2023, "The Hydra Effect: Emergent Self-repair in Language Model Computations",
          "arXiv", "2307.15771"),
    Paper("Meng, Kevin and Bau, David and Andonian, Alex and Belinkov, Yonatan", 2022, "Locating and Editing Factual "
          "Associations in GPT", "NeurIPS", "2202.05262"),
    Paper("Michel, Paul and Levy, Omer and Neubig, Graham", 2019, "Are Sixteen Heads Really Better than One?",
          "NeurIPS", "1905.10650"),
    Paper("Mueller, Aaron and others", 2025, "MIB: A Mechanistic Interpretability Benchmark", "ICML", "2504.13151"),
    Paper("Nanda, Neel", 2022, "Attribution Patching: Activation Patching At Industrial Scale", "neelnanda.io"),
    Paper("Nanda, Neel and Bloom, Joseph", 2022, "TransformerLens",
          "https://github.com/TransformerLensOrg/TransformerLens"),
    Paper("Nguyen, Phuong Minh and Dang, Tien Huu and Inoue, Naoya", 2026, "Revealing Algorithmic Deductive Circuits "
          "for Logical Reasoning", "arXiv", "2605.27824"),
    Paper("Olsson, Catherine and others", 2022, "In-context Learning and Induction Heads",
          "Transformer Circuits Thread", "2209.11895"),
    Paper("Paperno, Denis and others", 2016, "The LAMBADA dataset: Word prediction requiring a broad discourse "
          "context", "ACL", "1606.06031"),
    Paper("Pearl, Judea", 2001, "Direct and Indirect Effects", "UAI"),
    Paper("Rushing, Cody and Nanda, Neel", 2024, "Explorations of Self-Repair in Language Models", "ICML",
          "2402.15390"),
    Paper("Sakaguchi, Keisuke and Le Bras, Ronan and Bhagavatula, Chandra and Choi, Yejin", 2019, "WinoGrande: An "
          "Adversarial Winograd Schema Challenge at Scale", "arXiv", "1907.10641"),
    Paper("Sundararajan, Mukund and Taly, Ankur and Yan, Qiqi", 2017, "Axiomatic Attribution for Deep Networks",
          "ICML", "1703.01365"),
    Paper("Talmor, Alon and Herzig, Jonathan and Lourie, Nicholas and Berant, Jonathan", 2019, "CommonsenseQA: A "
          "Question Answering Challenge Targeting Commonsense Knowledge", "NAACL", "1811.00937"),
    Paper("Tenney, Ian and Das, Dipanjan and Pavlick, Ellie", 2019, "BERT Rediscovers the Classical NLP Pipeline",
          "ACL", "1905.05950"),
    Paper("Vig, Jesse and others", 2020, "Investigating Gender Bias in Language Models Using Causal Mediation "
          "Analysis", "NeurIPS", "2004.12265"),
    Paper("Voita, Elena and Talbot, David and Moiseev, Fedor and Sennrich, Rico and Titov, Ivan", 2019,
          "Analyzing Multi-Head Self-Attention: Specialized Heads Do the Heavy Lifting, the Rest Can Be Pruned", "ACL",
          "1905.09418"),
    Paper("Voita, Elena and Titov, Ivan", 2020, "Information-Theoretic Probing with Minimum Description Length",
          "EMNLP", "2003.12298"),
    Paper("Wang, Kevin and Variengien, Alexandre and Conmy, Arthur and Shlegeris, Buck and Steinhardt, Jacob", 2022,
          "Interpretability in the Wild: a Circuit for Indirect Object Identification in GPT-2 small", "ICLR 2023",
          "2211.00593"),
    Paper("Wolf, Thomas and others", 2020, "Transformers: State-of-the-Art Natural Language Processing",
          "EMNLP: System Demonstrations", "1910.03771"),
    Paper("Wu, Wenhao and others", 2024, "Retrieval Head Mechanistically Explains Long-Context Factuality", "arXiv",
          "2404.15574"),
    Paper("Zhang, Fred and Nanda, Neel", 2024, "Towards Best Practices of Activation Patching in Language Models: "
          "Metrics and Methods", "ICLR", "2309.16042"),
    Paper("Zhao, Jieyu and others", 2018, "Gender Bias in Coreference Resolution: Evaluation and Debiasing Methods",
          "NAACL", "1804.06876"),
)  # fmt: skip
"""Authors are cut to the first where there are many; keys, years and titles are those of the published versions."""

EVERY = ("Nanda & Bloom 2022", "Wolf et al. 2020", "Benjamini & Hochberg 1995")
"""What every run rests on: the model's hooks, its weights and tokenizer, and the q-values."""

KINDS = {
    "few heads": "Mueller et al. 2025 (arXiv 2504.13151); Wang et al. 2022 (arXiv 2211.00593); Adebayo et al. 2018",
    "probes": "Hewitt & Liang 2019 (arXiv 1909.03368); Voita & Titov 2020 (arXiv 2003.12298); Tenney et al. 2019 "
    "(arXiv 1905.05950); Adebayo et al. 2018",
}
"""Sources of what is no method, task or role of its own."""

_NAMED = re.compile(r"\b([A-Z][A-Za-z-]+)((?: et al\.)?| (?:&|and) ([A-Z][A-Za-z-]+)),? (\d{4})(?!\.?\d)")
_ARXIV = re.compile(r"\b(\d{4}\.\d{5})\b")


def named(text: str) -> tuple[list[Paper], list[str]]:
    """The papers that a text names, as `Surname et al. 2022`, `Surname & Surname 2024` or by their arXiv number.

    Args:
        text: such as the `source` of a method.

    Returns:
        The papers, in order, each once; and what was named that is not in `PAPERS`.

    Example:
        >>> [paper.key for paper in named("Pearl 2001; Vig et al. 2020 (arXiv 2004.12265)")[0]]
        ['pearl2001direct', 'vig2020investigating']
        >>> named("Nobody et al. 1999")
        ([], ['Nobody et al. 1999'])
    """
    found, unknown = [], []
    marks = sorted([*_NAMED.finditer(text), *_ARXIV.finditer(text)], key=lambda mark: mark.start())
    for mark in marks:
        papers = [paper for paper in PAPERS if _fits(paper, mark)]
        found += papers[:1]
        unknown += [] if papers else [mark.group(0)]
    return list(dict.fromkeys(found)), unknown


def _fits(paper: Paper, mark: re.Match[str]) -> bool:
    if mark.re is _ARXIV:
        return paper.arxiv == mark.group(1)
    surname, _, second, year = mark.groups()
    if (paper.surname, str(paper.year)) != (surname, year):
        return False
    people = paper.authors.split(" and ")
    if second is None:  # one author, or `et al.`
        return len(people) != 2 or people[1] == "others"
    return len(people) > 1 and people[1].startswith(f"{second},")
