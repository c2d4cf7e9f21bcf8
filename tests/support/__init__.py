"""Helpers for tests that are no fakes: servers, receivers, loopback addresses."""
