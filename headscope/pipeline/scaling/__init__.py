"""An analysis on many machines: what it costs, in shares, and on Ray."""
