"""Gives several sessions of ONNX Runtime one copy of a graph's weights.

A session that optimizes a graph makes weights of its own. Here the graph is optimized once, into a
folder. Sessions that open the optimized graph map its file of weights. The kernel holds each page
of a file once. The module knows nothing of Triton.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: Smaller weights stay in the graph: a page of a file has 4 kB.
_LEAST_BYTES = 1024


@contextmanager
def optimized(path: str, options: Any, open_session: Callable[[str, Any], Any]) -> Iterator[str]:
    """Yield the path of the optimized graph, whose sessions need no optimization.

    The files go at the end. Sessions that were opened before keep their weights.
    `options` are ONNX Runtime's, for the session that optimizes. `open_session` opens a session.
    Raises OSError without room for the files, and ONNX Runtime's exceptions for a bad graph.
    """
    with tempfile.TemporaryDirectory(prefix="sluice-graph-") as folder:
        graph = Path(folder, "graph.onnx")
        options.optimized_model_filepath = str(graph)
        for key, value in (
            ("file_name", "graph.weights"),
            ("min_size_in_bytes", str(_LEAST_BYTES)),
        ):
            options.add_session_config_entry(
                f"session.optimized_model_external_initializers_{key}", value
            )
        open_session(path, options)
        yield str(graph)
