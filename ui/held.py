"""A value in a state of Gradio."""

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(eq=False)
class Held(Generic[T]):
    """Wraps a value. Gradio tells states apart by hash, and results of the client have none.

    Equal contents have one hash: a list that was read again and is the same is not drawn again.
    A click on a button that was just drawn a second time would be lost.
    """

    value: T

    def __hash__(self) -> int:
        return hash(repr(self.value))
