"""Accepts predictions, cancels them, and wakes workers."""
