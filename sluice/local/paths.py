"""Folders that the embedded stack and the commands read, of this checkout or of the wheel."""

from pathlib import Path

import sluice

#: The checkout: the folder that holds the packages `sluice`, `api` and `worker`.
CHECKOUT = Path(sluice.__file__).resolve().parents[1]

#: True in a checkout, False where Sluice was installed from its wheel.
IS_CHECKOUT = (CHECKOUT / "pyproject.toml").is_file()

_DATA = CHECKOUT if IS_CHECKOUT else Path(__file__).resolve().with_name("data")

#: Example images. The wheel has one of them.
SAMPLES = _DATA / "samples"

#: The model repository that comes with Sluice.
MODEL_REPOSITORY = _DATA / "model_repository"

#: Sluice's own Triton backends, one folder each.
BACKENDS = Path(__file__).resolve().with_name("backends")
