"""The official clients of Replicate, in Python and in JavaScript, pointed at the live stack."""

import base64
import io
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import replicate
from replicate.exceptions import ModelError, ReplicateError
from replicate.pagination import paginate
from replicate.prediction import Prediction

from sluice.access.keys_file import KeysFile
from sluice.webhooks.payload import payload
from sluice.webhooks.signing import new_secret, signature
from tests.integration.test_bad_input import NOISE
from tests.support.live import Live
from tests.support.paths import ROOT
from tests.support.png import with_pixels, zeroed
from tests.support.servers import free_port, stopped

pytestmark = pytest.mark.integration
SAMPLE = sorted((ROOT / "samples").glob("*.jpg"))[0]
URI = "data:image/jpeg;base64," + base64.b64encode(SAMPLE.read_bytes()).decode()
MISSING = "sluice/cats"


@pytest.fixture(scope="module")
def api(live: Live) -> Iterator[replicate.Client]:
    client = replicate.Client(api_token="any", base_url=live.api)
    client.poll_interval = 0.05
    yield client
    client._client.close()


def _found(output: dict[str, Any]) -> list[Any]:
    """The detections of an output, without their ids, which differ each time."""
    assert set(output) == {"image", "predictions"}
    assert output["predictions"]
    return [{**entry, "detection_id": ""} for entry in output["predictions"]]


def _wait(prediction: Prediction) -> Prediction:
    """The client's own `wait`, with a deadline."""
    until = time.monotonic() + 60
    while prediction.status not in ("succeeded", "failed", "canceled"):
        assert time.monotonic() < until, prediction
        time.sleep(0.05)
        prediction.reload()
    return prediction


def test_a_prediction_is_created_awaited_and_read(api: replicate.Client) -> None:
    made = api.predictions.create(version="codes", input={"image": URI, "confidence": 0.3})
    assert made.status in ("starting", "processing", "succeeded")
    assert made.urls is not None
    assert made.urls["get"].endswith(f"/v1/predictions/{made.id}")
    made.wait()
    assert made.status == "succeeded"
    again = api.predictions.get(made.id)
    assert again.output == made.output
    assert again.input is not None
    assert again.input["confidence"] == 0.3
    assert again.metrics is not None
    assert again.metrics["predict_time"] > 0
    assert again.logs


def test_run_accepts_every_way_to_name_a_model(api: replicate.Client) -> None:
    """`run` waits for the answer, or polls where waiting is off."""
    model, given = api.models.get("sluice/codes"), {"image": URI}
    outputs = [
        api.run("sluice/codes", input=given),
        api.run("sluice/codes:codes", input=given),
        api.run("sluice/codes", input=given, wait=False),
        api.run(model, input=given),
        _wait(api.predictions.create(model="sluice/codes", input=given)).output,
        _wait(api.predictions.create(version=model.latest_version, input=given)).output,
        _wait(api.models.predictions.create(model=("sluice", "codes"), input=given)).output,
    ]
    found = [_found(output) for output in outputs]
    assert all(one == found[0] for one in found)


def test_predictions_are_listed_through_all_pages(api: replicate.Client) -> None:
    made = [
        api.predictions.create(version="codes", input={"image": URI}, wait=30).id for _ in range(3)
    ]
    page = api.predictions.list()
    assert [one.id for one in page.results[:3]] == made[::-1]
    pages = [api.predictions.list("/v1/predictions?limit=2")]
    pages += itertools.islice(
        paginate(lambda cursor: api.predictions.list(pages[0].next if cursor is ... else cursor)), 1
    )
    assert [one.id for page in pages for one in page.results][:3] == made[::-1]
    assert len(pages) == 2
    assert pages[1].previous is not None
    assert [one.id for one in api.predictions.list(pages[1].previous).results] == [
        one.id for one in pages[0].results
    ]


