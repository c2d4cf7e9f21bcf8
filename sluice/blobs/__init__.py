"""Bytes with a time to live: images and uploaded files."""
