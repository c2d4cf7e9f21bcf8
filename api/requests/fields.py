"""Options and parameters that came as text: in the fields of a form, or in the query."""

from typing import Any

from fastapi import Request
from pydantic_core import from_json

from api.requests.schemas import Options
from sluice.errors import InvalidInput
from sluice.prediction import Parameters

_LISTS = ("classes", "webhook_events_filter")


def query_fields(request: Request) -> dict[str, list[str]]:
    """The query's values, by name."""
    query = request.query_params
    return {name: query.getlist(name) for name in query}


def read_fields(fields: dict[str, list[str]]) -> tuple[Options, Parameters]:
    """Parse `fields`: the values of each name. A list has one field for each of its values.

    Raises pydantic.ValidationError, InvalidInput.
    """
    lists = {name: fields[name] for name in _LISTS if name in fields}
    single = {name: values[-1] for name, values in fields.items() if name not in _LISTS}
    options: dict[str, Any] = {
        name: single.pop(name) for name in Options.model_fields if name in single
    }
    if "metadata" in options:
        try:
            # json.loads would accept lone surrogates, and deep nesting would overflow its stack.
            options["metadata"] = from_json(options["metadata"])
        except ValueError:
            raise InvalidInput("metadata: give a JSON object") from None
    if "webhook_events_filter" in lists:
        options["webhook_events_filter"] = lists["webhook_events_filter"]
    parameters = Parameters.model_validate_strings(single, strict=False)
    if "classes" in lists:
        parameters = Parameters(
            **parameters.model_dump(exclude={"classes"}), classes=tuple(lists["classes"])
        )
    return Options.model_validate(options), parameters
