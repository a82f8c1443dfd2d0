"""The one error of the readers of outside text."""


class Unreadable(ValueError):
    """Outside text that is not what it should be.

    str() goes on from the file's name and a colon (`line 3: is nested too deeply; …`). It never quotes what was read.
    `line` counts from 1; None where no line is to blame. `twice` is the path of a field that is written twice: it is a piece
    of what was read, for a reader of the user's own files.
    """

    def __init__(self, problem: str, line: int | None = None, twice: str | None = None) -> None:
        super().__init__(problem if line is None else f"line {line}: {problem}")
        self.problem, self.line, self.twice = problem, line, twice
