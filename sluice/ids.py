"""Ids of predictions, batches and files."""

import secrets

# A letter for each of the 256 bytes; every letter is equally likely.
_LETTERS = b"abcdefghijklmnopqrstuvwxyz234567" * 8


def new_id() -> str:
    """Return 26 random characters of a-z and 2-7: 130 bits, in the form of Replicate's ids."""
    return secrets.token_bytes(26).translate(_LETTERS).decode()
