"""One task for every family of texts that the bundled model `mini` was trained on: MINI, by their names.

The texts are those of its held-out part, in mini's own small world (see `headscope.grammar`): a name's gender and what
each thing does when it is spoken of again are facts of that world alone, and other models cannot know them.
"""

from functools import partial

from headscope.contract import Task
from headscope.tasks.world import facts, lists, people, reasoning, verbs
from headscope.tasks.world.collect import Family, build

_OWN = "texts of headscope.grammar"

_ROWS = (
    (
        *("agreement", verbs.agreement, "singular or plural verb? the subject decides, across up to two attractors"),
        "the subject's other number",
        f"Linzen et al. 2016, 'Assessing the Ability of LSTMs to Learn Syntax-Sensitive Dependencies'; {_OWN}",
    ),
    (
        *("clauses", verbs.clauses, "singular or plural verb? seven shapes of clause, among them relative ones"),
        "the other number of the noun that the verb agrees with; `near` for the `and` that joins two subjects",
        f"Marvin & Linzen 2018, 'Targeted Syntactic Evaluation of Language Models' (arXiv 1808.09031); {_OWN}",
    ),
    (
        *("gender", people.gender, "he or she: whose habit comes next?"),
        "the other pronoun, which means the other person",
        f"Zhao et al. 2018, 'Gender Bias in Coreference Resolution' (arXiv 1804.06876), for the question; {_OWN}",
    ),
    (
        *("winograd", people.winograd, "which noun does the attribute fit? its habit comes next"),
        "an attribute that fits the other noun",
        f"Levesque et al. 2012, 'The Winograd Schema Challenge'; {_OWN}",
    ),
    (
        *("ioi", people.ioi, "who receives? the name that was not repeated"),
        "the second subject is the other person (S2 exchange), so that the first subject receives",
        f"Wang et al. 2022, 'Interpretability in the Wild' (arXiv 2211.00593), section 2; {_OWN}",
    ),
    (
        *("induction", lists.induction, "repeated random words: what came next before?"),
        "the word to be repeated has changed places with a later one of the first list",
        f"Olsson et al. 2022, 'In-context Learning and Induction Heads' (arXiv 2209.11895); {_OWN}",
    ),
    (
        *("reversal", lists.reversal, "a list backwards: what came before the last word?"),
        "the word to be said has changed places with an earlier one of the list",
        f"own construction; {_OWN}",
    ),
    (
        *("duplicate", lists.duplicate, "was this word there before? then `again`, else a comma"),
        "the earlier copy is another word; or an earlier word is made a copy",
        f"own construction, after the duplicate token heads of Wang et al. 2022 (arXiv 2211.00593); {_OWN}",
    ),
    (
        *("repetition", lists.repetition, "a sentence word for word again: which noun, verb or adjective comes now?"),
        "two words of one class have changed places in the sentences that are repeated",
        f"Olsson et al. 2022, 'In-context Learning and Induction Heads' (arXiv 2209.11895), for the question; {_OWN}",
    ),
    (
        *("facts_context", facts.facts_context, "what was said of this person, and not of another?"),
        "the values of two people have changed places",
        f"own construction; {_OWN}",
    ),
    (
        *("facts_world", facts.facts_world, "a capital, or what someone is known to do: which one?"),
        "another country, person or thing",
        f"Meng et al. 2022, 'Locating and Editing Factual Associations in GPT' (arXiv 2202.05262), for the question; "
        f"{_OWN}",
    ),
    (
        *("deduction", reasoning.deduction, "the next conclusion of a chain of rules, among rules that lead nowhere"),
        "the right conclusion has changed places with that of another rule",
        f"own construction; {_OWN}",
    ),
    (
        *("graph", reasoning.graph, "the next node of the only path to a given end"),
        "a node on the path and one beside it have changed places in all edges",
        f"own construction; {_OWN}",
    ),
)

FAMILIES = tuple(
    Family(name=name, twins=twins, corruption=corruption, source=source) for name, twins, _, corruption, source in _ROWS
)

WORLD = tuple(
    Task(
        name=family.task,
        build=partial(build, family),
        source=family.source,
        about=f"mini's world: {about}",
    )
    for family, (_, _, about, _, _) in zip(FAMILIES, _ROWS, strict=True)
)
"""The tasks, in the order of `headscope.grammar.FAMILIES`."""

MINI = tuple(task.name for task in WORLD)
"""Their names: what `headscope few mini` asks by default."""
