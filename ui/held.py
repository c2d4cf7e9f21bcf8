"""A value in a state of Gradio."""

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(eq=False)
class Held(Generic[T]):
    """Wraps a value. Gradio tells states apart by hash, and results of the client have none."""

    value: T
