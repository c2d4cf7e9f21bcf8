"""Options and parameters that came as text: in the fields of a form, or in the query."""

from collections.abc import Container, Iterable
from contextlib import suppress
from typing import Any

from fastapi import Request
from pydantic import TypeAdapter
from pydantic_core import from_json

from api.requests.schemas import Options
from sluice.errors import InvalidInput
from sluice.prediction import Parameters

KNOWN_FIELDS = frozenset({*Options.model_fields, *Parameters.model_fields})
_LISTS = ("classes", "webhook_events_filter")
_SWITCH = TypeAdapter(bool)


def query_fields(request: Request) -> dict[str, list[str]]:
    """The query's values, by name; `wait` is the handler's own."""
    if not request.scope["query_string"]:
        return {}
    query = request.query_params
    return {name: query.getlist(name) for name in query if name != "wait"}


def joined(
    query: dict[str, list[str]], fields: dict[str, list[str]], place: str
) -> dict[str, list[str]]:
    """The fields of the query and those of the body, which is `place` in errors.

    Raises InvalidInput for a field that is in both, since one of them would be swallowed.
    """
    refuse_twice(query, fields, place)
    return query | fields


def refuse_twice(query: Iterable[str], fields: Container[str], place: str) -> None:
    """Raises InvalidInput for a field that is in the query and in the body."""
    for name in query:
        if name in fields:
            raise InvalidInput(f"{name}: is in the query and in the {place}; give it once")


def with_query(
    query: dict[str, list[str]], options: Options, parameters: Parameters
) -> tuple[Options, Parameters]:
    """The options and parameters of a JSON body, and those of the query beside them.

    Raises pydantic.ValidationError, InvalidInput.
    """
    if not query:
        return options, parameters
    refuse_twice(query, options.model_fields_set | parameters.model_fields_set, "JSON")
    more_options, more_parameters = read_fields(query)
    return (
        options.model_copy(
            update={name: getattr(more_options, name) for name in more_options.model_fields_set}
        ),
        Parameters(
            **parameters.model_dump(exclude_unset=True),
            **more_parameters.model_dump(exclude_unset=True),
        ),
    )


def read_fields(fields: dict[str, list[str]]) -> tuple[Options, Parameters]:
    """Parse `fields`: the values of each name. A list has one field for each of its values.

    An empty value is not given: a browser's form sends every field, also those left empty.
    Raises pydantic.ValidationError, InvalidInput.
    """
    for name in fields:
        if name not in KNOWN_FIELDS:
            names = ", ".join(sorted(KNOWN_FIELDS))
            raise InvalidInput(f"{name[:500]}: there is no such field; there are {names}")
    fields = {
        name: kept for name, values in fields.items() if (kept := [v for v in values if v.strip()])
    }
    lists = {name: fields[name] for name in _LISTS if name in fields}
    single = {name: values[-1].strip() for name, values in fields.items() if name not in _LISTS}
    options: dict[str, Any] = {
        name: single.pop(name) for name in Options.model_fields if name in single
    }
    if "metadata" in options:
        try:
            # json.loads would accept lone surrogates, and deep nesting would overflow its stack.
            options["metadata"] = from_json(options["metadata"])
        except ValueError:
            raise InvalidInput("metadata: give a JSON object") from None
    slicing = {"slice": _slicing(single.pop("slice"))} if "slice" in single else {}
    if "webhook_events_filter" in lists:
        options["webhook_events_filter"] = lists["webhook_events_filter"]
    parameters = Parameters.model_validate_strings(single, strict=False)
    typed: dict[str, Any] = slicing | (
        {"classes": tuple(lists["classes"])} if "classes" in lists else {}
    )
    if typed:
        parameters = Parameters(**parameters.model_dump(exclude_unset=True), **typed)
    return Options.model_validate(options), parameters


def _slicing(text: str) -> Any:
    """The value of `slice`: a word as of every switch, a number, or JSON. Else the text itself."""
    if not text.isdecimal():
        with suppress(ValueError):
            return _SWITCH.validate_python(text)
    try:
        value = from_json(text)
    except ValueError:
        return text
    return text if value is None else value
