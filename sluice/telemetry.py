"""Logging. Entry points call `configure_logging`; libraries only get their logger by name."""

import logging
import sys
import time
import warnings


def configure_logging(level: str = "INFO") -> None:
    """One line a record on standard error: time in UTC, level, logger, message."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = logging.Formatter(
        "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S"
    )
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    warnings.filterwarnings(
        "ignore", module="PIL"
    )  # of odd headers, which the reader of images judges itself
    logging.getLogger("httpx").setLevel(
        logging.WARNING
    )  # it logs every request, and a health check is one every few seconds
