"""For tests, ours and those of people who extend headscope: contracts to check, and models whose heads are known."""

from headscope.testing.checks import ContractError, check_method
from headscope.testing.planted import Plant, planted_model
from headscope.testing.task_checks import check_task

__all__ = ["ContractError", "Plant", "check_method", "check_task", "planted_model"]
