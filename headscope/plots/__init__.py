"""Tidy frames in, plotly Figures out. Nothing here shows itself, and every figure's frame stays reachable.

`select` gives the rows behind a heatmap or a ranking; a figure keeps the words it was made from in
`figure.layout.meta` (task, method, score, title, note), so `select(scores, **question(figure))` gives them back.
"""

from headscope.plots.agreement import method_agreement
from headscope.plots.attention import pattern
from headscope.plots.chains import chain_strip, confidence_curve
from headscope.plots.circuits import ablation_curve, control_effects, layer_curve, path_edges, readable_curve
from headscope.plots.comparison import scatter
from headscope.plots.deduction import chain_confidence, set_losses
from headscope.plots.few import few_curve
from headscope.plots.few_sets import few_halves, few_tradeoff
from headscope.plots.grids import heatmap, select, with_roles
from headscope.plots.layers import head_edges, layer_profile
from headscope.plots.overlap import few_overlap, few_shared
from headscope.plots.pictures import save_picture, svg
from headscope.plots.probing import probe_depth, probe_grid, probe_order, probe_use
from headscope.plots.rankings import accuracies, ranking
from headscope.plots.relations import role_relations
from headscope.plots.roles import role_grid, role_profile
from headscope.plots.theme import DARK, LIGHT, Theme, question

__all__ = [
    "DARK",
    "LIGHT",
    "Theme",
    "ablation_curve",
    "accuracies",
    "chain_confidence",
    "chain_strip",
    "confidence_curve",
    "control_effects",
    "few_curve",
    "few_halves",
    "few_overlap",
    "few_shared",
    "few_tradeoff",
    "head_edges",
    "heatmap",
    "layer_curve",
    "layer_profile",
    "method_agreement",
    "path_edges",
    "pattern",
    "probe_depth",
    "probe_grid",
    "probe_order",
    "probe_use",
    "question",
    "ranking",
    "readable_curve",
    "role_grid",
    "role_profile",
    "role_relations",
    "save_picture",
    "scatter",
    "select",
    "set_losses",
    "svg",
    "with_roles",
]
