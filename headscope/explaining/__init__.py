"""Which heads voted for and against one token, on one prompt."""

from headscope.explaining.entry import explain
from headscope.explaining.result import Choice, Explanation

__all__ = ["Choice", "Explanation", "explain"]
