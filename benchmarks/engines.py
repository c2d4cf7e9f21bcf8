"""Times graphs in the engines of the Triton backend. Runs in Triton's environment, not in ours.

`python engines.py BACKEND < JOBS`: jobs are a JSON list of `file`, `input`, `shape`, `dtype` and
`outputs`. The result is a JSON list of milliseconds a call by engine and images a call.
"""

import json
import sys
import time

import numpy as np

ROUNDS = 40
BATCHES = (1, 4)


def main() -> None:
    sys.path.insert(0, sys.argv[1])
    import engines  # type: ignore[import-not-found]  # noqa: PLC0415  the backend's module

    threads = engines.cpu_count()
    jobs = json.load(sys.stdin)
    results: list[dict[str, float]] = [{} for _ in jobs]
    for name, make in (("ONNX Runtime", engines.OnnxRuntime), ("OpenVINO", engines.OpenVino)):
        made = [make(job["file"], {}, threads) for job in jobs]
        for batch in BATCHES:
            feeds = [_feed(job, batch) for job in jobs]
            # In turn, so that other work on the machine slows each of them alike.
            for _ in range(ROUNDS):
                for engine, job, feed, times in zip(made, jobs, feeds, results, strict=True):
                    start = time.perf_counter()
                    engine.run(job["outputs"], feed)
                    ms = (time.perf_counter() - start) * 1000
                    key = f"{name}, {batch}"
                    times[key] = min(ms, times.get(key, ms))
    print(json.dumps(results))


def _feed(job, batch):  # type: ignore[no-untyped-def]
    pixels = np.random.default_rng(0).integers(0, 256, (batch, *job["shape"]), np.uint8)
    return {job["input"]: pixels if job["dtype"] == "UINT8" else (pixels / 255).astype(np.float32)}


if __name__ == "__main__":
    main()
