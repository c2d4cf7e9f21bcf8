"""A resolver of host names for tests."""

from collections.abc import Sequence


class Names:
    """A resolver that gives one answer after another, and repeats the last one."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        """Host names that were looked up."""

    def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
