"""Dead letters, made by workers that fall silent."""

import time

from sluice.ledger.predictions import Ledger

_LEASE_S = 0.001


def let_die(ledger: Ledger, prediction_id: str) -> None:
    """Make a dead letter of the only prediction that waits, by lapses of its leases."""
    for alone in (False, False, True):
        claim = ledger.claim(f"silent/{time.monotonic_ns()}", _LEASE_S, alone=alone)
        assert claim is not None
        assert claim.prediction.id == prediction_id
        time.sleep(2 * _LEASE_S)
        ledger.sweep()
