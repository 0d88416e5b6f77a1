"""The deductive circuit of a model: which heads read facts and rules, which decide by them, and what needs them.

The protocol of Nguyen et al. 2026, "Revealing Algorithmic Deductive Circuits for Logical Reasoning"
(arXiv 2605.27824), with intervals, matched random sets and a gentler ablation beside the source's own choices.
"""

from headscope.deduction.ablation import ablation_table, drawn, on_chains, on_task, on_text
from headscope.deduction.confidence import confidence_table, force, token_table
from headscope.deduction.controls import shuffled
from headscope.deduction.freerun import on_own_chains, require_able, write
from headscope.deduction.heads import Selected, head_table, merged, role_effects, select, union
from headscope.deduction.layers import depth, layer_scores
from headscope.deduction.lens import lens_table, readable
from headscope.deduction.paths import Node, edge_table, path_effects
from headscope.deduction.result import Circuit, Stopped, read_circuit
from headscope.deduction.settings import Settings, planned
from headscope.deduction.study import study

__all__ = [
    "Circuit",
    "Node",
    "Selected",
    "Settings",
    "Stopped",
    "ablation_table",
    "confidence_table",
    "depth",
    "drawn",
    "edge_table",
    "force",
    "head_table",
    "layer_scores",
    "lens_table",
    "merged",
    "on_chains",
    "on_own_chains",
    "on_task",
    "on_text",
    "path_effects",
    "planned",
    "read_circuit",
    "readable",
    "require_able",
    "role_effects",
    "select",
    "shuffled",
    "study",
    "token_table",
    "union",
    "write",
]
