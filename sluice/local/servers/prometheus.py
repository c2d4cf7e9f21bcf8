"""A configuration with which a Prometheus scrapes the embedded stack."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sluice.local.config import Addresses
from sluice.local.paths import CHECKOUT

#: Beside a checkout there are alerts too. A wheel has none.
_RULES = CHECKOUT / "monitoring" / "rules.yml"


def write_config(folder: Path, addresses: Addresses) -> None:
    """Write `prometheus.yml` into `folder`. JSON is YAML too."""
    text = json.dumps(config(addresses, _RULES if _RULES.is_file() else None), indent=2)
    (folder / "prometheus.yml").write_text(f"{text}\n")


def config(addresses: Addresses, rules: Path | None, interval: str = "5s") -> dict[str, Any]:
    """The configuration; the jobs have the names that Compose and Kubernetes use too."""
    jobs: dict[str, list[str]] = {"api": [addresses.api], "triton": [addresses.metrics]}
    for name, url in addresses.process_metrics.items():
        jobs.setdefault(name.partition("-")[0], []).append(url)
    return {
        "global": {"scrape_interval": interval, "evaluation_interval": interval},
        "rule_files": [str(rules)] if rules else [],
        "scrape_configs": [
            {
                "job_name": job,
                "static_configs": [{"targets": [urlsplit(url).netloc for url in urls]}],
            }
            for job, urls in jobs.items()
        ],
    }
