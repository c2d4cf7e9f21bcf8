"""Adds model files to Triton's model repository: reads them, prepares them, and loads them.

Only the command line uses this package; the api and the workers never reach it.
"""
