"""Chaos: clients that use the live stack while its parts are killed, frozen and cut off, and a checker that reads their log.

python -m tests.chaos --seconds 300 --seed 1     the harness; exits 1 on any breach
python -m tests.chaos.checker LOG                the checker alone, on a log that a run has left
python -m tests.chaos.bugs                       ten planted bugs, each of which the harness must find
"""
