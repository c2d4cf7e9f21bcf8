"""A model as clients name it: in every spelling of Replicate's clients, and in several fields."""

from dataclasses import dataclass

from sluice.errors import InvalidInput


@dataclass(frozen=True)
class ModelName:
    """A model, and the version that the caller asks for, if any."""

    name: str
    version: str | None = None
    """The version's id, which is the model's name, or the number of Triton's version."""


def parse(text: str) -> ModelName:
    """The model in `name`, `owner/name`, `name:version` or `owner/name:version`.

    The owner says nothing, since models have names only.
    """
    name, _, version = text.rpartition("/")[2].partition(":")
    return ModelName(name.strip(), version.strip() or None)


def chosen(*texts: str | None, version: str | None = None) -> ModelName | None:
    """The model that `texts` and `version` name together; None where all are empty.

    `version` may be a version alone. Beside a model it is one of that model's versions. Without one
    it names the model itself, as a version's id does. Raises InvalidInput where they name two.
    """
    named = [parse(text) for text in texts if text]
    if version:
        reference = parse(version)
        is_alone = "/" not in version and reference.version is None
        if is_alone and named:
            reference = ModelName(named[0].name, reference.name)
        named.append(reference)
    if not named:
        return None
    names = {entry.name for entry in named}
    # A version's id is the model's name: it says no more than the name, and a number may.
    versions = {entry.version for entry in named if entry.version not in (None, entry.name)}
    if len(names) > 1 or len(versions) > 1:
        raise InvalidInput(
            "give model or version, not two different ones: "
            + ", ".join(repr(text) for text in (*texts, version) if text)
        )
    return ModelName(names.pop(), versions.pop() if versions else None)
