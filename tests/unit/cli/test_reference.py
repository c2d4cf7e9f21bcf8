"""The page about commands is current, and every command helps."""

import pytest

from sluice.cli.console import Exit
from sluice.cli.reference import commands, reference
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "reference" / "cli.md"
COMMANDS = dict(commands())
LIVE = "watch"
"""The only command that prints nothing for programs."""


def test_the_page_is_current() -> None:
    """If not: `python -m sluice.cli.reference > docs/reference/cli.md`."""
    assert PAGE.read_text() == reference()


def test_the_page_has_no_path_of_a_machine() -> None:
    assert str(ROOT) not in reference()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_an_example_and_a_meaning_for_each_option(name: str) -> None:
    command = COMMANDS[name]
    assert f"sluice {name}" in command.help
    assert [parameter.name for parameter in command.params if not parameter.help] == []


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - {LIVE}))
def test_a_command_prints_json(name: str) -> None:
    assert "--json" in {option for parameter in COMMANDS[name].params for option in parameter.opts}


@pytest.mark.parametrize("status", Exit)
def test_each_exit_status_is_explained(status: Exit) -> None:
    assert f"| {status.value} | " in reference()
