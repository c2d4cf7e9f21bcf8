"""Requests that leave the network on a client's behalf."""