def test_a_prediction_is_canceled(live: Live, api: replicate.Client) -> None:
    with stopped(*live.worker_pids()):
        made = [api.predictions.create(version="codes", input={"image": URI}) for _ in range(5)]
        canceled = api.predictions.cancel(made[-1].id)
        assert canceled.status == "canceled"
        made[-2].cancel()
        assert made[-2].status == "canceled"
    with pytest.raises(ReplicateError, match="ended already") as caught:
        made[-1].cancel()
    assert caught.value.status == 409
    assert {_wait(one).status for one in made[:-2]} == {"succeeded"}
    assert api.predictions.get(made[-1].id).output is None


def test_a_predictions_stream_is_read_to_its_end(api: replicate.Client) -> None:
    made = api.predictions.create(version="codes", input={"image": URI}, stream=True)
    events = list(made.stream())
    kinds = [event.event.value for event in events]
    assert set(kinds) == {"logs", "output", "done"}
    assert kinds[-2:] == ["output", "done"]
    assert json.loads(events[-2].data) == api.predictions.get(made.id).output
    assert (
        "".join(event.data for event in events if event.event.value == "logs")
        == api.predictions.get(made.id).logs
    )
    streamed = [str(event) for event in api.stream("sluice/codes", input={"image": URI})]
    assert _found(json.loads("".join(streamed)))


@pytest.mark.parametrize("strategy", ["base64", "url", None])
def test_an_open_file_is_accepted_as_input(api: replicate.Client, strategy: Any) -> None:
    """By default the client uploads a file first, and submits its URL."""
    before = len(api.files.list())
    with SAMPLE.open("rb") as file:
        output = api.run("sluice/codes", input={"image": file}, file_encoding_strategy=strategy)
    assert _found(output) == _found(api.run("sluice/codes", input={"image": URI}))
    assert len(api.files.list()) == before + (strategy != "base64")


def test_files_are_created_listed_read_and_deleted(api: replicate.Client) -> None:
    made = api.files.create(SAMPLE, metadata={"of": ["mine"]})
    assert (made.name, made.content_type, made.size) == (
        SAMPLE.name,
        "image/jpeg",
        SAMPLE.stat().st_size,
    )
    assert made.metadata == {"of": ["mine"]}
    assert api.files.get(made.id) == made
    assert made in api.files.list()
    prediction = api.predictions.create(version="codes", input={"image": made.urls["get"]}, wait=30)
    assert prediction.status == "succeeded"
    assert api.files.delete(made.id)
    for call in (api.files.get, api.files.delete):
        with pytest.raises(ReplicateError) as caught:
            call(made.id)
        assert caught.value.status == 404
    with pytest.raises(ReplicateError, match="upload it again"):
        api.predictions.create(version="codes", input={"image": made.urls["get"]})


def test_models_and_their_versions_are_read(api: replicate.Client) -> None:
    codes = api.models.get("sluice", "codes")
    assert (codes.id, codes.visibility) == ("sluice/codes", "private")
    assert "codes" in [model.name for model in api.models.list()]
    version = codes.versions.get("codes")
    assert version == codes.latest_version
    assert codes.versions.list().results == [version]
    assert "confidence" in version.openapi_schema["components"]["schemas"]["Input"]["properties"]
    runs = codes.run_count
    api.run("sluice/codes", input={"image": URI})
    until = time.monotonic() + 30
    while api.models.get("sluice/codes").run_count <= runs:
        assert time.monotonic() < until
        time.sleep(0.2)


@pytest.mark.parametrize(
    ("call", "status", "words"),
    [
        (
            lambda api: api.run("sluice/codes", input={"image": "data:text/plain;base64,aGVsbG8="}),
            415,
            "JPEG",
        ),
        (
            lambda api: api.run("sluice/codes", input={"image": URI, "confidence": 2}),
            422,
            "confidence",
        ),
        (lambda api: api.run("sluice/codes", input={}), 422, "image"),
        (lambda api: api.run(MISSING, input={"image": URI}), 422, "there is"),
        (lambda api: api.models.get(MISSING), 404, "codes"),
        (lambda api: api.predictions.get("nothing"), 404, "nothing"),
    ],
    ids=["not-an-image", "parameter", "no-image", "model", "get-model", "get"],
)
def test_errors_carry_the_status_and_the_detail(
    api: replicate.Client, call: Callable[[replicate.Client], Any], status: int, words: str
) -> None:
    with pytest.raises(ReplicateError) as caught:
        call(api)
    assert caught.value.status == status
    assert words in (caught.value.detail or "")
    assert caught.value.title
    assert (caught.value.type or "").startswith("urn:sluice:error:")


