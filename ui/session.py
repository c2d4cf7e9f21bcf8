"""A person's access to the api: the key from the page, and the client that calls with it.

The key lives in the browser's tab and in single calls. The page's process keeps no key.
"""

import re
from dataclasses import dataclass

from sluice.client import AsyncClient, ServiceError

_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Access:
    """Opens clients of the api at `url`."""

    url: str

    def client(self, key: str | None) -> AsyncClient:
        """A client with the person's key. Failed calls are not repeated by themselves.

        Raises ServiceError where the text can't be a key.
        """
        text = (key or "").strip()
        if not re.fullmatch(r"[\x21-\x7e]*", text):
            raise ServiceError("The key has characters that no key has. Copy it again.", "key")
        return AsyncClient(self.url, text or None, timeout_s=_TIMEOUT_S, retry_for_s=0)


def sentence(error: ServiceError) -> str:
    """The error as a sentence for a person, with the remedy where the code alone has none."""
    text = error.message[:1].upper() + error.message[1:]
    if text[-1:] not in ".!?":
        text += "."
    if error.status == 401:
        text += " Enter a valid API key at the top of the page."
    elif error.status is None and error.code == "service":
        text += " Check that the api runs, and try again."
    elif error.retry_after_s:
        text += f" Try again in {error.retry_after_s:.0f} s."
    return text
