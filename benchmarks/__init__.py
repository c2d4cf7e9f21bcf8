"""Timings, as ratios to a baseline in the same run.

Machines are shared and noisy: a number alone says little.
"""
