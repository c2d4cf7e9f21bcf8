"""The two engines that run an ONNX graph on this machine's CPUs: ONNX Runtime and OpenVINO.

An engine is imported at its first use. The import takes long, and Triton also starts a process
for each model only to complete the model's configuration.
"""

import ctypes
import functools
import os
from contextlib import suppress
from typing import Any, Protocol

import numpy as np
import one_copy
from lanes import Feed, Run
from signature import Signature

#: The ONNX graph y = x, for one float.
_IDENTITY = (
    b'\x08\x08:7\n\x10\n\x01x\x12\x01y"\x08Identity\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04'
    b"\n\x02\x08\x01b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\x11"
)
#: More lanes than these take memory for their tensors, and a lane then has several threads.
MAX_LANES = 8
PRECISIONS = {"FP32": "f32", "FP16": "f16", "BF16": "bf16"}


class Engine(Protocol):
    """A graph, ready to run."""

    signature: Signature

    def run(self, outputs: list[str], feed: Feed) -> list[Any]:
        """Run on all threads, for a request that is alone. Returns the outputs of these names.

        An output may be a view of memory that the next run overwrites.
        """

    def lanes(self) -> list[Run]:
        """Functions like `run` that may run side by side, and share the threads.

        Empty where a run on all threads is the only one at a time.
        """

    def release(self) -> None:
        """Give back the memory that earlier runs have left, as far as no run uses the memory.

        The next run takes such memory again.
        """


def cpu_count() -> int:
    """The number of CPUs that this process may use. In a container, not all of the machine's."""
    return len(os.sched_getaffinity(0))


def integer(settings: dict[str, str], key: str, default: int) -> int:
    """The value of a setting that is a number. Raises ValueError.

    0 or nothing means the default, as in the native backend.
    """
    text = settings.get(key, "") or "0"
    try:
        return int(text) or default
    except ValueError:
        raise ValueError(f"parameter {key!r} must be a number, not {text!r}") from None


def _on(settings: dict[str, str], key: str, default: str = "1") -> bool:
    return settings.get(key, default) not in ("0", "false")


def _trim() -> None:
    """Give the free memory of the C library back to the system."""
    ctypes.CDLL(None).malloc_trim(0)


def look(path: str) -> Signature:
    """The graph's signature, read without the work of optimizing the graph."""
    import onnxruntime  # noqa: PLC0415  see above

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return Signature.of_session(
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    )


def lane_count(settings: dict[str, str], threads: int) -> int:
    """The number of runs side by side: the setting, or one a thread, up to MAX_LANES.

    Raises ValueError for a setting that is no number.
    """
    return integer(settings, "num_streams", min(threads, MAX_LANES))


class OnnxRuntime:
    """ONNX Runtime on the CPU.

    `settings` are the config's parameters, with the native backend's names.
    """

    def __init__(self, path: str, settings: dict[str, str], threads: int) -> None:
        """Raises ValueError for a bad setting, and ONNX Runtime's exceptions for a bad graph."""
        threads = integer(settings, "intra_op_thread_count", threads)
        self._lanes = lane_count(settings, threads)
        # On many cores the lanes share the threads of one session.
        own = self._lanes > 1 and threads <= self._lanes
        sessions = _sessions(path, settings, [threads, 1] if own else [threads])
        self._session, self._beside = sessions[0], sessions[-1]
        self._arena = _on(settings, "enable_mem_arena")
        self.signature = Signature.of_session(self._session)

    def run(self, outputs: list[str], feed: Feed) -> list[Any]:
        """Returns the outputs of these names, as new arrays."""
        return list(self._session.run(outputs, feed))

    def lanes(self) -> list[Run]:
        """A session may be run by several threads at a time."""
        return [self._beside.run] * self._lanes if self._lanes > 1 else []

    def release(self) -> None:
        """An arena gives back what no run uses, at the end of a run: here, of one that does
        nothing.
        """
        if self._arena:
            import onnxruntime  # noqa: PLC0415  see above

            options = onnxruntime.RunOptions()
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
            _session(_IDENTITY, {}, 1).run(None, {"x": np.zeros(1, np.float32)}, options)
        _trim()


@functools.cache
def _share_arena() -> None:
    """Make the memory for tensors that all sessions of this process use."""
    import onnxruntime  # noqa: PLC0415  see above

    kind, memory = onnxruntime.OrtAllocatorType, onnxruntime.OrtMemType
    onnxruntime.create_and_register_allocator(
        onnxruntime.OrtMemoryInfo("Cpu", kind.ORT_ARENA_ALLOCATOR, 0, memory.DEFAULT), None
    )


