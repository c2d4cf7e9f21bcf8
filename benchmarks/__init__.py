"""Timings, as ratios to a baseline in the same run: machines are shared and noisy, so that a number alone says little."""
