"""The drawn tree of errors is right, and every class has its own code and docstring."""

from collections.abc import Iterator

from sluice import errors
from sluice.errors import SluiceError


def tree(root: type[SluiceError] = SluiceError) -> Iterator[type[SluiceError]]:
    """The classes of `sluice.errors`, without the private ones of other modules."""
    yield root
    for below in root.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from tree(below)


def test_the_drawn_tree_names_every_error_class_under_its_parent() -> None:
    depth = {}
    for line in (errors.__doc__ or "").splitlines():
        words = line.replace("│", " ").replace("├──", "   ").replace("└──", "   ")
        name = words.split()[0] if words.split() else ""
        if name in vars(errors):
            depth[name] = (len(words) - len(words.lstrip()) - 4) // 4
    assert depth == {error.__name__: error.__mro__.index(SluiceError) for error in tree()}


def test_error_codes_are_distinct() -> None:
    codes = [error.code for error in tree()]
    assert len(codes) == len(set(codes))


def test_every_error_class_has_a_docstring() -> None:
    assert [error for error in tree() if not vars(error).get("__doc__")] == []


def test_the_retryable_errors_are_the_temporary_ones() -> None:
    assert {error for error in tree() if error.retryable} == set(tree(errors.Unavailable))
