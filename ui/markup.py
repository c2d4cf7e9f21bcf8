"""Pieces of HTML that several tabs share. All text of others is escaped here."""

from datetime import datetime
from html import escape
from pathlib import Path
from urllib.parse import urlsplit

from sluice.client import ServiceError
from ui.session import sentence

PICK = Path(__file__).with_name("pick.js").read_text()
"""The script of a `gr.HTML` with buttons for entries."""


def notice(text: str, *, is_error: bool = False) -> str:
    """A sentence for a person, which screen readers speak when it changes."""
    kind = "error" if is_error else "note"
    return f'<p class="notice {kind}" role="status">{escape(text)}</p>'


def error_notice(error: ServiceError) -> str:
    """An error as a notice. A call for operators says how to become one."""
    if error.code == "forbidden":
        return notice("This part needs an operator's key.", is_error=True)
    return notice(sentence(error), is_error=True)


def button(id_: str, text: str) -> str:
    """A button for one entry. With PICK, the click is the event `select` with the entry's `id`."""
    return f'<button type="button" class="pick" data-id="{escape(id_)}">{escape(text)}</button>'


def table(caption: str, head: list[str], rows: list[list[object]]) -> str:
    """A table with headers, which scrolls sideways on a narrow screen."""
    headers = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(text_of(cell))}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{headers}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def text_of(value: object) -> str:
    """A value as text: nothing for None, and at most four digits of a fraction."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def time_of(at: datetime | str | None) -> str:
    """A time in UTC, to the second; nothing for None."""
    if at is None:
        return ""
    moment = datetime.fromisoformat(at) if isinstance(at, str) else at
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def host_of(url: str) -> str:
    """The host of a URL. The rest may hold a secret."""
    return urlsplit(url).netloc.rpartition("@")[2]
