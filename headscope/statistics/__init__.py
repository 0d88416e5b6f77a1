"""Statistics on per-example values of all heads at once: group bootstrap, sign-flip tests, FDR, rank stability.

Values are arrays [example, head] in which NaN means that an example says nothing of a head. Groups are integers,
one per example: examples of one group (a template, a sentence) are not independent and are drawn, flipped and
split together. Everything is seeded, pure, and costs a matrix product or two for all heads together.
"""

from headscope.statistics.bootstrap import bootstrap_means, expanded_level, interval, means, resamples
from headscope.statistics.groups import halves
from headscope.statistics.ranks import By, rank_intervals, top_k_stability
from headscope.statistics.significance import benjamini_hochberg, sign_flip
from headscope.statistics.summary import summarise

__all__ = [
    "By",
    "benjamini_hochberg",
    "bootstrap_means",
    "expanded_level",
    "halves",
    "interval",
    "means",
    "rank_intervals",
    "resamples",
    "sign_flip",
    "summarise",
    "top_k_stability",
]
