"""A run: its tables, per-example values and identity, as one folder that anyone may open safely."""

from headscope.runs.opening import LARGEST_RECORD, SCHEMA, open_run, read_record
from headscope.runs.places import check_run
from headscope.runs.run import Examples, Run
from headscope.runs.saving import check_writable, complete, kind_of

__all__ = [
    "LARGEST_RECORD",
    "SCHEMA",
    "Examples",
    "Run",
    "check_run",
    "check_writable",
    "complete",
    "kind_of",
    "open_run",
    "read_record",
]