def test_a_run_of_a_damaged_image_raises_a_model_error(api: replicate.Client) -> None:
    """Only a worker finds the damaged pixels of a PNG."""
    import cv2

    png = with_pixels(cv2.imencode(".png", NOISE)[1].tobytes(), zeroed)
    with pytest.raises(ModelError, match="can't be decoded"):
        api.run("sluice/codes", input={"image": io.BytesIO(png)})
    made = api.predictions.create(version="codes", input={"image": io.BytesIO(png)})
    with pytest.raises(RuntimeError, match="can't be decoded"):
        list(made.stream())


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_asynchronous_methods_work(api: replicate.Client, anyio_backend: str) -> None:
    output = await api.async_run(
        "sluice/codes:codes", input={"image": io.BytesIO(SAMPLE.read_bytes())}
    )
    assert _found(output) == _found(api.run("sluice/codes", input={"image": URI}))
    made = await api.predictions.async_create(model="sluice/codes", input={"image": URI})
    kinds = [event.event.value async for event in made.async_stream()]
    assert kinds[-1] == "done"
    await made.async_wait()
    assert made.status == "succeeded"
    assert made.id in [one.id for one in (await api.predictions.async_list()).results]
    await api._async_client.aclose()


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the npm package that the lock file names."""
    for command in ("node", "npm"):
        if shutil.which(command) is None:
            pytest.skip(f"there is no {command} here")
    directory = tmp_path_factory.mktemp("js") / "package"
    shutil.copytree(Path(__file__).parent / "replicate_js", directory)
    command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--omit=optional"]
    done = subprocess.run(
        command, cwd=directory, capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode:
        pytest.skip(f"npm can't install the package: {done.stderr.strip().splitlines()[-1][:200]}")
    return directory


@pytest.fixture
def keyed(live: Live, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The URL of a second api on the same queue, with keys required, and a key."""
    port, file = free_port(), tmp_path / "keys.json"
    key = KeysFile(file).create("mine", None, None, None)
    settings = {
        "SLUICE_REDIS_URL": live.redis,
        "SLUICE_BLOBS_URL": live.redis,
        "SLUICE_TRITON_GRPC_URL": live.triton_grpc,
        "SLUICE_TRITON_HTTP_URL": live.triton_http,
        "SLUICE_API_PORT": str(port),
        "SLUICE_API_KEYS_FILE": str(file),
    }
    with subprocess.Popen([sys.executable, "-m", "api"], env=os.environ | settings) as process:
        try:
            until = time.monotonic() + 60
            while not _is_up(f"http://127.0.0.1:{port}"):
                assert time.monotonic() < until
                assert process.poll() is None
                time.sleep(0.1)
            yield {"api": f"http://127.0.0.1:{port}", "key": key}
        finally:
            process.terminate()


def _is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz").is_success
    except httpx.TransportError:
        return False


def test_the_javascript_client_works(live: Live, package: Path, keyed: dict[str, str]) -> None:
    now = time.time()
    secret, body = new_secret(), payload("prediction.completed", now, {"id": "a", "text": "ä"})
    signed = {
        "body": body.decode(),
        "secret": secret,
        "headers": {
            "webhook-id": "msg_1",
            "webhook-timestamp": str(int(now)),
            "webhook-signature": signature("msg_1", int(now), body, [new_secret(), secret]),
        },
    }
    given = {
        "api": live.api,
        "sample": str(SAMPLE),
        "webhook": signed,
        "workers": live.worker_pids(),
        "keyed": keyed,
    }
    command = ["node", "--test-reporter=spec", "--test", "client.test.mjs"]
    environment = {**os.environ, "SLUICE_TEST": json.dumps(given)}
    done = subprocess.run(
        command,
        cwd=package,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
