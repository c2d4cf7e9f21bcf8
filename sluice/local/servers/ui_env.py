"""The page's own virtual environment: Gradio pins another Pillow than the service has."""

from pathlib import Path

from sluice.local.servers.venv import Install, Progress, Venv, beside

REQUIREMENTS = Path(__file__).with_name("ui.txt")


def ensure(
    directory: Path | None = None,
    progress: Progress = lambda line: None,
    install: Install | None = None,
) -> Path:
    """Make the environment unless a good one is there already, and return its Python.

    Raises LocalStackError when the installation fails.
    """
    folder = (directory or beside("ui")).absolute()
    Venv("the page's environment", REQUIREMENTS, "about 100 MB", folder).ensure(progress, install)
    return folder / "bin" / "python"


def link_packages(directory: Path) -> None:
    """Make `directory` a folder with nothing but the packages `sluice` and `ui`, as links.

    The page's Python imports both from there. The rest of Sluice's environment stays out.
    Older links are replaced.
    """
    directory.mkdir(parents=True, exist_ok=True)
    checkout = Path(__file__).resolve().parents[3]
    for name in ("sluice", "ui"):
        link = directory / name
        link.unlink(missing_ok=True)
        link.symlink_to(checkout / name)
