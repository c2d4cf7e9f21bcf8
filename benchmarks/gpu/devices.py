"""The GPUs of this machine and how busy they are, by `nvidia-smi`."""

import shutil
import statistics
import subprocess
import threading
from types import TracebackType
from typing import Self

_QUERY = ("nvidia-smi", "--format=csv,noheader,nounits")
_EVERY_MS = 200


def names() -> list[str]:
    """The GPUs by name. Empty without a GPU, or without NVIDIA's driver."""
    if shutil.which("nvidia-smi") is None:
        return []
    done = subprocess.run(
        [*_QUERY, "--query-gpu=name"], capture_output=True, text=True, check=False, timeout=60
    )
    return done.stdout.splitlines() if done.returncode == 0 else []


class Busy:
    """The mean share of time in which the first GPU ran a kernel, while the context lasts.

    `utilization.gpu` of nvidia-smi is that share over its own period of up to a second.
    """

    def __init__(self) -> None:
        self.samples: list[float] = []

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [*_QUERY, "--id=0", "--query-gpu=utilization.gpu", f"--loop-ms={_EVERY_MS}"],
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        return self

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if (text := line.strip()).isdigit():  # and not `[N/A]`
                self.samples.append(int(text) / 100)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait(timeout=20)
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    @property
    def share(self) -> float | None:
        """From 0 to 1; None where nvidia-smi gave no sample."""
        return statistics.fmean(self.samples) if self.samples else None
