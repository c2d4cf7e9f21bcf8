"""Writes Grafana's dashboards: `python -m tools.dashboards` after a change here.

The form is that of Grafana's dashboard JSON, schemaVersion 39:
https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
"""

import json
from pathlib import Path
from typing import Any

from tools.panels import DASHBOARDS, Panel

FOLDER = Path(__file__).resolve().parents[1] / "monitoring" / "dashboards"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
_WIDTH, _HEIGHT, _COLUMNS = 8, 8, 24


def dashboard(name: str, panels: list[Panel]) -> dict[str, Any]:
    """The dashboard as Grafana reads it."""
    return {
        "uid": f"sluice-{name}",
        "title": f"Sluice: {name}",
        "tags": ["sluice"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {
            "list": [
                {"name": "datasource", "label": "Prometheus", "type": "datasource"}
                | {"query": "prometheus"}
            ]
        },
        "links": [
            {"type": "dashboards", "title": "Sluice", "tags": ["sluice"], "asDropdown": False}
        ],
        "panels": [_panel(number, panel) for number, panel in enumerate(panels)],
    }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    row, column = divmod(number, _COLUMNS // _WIDTH)
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "gridPos": {"x": column * _WIDTH, "y": row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": DATASOURCE,
                "expr": expression,
                "legendFormat": legend,
                "exemplar": "_bucket" in expression,
            }
            for index, (legend, expression) in enumerate(panel.queries.items())
        ],
    }


def text(name: str) -> str:
    """The file of one dashboard."""
    document = dashboard(name, DASHBOARDS[name])
    return json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def main() -> None:
    """Write every file."""
    for name in DASHBOARDS:
        (FOLDER / f"{name}.json").write_text(text(name))


if __name__ == "__main__":
    main()