def _sessions(path: str, settings: dict[str, str], threads: list[int]) -> list[Any]:
    """A session for each number of threads. Several have one copy of the weights."""
    if len(threads) > 1:
        # Without room for files, or for a graph that can't be written, each has a copy of its own.
        options = session_options(settings, 1)
        with suppress(Exception), one_copy.optimized(path, options, _open) as graph:
            return [_session(graph, settings, number, ready=True) for number in threads]
    return [_session(path, settings, number) for number in threads]


def _session(
    graph: str | bytes, settings: dict[str, str], threads: int, *, ready: bool = False
) -> Any:
    """`ready` means that the graph is optimized."""
    import onnxruntime  # noqa: PLC0415  see above

    options = session_options(settings, threads)
    if ready:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return _open(graph, options)


def _open(graph: str | bytes, options: Any) -> Any:
    import onnxruntime  # noqa: PLC0415  see above

    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def session_options(settings: dict[str, str], threads: int) -> Any:
    """ONNX Runtime's options for a session with these settings. Raises ValueError for a bad one."""
    import onnxruntime  # noqa: PLC0415  see above

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = integer(settings, "inter_op_thread_count", 1)
    if integer(settings, "execution_mode", 0) == 1:
        options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
    options.enable_cpu_mem_arena = _on(settings, "enable_mem_arena")
    # A pattern takes the memory of a whole run as one block, beside what the arena has.
    options.enable_mem_pattern = _on(settings, "enable_mem_pattern", "0")
    if options.enable_cpu_mem_arena:
        _share_arena()
        options.add_session_config_entry("session.use_env_allocators", "1")
    # A spinning thread would take a core from the worker that prepares the next image.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


class OpenVino:
    """OpenVINO on the CPU.

    `settings` are the accelerator's parameters, with the names of ONNX Runtime's OpenVINO provider.
    """

    def __init__(self, path: str, settings: dict[str, str], threads: int) -> None:
        """Raises ImportError without OpenVINO, ValueError for a bad setting, RuntimeError for a bad
        graph.
        """
        import openvino  # noqa: PLC0415  see above

        precision = settings.get("precision", "FP32").upper()
        if precision not in PRECISIONS:
            raise ValueError(
                f"parameter 'precision' of openvino must be one of {', '.join(PRECISIONS)},"
                f" not {precision!r}"
            )
        device = settings.get("device_type", "CPU").upper()
        if device != "CPU":
            raise ValueError(f"parameter 'device_type' of openvino must be CPU, not {device!r}")
        threads = integer(settings, "num_of_threads", threads)
        count = lane_count(settings, threads)
        options: dict[str, Any] = {
            # By default OpenVINO uses bf16 on CPUs that have it. Boxes would move by pixels.
            "INFERENCE_PRECISION_HINT": PRECISIONS[precision],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            # A pinned thread waits for its core while a worker uses that core and another is free.
            "ENABLE_CPU_PINNING": False,
        }
        if settings.get("cache_dir"):
            options["CACHE_DIR"] = settings["cache_dir"]
        core = openvino.Core()
        _call_once(core)
        model = core.read_model(path)
        self.signature = Signature.of_model(model)
        alone = core.compile_model(model, "CPU", options)
        self._compiled = [alone]
        self._run = _Request(alone)
        # A run on one thread needs no barrier, at which OpenVINO's threads spin.
        self._lanes: list[Run] = []
        if count > 1:
            beside = core.compile_model(model, "CPU", options | {"NUM_STREAMS": count})
            self._lanes = [_Request(beside) for _ in range(count)]
            self._compiled.append(beside)

    def run(self, outputs: list[str], feed: Feed) -> list[Any]:
        """Returns the outputs of these names, as views of memory that the next run overwrites."""
        return self._run(outputs, feed)

    def lanes(self) -> list[Run]:
        """Each lane has the memory of its outputs."""
        return self._lanes

    def release(self) -> None:
        for compiled in self._compiled:
            with suppress(RuntimeError):  # OpenVINO refuses during a run
                compiled.release_memory()
        _trim()


def _call_once(core: Any) -> None:
    """Call OpenVINO's functions once from one thread.

    At its first call, a function of OpenVINO's Python interface makes a table. Two threads that
    make this call together may hang for ever. One holds the table and waits for Python's lock, and
    the other has the lock and waits for the table.
    """
    request = _Request(core.compile_model(core.read_model(_IDENTITY), "CPU", {}))
    request(["y"], {"x": np.zeros(1, np.float32)})


class _Request:
    """Runs a compiled model; one run at a time."""

    def __init__(self, compiled: Any) -> None:
        self._ports = {name: port for port in compiled.outputs for name in port.get_names()}
        self._request = compiled.create_infer_request()

    def __call__(self, outputs: list[str], feed: Feed) -> list[Any]:
        results = self._request.infer(feed, share_inputs=True, share_outputs=True)
        return [results[self._ports[name]] for name in outputs]
