"""Places that tests read from."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# The reference results belong to no release, so they lie beside the checkout or nowhere.
GOLDEN = Path(os.environ.get("SLUICE_GOLDEN", ROOT.parent / "shared" / "golden"))
NO_GOLDEN = (
    None
    if (GOLDEN / "golden.json").exists()
    else f"no reference results at {GOLDEN}; SLUICE_GOLDEN names another place"
)

# Requests as people really send them, with the right answers.
CASES = Path(os.environ.get("SLUICE_CASES", ROOT.parent / "shared" / "cases"))
NO_CASES = (
    None
    if (CASES / "cases.json").exists()
    else f"no cases at {CASES}; SLUICE_CASES names another place"
)
