"""The few heads that matter, without a full sweep: a race for the top k with exact evaluations of contenders only."""

from headscope.few.heads import race
from headscope.few.order import spread_order
from headscope.few.racing import identify
from headscope.few.result import Top
from headscope.few.rules import Rules

__all__ = ["Rules", "Top", "identify", "race", "spread_order"]
