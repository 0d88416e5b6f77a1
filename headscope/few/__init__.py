"""The few heads that matter: whether there are any (`few_heads`), and which, without a full sweep (`race`)."""

from headscope.few.areas import areas
from headscope.few.concentration import Concentration, concentration
from headscope.few.heads import race
from headscope.few.order import spread_order
from headscope.few.outcome import Few, few_from
from headscope.few.overlap import overlaps
from headscope.few.protocol import few_heads
from headscope.few.racing import identify
from headscope.few.result import Top
from headscope.few.rules import Rules
from headscope.few.settings import Settings

__all__ = [
    "Concentration",
    "Few",
    "Rules",
    "Settings",
    "Top",
    "areas",
    "concentration",
    "few_from",
    "few_heads",
    "identify",
    "overlaps",
    "race",
    "spread_order",
]
