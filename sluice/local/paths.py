"""Folders of this checkout that the embedded stack and the commands read."""

from pathlib import Path

import sluice

#: The checkout: the folder that holds the packages `sluice`, `api` and `worker`.
CHECKOUT = Path(sluice.__file__).resolve().parents[1]

#: Example images.
SAMPLES = CHECKOUT / "samples"

#: The model repository that comes with Sluice.
MODEL_REPOSITORY = CHECKOUT / "model_repository"

#: Sluice's own Triton backends, one folder each.
BACKENDS = Path(__file__).resolve().with_name("backends")
