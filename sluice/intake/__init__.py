"""Accepting predictions, canceling them, and waking workers."""
