"""Ids of predictions, batches and files."""

import base64
import hashlib
import secrets

# A letter for each of the 256 bytes; every letter is equally likely.
_LETTERS = b"abcdefghijklmnopqrstuvwxyz234567" * 8


_LENGTH = 26


def new_id(prefix: str = "") -> str:
    """Return 26 characters of a-z and 2-7: the prefix, and then random ones, of 5 bits each.

    The form is that of Replicate's ids.
    """
    return prefix + secrets.token_bytes(_LENGTH - len(prefix)).translate(_LETTERS).decode()


def derived_id(prefix: str, *parts: str) -> str:
    """Return the one id of these parts, in the form of `new_id`."""
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return prefix + base64.b32encode(digest)[: _LENGTH - len(prefix)].decode().lower()
