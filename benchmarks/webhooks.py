"""The cost of recorded deliveries: webhooks per second of one sender, against a bare loop.

The bare loop signs bodies in memory and posts them with httpx, as many at a time as the sender. The
sender claims from Redis, makes each body from its record, checks the address, and records the
attempt. The receiver is a process that answers 204 at once.
"""

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from benchmarks.common import client, drained, process, stack
from sluice.ledger.deliveries import RedisDeliveries
from sluice.ledger.predictions import RedisLedger
from sluice.prediction import Submission
from sluice.settings import QueueSettings, WebhooksSettings
from sluice.webhooks.signing import new_secret, signature

COUNT = 1500
CONCURRENCY = 20
ROUNDS = 5
QUEUE = "bench"
_BOX = {
    "x": 1.5,
    "y": 2.5,
    "width": 30.25,
    "height": 40.75,
    "confidence": 0.875,
    "class": "qr_code",
    "class_id": 1,
}
OUTPUT = {"image": {"width": 1280, "height": 960}, "predictions": [_BOX] * 4}
_BODY_BYTES = 1500  # about the size of the bodies that the sender makes of OUTPUT


def main() -> None:
    ratios = []
    with stack("redis") as running, _receiver() as url:
        redis = client(running)
        for _ in range(ROUNDS):
            bare = _bare(url)
            redis.flushall()
            _file(RedisLedger(redis, QueueSettings(name=QUEUE)), url)
            ours = _sender(
                RedisDeliveries(redis, QUEUE, WebhooksSettings()), running.addresses.redis
            )
            ratios.append(ours / bare)
            print(
                f"bare loop {bare:.0f}/s, sender {ours:.0f}/s, ratio {ratios[-1]:.2f}", flush=True
            )
    print(f"median ratio {statistics.median(ratios):.2f}", flush=True)


def _file(ledger: RedisLedger, url: str) -> None:
    """Create predictions that have ended, each with a webhook for its end."""
    submission = Submission(
        model="codes", webhook=url, webhook_events=("completed",), base_url="http://127.0.0.1:8080"
    )
    for number in range(COUNT):
        ledger.create(f"p{number}", submission)
        claim = ledger.claim(f"w{number}", 60)
        assert claim is not None
        ledger.succeed(claim, OUTPUT, {"predict_time": 0.05})


def _sender(deliveries: RedisDeliveries, redis_url: str) -> float:
    environment = {
        "SLUICE_REDIS_URL": redis_url,
        "SLUICE_QUEUE_NAME": QUEUE,
        "SLUICE_NETGUARD_ALLOW": "127.0.0.1/32",
        "SLUICE_WEBHOOKS_CONCURRENCY": str(CONCURRENCY),
        "SLUICE_WEBHOOKS_MAX_PER_RECEIVER": str(CONCURRENCY),
    }
    with process("-m", "worker", "webhooks", environment=environment):
        return drained(deliveries.waiting, COUNT)


def _bare(url: str) -> float:
    command = [sys.executable, "-m", "benchmarks.webhooks", "bare", url]
    return float(
        subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ).stdout
    )


@contextmanager
def _receiver() -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.webhooks", "receive"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(running.stdout.readline())}/hook"
        finally:
            running.terminate()


async def _post_all(url: str) -> float:
    secret = new_secret()
    bodies = iter(
        [
            (f"p{number}_completed", b'{"data":"' + b"x" * _BODY_BYTES + b'"}')
            for number in range(COUNT)
        ]
    )
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=CONCURRENCY)) as http:

        async def post() -> None:
            for name, body in bodies:
                stamp = int(time.time())
                signed = {"webhook-signature": signature(name, stamp, body, [secret])}
                headers = {
                    "Content-Type": "application/json",
                    "webhook-id": name,
                    "webhook-timestamp": str(stamp),
                } | signed
                assert (await http.post(url, content=body, headers=headers)).status_code == 204

        started = time.perf_counter()
        await asyncio.gather(*(post() for _ in range(CONCURRENCY)))
        return COUNT / (time.perf_counter() - started)


async def _receive() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(
                    int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
                )
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1] == "bare":
        print(asyncio.run(_post_all(sys.argv[2])))
    else:
        asyncio.run(_receive())
