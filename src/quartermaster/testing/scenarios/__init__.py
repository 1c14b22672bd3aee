"""Scenarios: what a cluster is given, and what has to come of it.

`run` plays the files of a person (``*.yaml``, see docs/scenarios.md) and the recorded test cases of KAI-Scheduler
(``*.json``, ``*.json.gz``) on the scheduling cycle that runs everywhere else, and says for each case whether it came
out as written. Public: a policy of your own is tested by giving another `decide`.
"""

from quartermaster.testing.scenarios.results import CaseResult, Outcome, Report
from quartermaster.testing.scenarios.runner import run

__all__ = ["CaseResult", "Outcome", "Report", "run"]
