"""Checks of the ways into the service: hosts, the URLs in answers, and bounds of proxies."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from sluice.settings import ApiSettings, LimitsSettings, UiSettings
from tests.k8s.world import World, environment, label, pod

_NGINX = "nginx.ingress.kubernetes.io"

_LIMITS = LimitsSettings()
_LARGEST = {
    # In JSON, an image is base64, which takes half as much again.
    "api": max(_LIMITS.batch_max_bytes, 1.5 * _LIMITS.max_bytes),
    "ui": UiSettings().max_image_bytes,
}


def reached(world: World) -> Iterator[str]:
    api = world.one("Deployment", "api")
    if api is None:
        return
    settings = environment(world, pod(api)["containers"][0])
    for item in world.all("Ingress"):
        spec, notes = item["spec"], item["metadata"].get("annotations", {})
        if not spec.get("ingressClassName"):
            yield f"{label(item)} is for no controller"
        url = urlsplit(settings.get("SLUICE_API_PUBLIC_URL", ""))
        hosts = {rule["host"] for rule in spec["rules"]}
        secured = {host for entry in spec.get("tls", []) for host in entry["hosts"]}
        if hosts != {url.hostname} or hosts != secured or url.scheme != "https":
            yield f"{label(item)} serves {hosts}, and answers name {url.geturl()}"
        body = re.fullmatch(r"(\d+)m", notes.get(f"{_NGINX}/proxy-body-size", ""))
        (path,) = spec["rules"][0]["http"]["paths"]
        service = path["backend"]["service"]["name"]
        if body is None or int(body[1]) << 20 < _LARGEST[service]:
            yield f"{label(item)} refuses bodies that the service takes"
        if service == "ui" and path["path"] != _prefix(world):
            yield f"{label(item)} serves a path that the page does not know"
        patience_s = float(notes.get(f"{_NGINX}/proxy-read-timeout", 60))
        if patience_s < ApiSettings().max_wait_s + 10:
            yield f"{label(item)} gives up before the api answers"
    for item in world.all("IngressRoute"):
        if not settings.keys() & {"SLUICE_API_PUBLIC_URL", "SLUICE_API_TRUSTED_PROXIES"}:
            yield f"{label(item)} may end TLS, and the URLs in answers would not know"


def _prefix(world: World) -> str | None:
    page = world.one("Deployment", "ui")
    assert page is not None
    return environment(world, pod(page)["containers"][0]).get("SLUICE_UI_ROOT_PATH")
