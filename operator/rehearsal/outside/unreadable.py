"""The one error of the readers of outside text."""


class Unreadable(ValueError):
    """Outside text that is not what it should be.

    str() goes on from the file's name and a colon (`line 3: is nested too deeply; …`). It never quotes what was read.
    `line` counts from 1; None where no line is to blame.
    """

    def __init__(self, problem: str, line: int | None = None) -> None:
        super().__init__(problem if line is None else f"line {line}: {problem}")
        self.problem, self.line = problem, line
