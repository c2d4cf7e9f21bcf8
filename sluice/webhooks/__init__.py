"""Webhooks: signatures, secrets and payloads, by the Standard Webhooks specification."""
