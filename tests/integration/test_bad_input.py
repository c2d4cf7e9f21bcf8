"""Bad input is refused with a problem that says what to change, and harms no worker."""

import base64
import struct
import zlib

import cv2
import httpx
import numpy as np
import pytest

from tests.support.client import Client
from tests.support.live import Live

pytestmark = pytest.mark.integration


def _png(width: int, height: int) -> bytes:
    """A PNG of one colour with one bit a pixel: a small file that unfolds to a huge image."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    rows = zlib.compress((b"\0" + bytes((width + 7) // 8)) * height, 9)
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


NOISE = np.random.default_rng(1).integers(0, 256, (300, 400, 3), np.uint8)
JPEG = cv2.imencode(".jpg", NOISE)[1].tobytes()


def _uri(data: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()


def _refused(answer: httpx.Response, status: int, code: str, *words: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["code"] == code
    assert problem["type"] == f"urn:sluice:error:{code}"
    for word in words:
        assert word in problem["detail"], problem["detail"]


@pytest.mark.parametrize(
    ("data", "status", "code", "words"),
    [
        pytest.param(b"", 415, "not_an_image", ["empty"], id="nothing"),
        pytest.param(
            b"FORM\0\0\0\x64ILBM" + bytes(100),
            415,
            "not_an_image",
            ["JPEG", "PNG"],
            id="another-format",
        ),
        pytest.param(b"%PDF-1.7 a document", 415, "not_an_image", [], id="a-document"),
        pytest.param(JPEG[:20], 422, "truncated_image", ["20 bytes"], id="half-a-header"),
        pytest.param(
            JPEG[: len(JPEG) // 2], 422, "truncated_image", ["ends after"], id="half-a-jpeg"
        ),
        pytest.param(
            cv2.imencode(".png", NOISE)[1].tobytes()[:-100],
            422,
            "truncated_image",
            [],
            id="cut-png",
        ),
        pytest.param(
            cv2.imencode(".webp", NOISE)[1].tobytes()[:-100],
            422,
            "truncated_image",
            [],
            id="cut-webp",
        ),
        pytest.param(
            cv2.imencode(".bmp", NOISE)[1].tobytes()[:-100],
            422,
            "truncated_image",
            [],
            id="cut-bmp",
        ),
        pytest.param(_png(30_000, 30_000), 413, "image_too_large", ["50,000,000"], id="bomb"),
    ],
)
def test_bad_images_are_refused_with_the_fitting_problem(
    live: Live, data: bytes, status: int, code: str, words: list[str]
) -> None:
    url = f"{live.api}/v1/predictions"
    _refused(
        httpx.post(url, content=data, headers={"Content-Type": "image/jpeg"}), status, code, *words
    )
    _refused(httpx.post(url, files={"image": data}), status, code, *words)
    if data:
        _refused(httpx.post(url, json={"input": {"image": _uri(data)}}), status, code, *words)


def test_a_tiny_file_of_huge_dimensions_is_refused() -> None:
    assert len(_png(30_000, 30_000)) < 150_000


def test_a_body_of_100_mb_is_refused_early(live: Live) -> None:
    """The declared length refuses it, or the bytes read, or `Expect` before any byte is sent."""
    url = f"{live.api}/v1/predictions"
    body, kind = bytes(100_000_000), {"Content-Type": "image/jpeg"}
    _refused(
        httpx.post(url, content=body, headers=kind, timeout=60),
        413,
        "image_too_large",
        "10,000,000 bytes",
    )
    chunks = (body[start : start + 1_000_000] for start in range(0, len(body), 1_000_000))
    _refused(httpx.post(url, content=chunks, headers=kind, timeout=60), 413, "image_too_large")
    _refused(httpx.post(url, files={"image": body}, timeout=60), 413, "image_too_large")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, ["input", "required"]),
        ({"input": {}}, ["input.image", "required"]),
        ({"input": {"image": 7}}, ["input.image", "string"]),
        ({"input": {"image": "desk.jpg"}}, ["data URI"]),
        ({"input": {"image": "data:image/jpeg;base64,***"}}, ["base64"]),
        ({"input": {"image": _uri(JPEG), "confidence": "0.5"}}, ["input.confidence", "number"]),
        (
            {"input": {"image": _uri(JPEG), "confidence": 1.5}},
            ["input.confidence", "less than or equal to 1"],
        ),
        ({"input": {"image": _uri(JPEG), "max_detections": 0}}, ["input.max_detections"]),
        ({"input": {"image": _uri(JPEG), "visualize": "yes"}}, ["input.visualize"]),
        ({"input": {"image": _uri(JPEG), "treshold": 1}}, ["input.treshold", "no such field"]),
        (
            {"input": {"image": _uri(JPEG), "classes": ["cat"]}},
            ["no class 'cat'", "qr_code, barcode, marker"],
        ),
        ({"input": {"image": _uri(JPEG), "classes": [3]}}, ["no class 3"]),
        (
            {"input": {"image": _uri(JPEG)}, "model": "codes", "version": "sluice/other"},
            ["not two different"],
        ),
        ([], ["object"]),
    ],
)
def test_bad_json_is_refused_with_the_fitting_problem(
    live: Live, body: object, words: list[str]
) -> None:
    _refused(httpx.post(f"{live.api}/v1/predictions", json=body), 422, "invalid_input", *words)


def test_an_unknown_model_is_refused_with_the_names_of_the_known(live: Live) -> None:
    answer = httpx.post(
        f"{live.api}/v1/predictions", json={"model": "yolo99", "input": {"image": _uri(JPEG)}}
    )
    _refused(answer, 422, "unknown_model", "yolo99", "codes")


def test_bad_forms_are_refused_with_the_fitting_problem(live: Live) -> None:
    url = f"{live.api}/v1/predictions"
    _refused(
        httpx.post(url, content=b"{", headers={"Content-Type": "application/json"}),
        422,
        "invalid_input",
        "JSON",
    )
    _refused(
        httpx.post(url, content=b"x", headers={"Content-Type": "text/plain"}),
        415,
        "unsupported_media_type",
        "multipart",
    )
    _refused(httpx.post(url), 415, "unsupported_media_type", "(none)")
    _refused(httpx.post(url, files={"photo": JPEG}), 422, "invalid_input", "'image'")
    _refused(
        httpx.post(url, content=b"x", headers={"Content-Type": "multipart/form-data"}),
        422,
        "invalid_input",
        "boundary",
    )
    _refused(
        httpx.post(f"{url}?confidence=high", content=JPEG, headers={"Content-Type": "image/png"}),
        422,
        "invalid_input",
    )
    _refused(
        httpx.post(f"{url}?size=9", content=JPEG, headers={"Content-Type": "image/png"}),
        422,
        "invalid_input",
        "size",
    )


def test_bad_ids_are_refused(live: Live) -> None:
    _refused(httpx.get(f"{live.api}/v1/predictions/aaaaaaaaaaaaaaaaaaaaaaaaaa"), 404, "not_found")
    _refused(httpx.get(f"{live.api}/v1/predictions/UPPER.case"), 422, "invalid_input")
    _refused(httpx.get(f"{live.api}/v1/predictions/aaaa?wait=-1"), 422, "invalid_input", "wait")
    _refused(httpx.get(f"{live.api}/v2/nothing"), 404, "not_found")
    _refused(httpx.delete(f"{live.api}/v1/predictions"), 405, "method_not_allowed")


def test_damaged_pixels_fail_the_prediction(live: Live, client: Client) -> None:
    """Header and end of the file are right, so only a decoder finds the damage."""
    png = bytearray(cv2.imencode(".png", NOISE)[1].tobytes())
    at = png.index(b"IDAT") + 100  # within one chunk, so that the chunks stay in step
    png[at : at + 40] = bytes(40)
    prediction = client.wait(client.submit(bytes(png))["id"], timeout_s=60)
    assert prediction["status"] == "failed"
    assert prediction["error_code"] == "not_an_image"
    assert "damaged" in prediction["error"]


def test_the_bad_input_above_killed_no_worker(live: Live, client: Client) -> None:
    before = live.pids()
    for data in (b"", JPEG[:100], _png(30_000, 30_000)):
        httpx.post(
            f"{live.api}/v1/predictions", content=data, headers={"Content-Type": "image/jpeg"}
        )
    assert client.wait(client.submit(JPEG)["id"], timeout_s=60)["status"] == "succeeded"
    assert live.pids() == before
