"""Adds model files to Triton's model repository: reads them, prepares them, and loads them.

Only the command line uses this package; the api and the workers never reach it.
"""

import os

# ONNX Runtime's wheel for Linux keeps an identifier of the machine, and reports its use to its
# maker. The variable turns both off, if it is set before the first import:
# https://github.com/microsoft/onnxruntime/pull/27379
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
