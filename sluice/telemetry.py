"""Logging. Only entry points call `configure_logging`."""

import logging
import sys
import time
import warnings


def configure_logging(level: str = "INFO") -> None:
    """Write one line for each record to standard error: time in UTC, level, logger, message."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = logging.Formatter(
        "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S"
    )
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # Pillow warns about odd headers; `sluice/images/` judges them itself.
    warnings.filterwarnings("ignore", module="PIL")
    # httpx logs every request, and health checks make one every few seconds.
    logging.getLogger("httpx").setLevel(logging.WARNING)
