"""A Triton backend named "onnxruntime", written in Python.

The embedded Triton has no native ONNX Runtime backend. A `config.pbtxt` for the native backend
works here unchanged, and one model repository loads in both. Fields with a meaning are:

    default_model_filename          the file in the version's folder; default `model.onnx`
    input, output, max_batch_size   completed from the graph when absent
    cpu_execution_accelerator       `openvino` runs the model in OpenVINO, in f32; its parameter
                                    `precision` chooses another type
    gpu_execution_accelerator       ignored, with a line in the log: there is no GPU
    parameters                      intra_op_thread_count, inter_op_thread_count, execution_mode,
                                    enable_mem_arena, enable_mem_pattern (off by default, unlike
                                    in the native backend), num_streams

The dynamic batcher hands over several requests at once. The requests run side by side, each on a
share of the threads. `num_streams` is the number of such runs at a time. With 1, the requests run
one after another on all threads. OpenVINO's `num_streams` is a parameter of the accelerator.
"""

import functools
import json
from pathlib import Path

import engines
import lanes
import rest
import tensors
import triton_python_backend_utils as pb_utils

DEFAULT_MAX_BATCH_SIZE = 4  # the native backend's default
RELEASE_AFTER_S = 10.0  # without a request; the next one takes 4 to 20 ms longer


class TritonPythonModel:
    """One instance of one model. Triton runs each instance in a process of its own."""

    @staticmethod
    def auto_complete_config(config):
        """Add the inputs, outputs and batch size that the config leaves out.

        A complete config is quick: no engine is imported.
        """
        have = config.as_dict()
        if have["input"] and have["output"]:
            return config
        signature = engines.look(_path_of_stub())
        if signature.batchable:
            if have["max_batch_size"] == 0:
                config.set_max_batch_size(DEFAULT_MAX_BATCH_SIZE)
            if have["max_batch_size"] > 1 and "sequence_batching" not in have:
                config.set_dynamic_batching()
        elif have["max_batch_size"] > 0:
            raise pb_utils.TritonModelException(
                "the graph has no batch axis of open size on every tensor; set max_batch_size: 0"
            )
        batched = have["max_batch_size"] > 0
        if not have["input"]:
            for tensor in signature.inputs:
                config.add_input(tensor.entry(batched))
        if not have["output"]:
            for tensor in signature.outputs:
                config.add_output(tensor.entry(batched))
        return config

    def initialize(self, args):
        """Load the graph.

        Raises ValueError when the config and the graph disagree, and the engine's exceptions.
        """
        config = json.loads(args["model_config"])
        filename = config.get("default_model_filename") or "model.onnx"
        path = str(Path(args["model_repository"], args["model_version"], filename))
        self._inputs = [entry["name"] for entry in config["input"]]
        self._outputs = [entry["name"] for entry in config["output"]]
        self._engine = _engine(path, config, f"model {args['model_name']!r}")
        # The requests of a sequence must not overtake each other.
        runs = [] if "sequence_batching" in config else self._engine.lanes()
        self._lanes = lanes.Lanes(runs) if runs else None
        self._rest = rest.Rest(self._engine.release, RELEASE_AFTER_S)
        self._rest.end()  # loading has left memory too

    def execute(self, requests):
        """Answer the requests, each as soon as its run has ended.

        A request that is alone runs on all threads, and its response is returned. Several requests
        run side by side: the lanes send the responses, and None is returned.
        """
        self._rest.end()
        if self._lanes is None or (len(requests) == 1 and self._lanes.idle):
            copy = len(requests) > 1  # Triton copies the tensors when this method returns
            return [self._answer(self._engine.run, request, copy) for request in requests]
        self._lanes.start(functools.partial(self._send, request) for request in requests)
        return None

    def finalize(self):
        """Wait for the runs side by side before the model goes."""
        if self._lanes is not None:
            self._lanes.finish()

    def _send(self, request, run):
        try:
            request.get_response_sender().send(
                self._answer(run, request), flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
            )
        except Exception as error:  # the lane serves other requests too
            pb_utils.Logger.log_error(f"a response was not sent: {error}")

    def _answer(self, run, request, copy=False):
        """The response. Without `copy`, the engine's next run may overwrite its tensors."""
        try:
            if request.is_cancelled():
                return _failure("canceled by the client", pb_utils.TritonError.CANCELLED)
            feed = {name: _array(request, name) for name in self._inputs}
        except Exception as error:
            return _failure(str(error), pb_utils.TritonError.INVALID_ARG)
        wanted = set(request.requested_output_names())
        names = [name for name in self._outputs if name in wanted]
        try:
            arrays = run(names, feed)
            return pb_utils.InferenceResponse(
                [
                    tensors.tensor_of(pb_utils.Tensor, name, array.copy() if copy else array)
                    for name, array in zip(names, arrays, strict=True)
                ]
            )
        except Exception as error:
            return _failure(str(error), pb_utils.TritonError.INTERNAL)


def _engine(path, config, who):
    """The engine that the config names, or ONNX Runtime when OpenVINO is missing or refuses.

    Raises ValueError when the config and the graph disagree. `who` names the model in the log.
    """
    parameters = {
        key: value.get("string_value", "") for key, value in config.get("parameters", {}).items()
    }
    accelerators = config.get("optimization", {}).get("execution_accelerators", {})
    for accelerator in accelerators.get("gpu_execution_accelerator", []):
        pb_utils.Logger.log_info(
            f"{who}: {accelerator['name']} needs a GPU,"
            " which the embedded Triton does not use; ignored"
        )
    threads = engines.integer(parameters, "intra_op_thread_count", engines.cpu_count())
    for accelerator in accelerators.get("cpu_execution_accelerator", []):
        if accelerator["name"] != "openvino":
            raise ValueError(
                f"unknown cpu_execution_accelerator {accelerator['name']!r}; only openvino is known"
            )
        try:
            engine = engines.OpenVino(path, accelerator.get("parameters", {}), threads)
        except ImportError as error:
            pb_utils.Logger.log_warn(
                f"{who}: runs in ONNX Runtime, because OpenVINO can't be imported ({error})"
            )
            break
        except RuntimeError as error:  # a graph that OpenVINO can't run, such as an operator's form
            pb_utils.Logger.log_warn(
                f"{who}: runs in ONNX Runtime, because OpenVINO refuses the graph ({error})"
            )
            break
        engine.signature.check(config)
        pb_utils.Logger.log_info(f"{who}: runs in OpenVINO")
        return engine
    engine = engines.OnnxRuntime(path, parameters, threads)
    engine.signature.check(config)
    pb_utils.Logger.log_info(f"{who}: runs in ONNX Runtime")
    return engine


def _path_of_stub():
    """The graph's path, for `auto_complete_config`, which gets no path from Triton.

    The path is the first argument of this process.
    """
    return Path("/proc/self/cmdline").read_bytes().split(b"\0")[1].decode()


def _array(request, name):
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    if tensor is None:
        raise ValueError(f"input {name!r} is missing")
    return tensors.array_of(tensor)


def _failure(message, code):
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))
