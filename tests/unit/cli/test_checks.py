"""The checks of `sluice doctor`, with a server in Triton's place."""

import json
from pathlib import Path

from sluice.cli.basic_checks import Level
from sluice.cli.checks import Places, triton
from sluice.settings import RedisAddress, Settings
from tests.support.loopback import Handler, serving


def test_the_steps_of_an_ensemble_are_no_models_of_their_own() -> None:
    names = ("street", "street.2.prepare", "street.2.network", "street.2.finish")
    index = [{"name": name, "version": "2", "state": "UNAVAILABLE"} for name in names]

    def answer(handler: Handler) -> None:
        answers = {"/v2": {"version": "2.51.0"}, "/v2/repository/index": index}
        handler.reply(body=json.dumps(answers.get(handler.path, {})).encode())

    with serving(answer) as server:
        address = f"http://127.0.0.1:{server.port}"
        places = Places(Settings(), RedisAddress(), address, address, None, Path())
        findings = [found for found in triton(places) if found.level is Level.WARNING]
    assert [found.text for found in findings] == ["street is not loaded: not loaded"]
