"""Reading the built site: its pages, their anchors and links, and what they load."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

ORIGIN = "http://site"
#: Attributes by which a browser loads something without a click.
LOADING = {
    ("audio", "src"),
    ("embed", "src"),
    ("iframe", "src"),
    ("img", "src"),
    ("img", "srcset"),
    ("link", "href"),
    ("object", "data"),
    ("script", "src"),
    ("source", "src"),
    ("source", "srcset"),
    ("use", "href"),
    ("video", "src"),
}


class Page(HTMLParser):
    """One page of the site. `url` is its place below `ORIGIN`."""

    def __init__(self, site: Path, path: Path) -> None:
        super().__init__()
        self.url = ORIGIN + "/" + path.relative_to(site).as_posix().removesuffix("index.html")
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.text = path.read_text()
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            if (tag, name) in LOADING and value:
                self.loads.append(urljoin(self.url, value))
            if (tag, name) == ("a", "href") and value:
                self.links.append(urljoin(self.url, value))


def read(site: Path) -> dict[str, Page]:
    """All pages, by their URL."""
    pages = [Page(site, path) for path in sorted(site.rglob("*.html"))]
    return {page.url: page for page in pages}


def foreign(pages: dict[str, Page]) -> list[str]:
    """Everything that a page loads from elsewhere."""
    return [
        f"{page.url}: {url}"
        for page in pages.values()
        for url in page.loads
        if not url.startswith((f"{ORIGIN}/", "data:"))
    ]


def broken(site: Path, pages: dict[str, Page]) -> list[str]:
    """Links, anchors and loaded files of the site itself that lead nowhere."""
    return [
        f"{page.url}: {url}"
        for page in pages.values()
        if not page.url.endswith("404.html")
        for url in (*page.links, *page.loads)
        if url.startswith(ORIGIN) and not _leads(site, pages, url)
    ]


def _leads(site: Path, pages: dict[str, Page], url: str) -> bool:
    parts = urlsplit(url)
    target = pages.get(f"{ORIGIN}{parts.path}")
    if target is None:
        return (site / unquote(parts.path).lstrip("/")).is_file()
    return not parts.fragment or unquote(parts.fragment) in target.anchors


def reachable(pages: dict[str, Page], start: str) -> set[str]:
    """The pages that a reader comes to from `start` by links."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        url = waiting.pop()
        if url in seen or url not in pages:
            continue
        seen.add(url)
        waiting += [link.partition("#")[0] for link in pages[url].links]
    return seen
