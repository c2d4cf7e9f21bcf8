"""Requests that are sent on a client's behalf."""
