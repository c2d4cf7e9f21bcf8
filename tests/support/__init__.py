"""Helpers for tests that are no fakes: servers, receivers, waiting, places."""
