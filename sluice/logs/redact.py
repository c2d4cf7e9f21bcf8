"""Text without secrets, image data, and the query and user of a URL."""

import re

MAX_CHARS = 2000
"""The longest text of one field."""
MAX_STACK_CHARS = 16_000

_URL = re.compile(
    r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)(?:[^\s/?#\"'<>]*@)?(?P<place>[^\s?#\"'<>]*)"
    r"(?P<rest>[?#][^\s\"'<>]*)?",
    re.IGNORECASE,
)
_QUERY = re.compile(r"(?<=[\w/])\?[\w.~%\[\]-]+=[^\s\"'<>]*")
_DATA_URI = re.compile(r"\bdata:[^\s\"'<>]*", re.IGNORECASE)
_SECRET = re.compile(
    r"\b(whsec_|whsk_|sluice_(?=[\w-]{43})|bearer\s+|basic\s+)[\w.~+/=-]+", re.IGNORECASE
)
_INPUT_VALUE = re.compile(r"input_value=.*?, input_type=")
_LONG = re.compile(r"[\w+/=-]{200,}")


def redact(text: str, max_chars: int = MAX_CHARS) -> str:
    """Return the text without secrets and image data, and no longer than `max_chars`."""
    if len(text) > max_chars:
        text = f"{text[:max_chars]}…"
    if ":" in text:
        text = _DATA_URI.sub("data:…", text)
        text = _URL.sub(_without_query, text)
    if "?" in text:
        text = _QUERY.sub("?…", text)
    text = _SECRET.sub(r"\1…", text)
    text = _INPUT_VALUE.sub("input_type=", text)
    return _LONG.sub("…", text)


def _without_query(match: re.Match[str]) -> str:
    rest = "?…" if match["rest"] else ""
    return f"{match['scheme']}{match['place']}{rest}"
