"""Chaos: clients use a live stack while its processes are killed, frozen and cut off.

A checker then reads the clients' log.

    python -m tests.chaos --seconds 300 --seed 1     the harness; exits 1 on any breach
    python -m tests.chaos --sentinel                 20 failovers of two Redis under load
    python -m tests.chaos.checker LOG                the checker alone, on the log of a run
    python -m tests.chaos.bugs                       ten planted bugs that the harness must find
"""
