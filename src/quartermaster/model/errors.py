"""The one error for bad input: it names the field, shows the value and says what to do.

Everything that reads what a person wrote (a trace, a queue file, a flag) raises this and nothing else, so that
the command line can turn it into one line and exit code 2, and a controller into a condition.
"""

from __future__ import annotations


class InvalidInput(ValueError):
    """A value from outside that cannot be used.

    `field` is where it was found (``queue 'team-a': parent``, ``pods.csv:17: gpu_milli``), `problem` what is wrong
    with it, and `fix` what would be right.
    """

    def __init__(self, field: str, problem: str, fix: str) -> None:
        super().__init__(f"{field}: {problem}; {fix}")
        self.field = field
        self.problem = problem
        self.fix = fix

    def __reduce__(self) -> tuple[type[InvalidInput], tuple[str, str, str]]:
        """Exceptions pickle by their arguments; worker processes send this one home."""
        return type(self), (self.field, self.problem, self.fix)
