"""The tree of errors is drawn as it is, and every leaf has its own code."""

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
    assert depth == {found.__name__: found.__mro__.index(SluiceError) for found in tree()}


def test_error_codes_are_distinct() -> None:
    codes = [found.code for found in tree()]
    assert len(codes) == len(set(codes))


def test_the_retryable_errors_are_the_temporary_ones() -> None:
    assert {found for found in tree() if found.retryable} == set(tree(errors.Unavailable))
