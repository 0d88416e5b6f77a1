"""Two runs side by side: how far the ranks of the heads agree, which top heads are shared, and which heads changed."""

from headscope.comparing.result import Comparison
from headscope.comparing.whole import compare

__all__ = ["Comparison", "compare"]
