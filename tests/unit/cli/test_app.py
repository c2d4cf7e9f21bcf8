"""The `sluice` command as a whole."""

import subprocess
import sys

SLOW_PACKAGES = ["celery", "redis", "numpy", "PIL", "pydantic_settings"]


def test_the_start_imports_no_slow_package():
    code = (
        "import sys, sluice.cli.app\n"
        f"print([name for name in {SLOW_PACKAGES!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
