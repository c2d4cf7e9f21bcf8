"""Webhooks: signatures, secrets and payloads."""
