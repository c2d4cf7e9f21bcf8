"""Ids of predictions, batches and files."""

import secrets

_LETTERS = b"abcdefghijklmnopqrstuvwxyz234567" * 8  # one for each byte, and as many bytes for each


def new_id() -> str:
    """26 characters of a-z and 2-7 that nobody can guess: 130 bits, in the form of Replicate's ids."""
    return secrets.token_bytes(26).translate(_LETTERS).decode()
