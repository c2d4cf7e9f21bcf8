"""The panels of Grafana's dashboards, and their queries; `tools/dashboards.py` writes them."""

from typing import NamedTuple

_RATE = "[$__rate_interval]"


class Panel(NamedTuple):
    """One graph. A query is a legend and an expression."""

    title: str
    unit: str
    """One of Grafana's units."""
    description: str
    queries: dict[str, str]


def _quantile(share: float, name: str, *by: str) -> str:
    labels = ", ".join(("le", *by))
    return f"histogram_quantile({share}, sum by ({labels}) (rate({name}_bucket{_RATE})))"


def _rate(name: str, *by: str) -> str:
    labels = f" by ({', '.join(by)})" if by else ""
    return f"sum{labels} (rate({name}{_RATE}))"


SERVICE = [
    Panel(
        "Submissions",
        "reqps",
        "Submissions that were accepted, by priority.",
        {"{{priority}}": _rate("sluice_predictions_accepted_total", "priority")},
    ),
    Panel(
        "Refusals",
        "reqps",
        "Submissions that were refused, by the code of the problem.",
        {"{{code}}": f"{_rate('sluice_predictions_refused_total', 'code')} > 0"},
    ),
    Panel(
        "Ended predictions",
        "ops",
        "Predictions that workers ended, by status.",
        {"{{status}}": _rate("sluice_predictions_ended_total", "status")},
    ),
    Panel(
        "From submission to result",
        "s",
        "Time from the submission to the result of predictions that succeeded.",
        {
            f"{share:.0%}": _quantile(share, "sluice_prediction_seconds")
            for share in (0.5, 0.95, 0.99)
        },
    ),
    Panel(
        "Stages, 95 %",
        "s",
        "The slowest twentieth of each stage begins here.",
        {"{{stage}}": _quantile(0.95, "sluice_stage_seconds", "stage")},
    ),
    Panel(
        "Requests",
        "reqps",
        "Requests of HTTP by status.",
        {"{{status}}": _rate("sluice_http_requests_total", "status")},
    ),
    Panel(
        "Time of requests, 95 %",
        "s",
        "Long polls and streams count the time that they wait.",
        {"{{method}} {{route}}": _quantile(0.95, "sluice_http_request_seconds", "method", "route")},
    ),
    Panel(
        "Connections",
        "short",
        "Open connections of clients, and the long polls and streams among them.",
        {
            "connections": "sum(sluice_http_connections)",
            "long polls and streams": "sum(sluice_http_followers)",
        },
    ),
    Panel(
        "Memory of processes",
        "bytes",
        "Memory in RAM of each process.",
        {
            "{{job}} {{instance}}": "process_resident_memory_bytes"
            '{job=~"api|worker|keeper|webhooks"}'
        },
    ),
    Panel(
        "Processor",
        "percentunit",
        "Share of one core that each process uses.",
        {
            "{{job}} {{instance}}": f"rate(process_cpu_seconds_total"
            f'{{job=~"api|worker|keeper|webhooks"}}{_RATE})'
        },
    ),
    Panel(
        "Processes that answer",
        "short",
        "Targets that answer Prometheus, by job.",
        {"{{job}}": 'sum by (job) (up{job=~"api|worker|keeper|webhooks|triton"})'},
    ),
    Panel(
        "Alerts",
        "short",
        "Alerts that fire now. The runbook has a section for each.",
        {"{{alertname}}": 'count by (alertname) (ALERTS{alertstate="firing"}) or vector(0)'},
    ),
]
QUEUE = [
    Panel(
        "Backlog",
        "short",
        "Predictions that are queued or running.",
        {"backlog": "max(sluice_queue_backlog)", "running": "max(sluice_queue_running)"},
    ),
    Panel(
        "Ready, by priority",
        "short",
        "Predictions that wait only for a worker.",
        {"{{priority}}": "max by (priority) (sluice_queue_ready)"},
    ),
    Panel(
        "Age of the first that is ready",
        "s",
        "Time since the prediction that has waited longest became ready.",
        {"{{priority}}": "max by (priority) (sluice_queue_ready_oldest_seconds)"},
    ),
    Panel(
        "Set apart",
        "short",
        "Predictions that wait for a retry, must run alone, or are dead letters.",
        {
            "wait for a retry": "max(sluice_queue_delayed)",
            "must run alone": "max(sluice_queue_alone)",
            "dead letters": "max(sluice_queue_dead_letters)",
        },
    ),
    Panel(
        "Workers",
        "short",
        "Workers with a heartbeat, and those that lack Triton or the images' store.",
        {
            "alive": "max(sluice_queue_workers)",
            "troubled": "max(sluice_queue_troubled_workers)",
        },
    ),
    Panel(
        "Busy share of workers",
        "percentunit",
        "Predictions that run, as a share of what the workers could run.",
        {"busy": "sum(sluice_worker_running) / sum(sluice_worker_slots)"},
    ),
    Panel(
        "Attempts",
        "ops",
        "Attempts by their outcome.",
        {"{{outcome}}": _rate("sluice_attempts_total", "outcome")},
    ),
    Panel(
        "Lapses, aborts, dead letters",
        "short",
        "What sweeps put right in the last 15 minutes.",
        {
            "lapsed leases": "sum(increase(sluice_leases_lapsed_total[15m]))",
            "aborted": "sum(increase(sluice_predictions_aborted_total[15m]))",
            "dead letters": "sum(increase(sluice_dead_letters_total[15m]))",
        },
    ),
    Panel(
        "Used share of the nearest bound",
        "percentunit",
        "The queue's bounds are in predictions, bytes and memory. At 100 % the api refuses.",
        {"used": "max(sluice_queue_fill_ratio)"},
    ),
    Panel(
        "Memory of Redis",
        "bytes",
        "Used memory and maxmemory of each Redis.",
        {
            "{{store}} used": "max by (store) (sluice_redis_used_memory_bytes)",
            "{{store}} maxmemory": "max by (store) (sluice_redis_max_memory_bytes)",
        },
    ),
    Panel(
        "Round trips to Redis",
        "ops",
        "Calls of each kind of process.",
        {"{{job}}": _rate("sluice_redis_round_trip_seconds_count", "job")},
    ),
    Panel(
        "Mean time of a round trip",
        "s",
        "Mean time until Redis's first answer.",
        {
            "{{job}}": f"{_rate('sluice_redis_round_trip_seconds_sum', 'job')}"
            f" / {_rate('sluice_redis_round_trip_seconds_count', 'job')}"
        },
    ),
    Panel(
        "Errors of Redis",
        "ops",
        "Calls to Redis that failed, by the reason.",
        {"{{job}} {{reason}}": _rate("sluice_redis_errors_total", "job", "reason")},
    ),
    Panel(
        "Rounds of keepers",
        "ops",
        "Sweeps of workers and keepers by their result.",
        {"{{result}}": _rate("sluice_sweeps_total", "result")},
    ),
]
WEBHOOKS = [
    Panel(
        "Open deliveries",
        "short",
        "Deliveries that are not settled, and those among them that are due now.",
        {"open": "max(sluice_deliveries_open)", "due": "max(sluice_deliveries_due)"},
    ),
    Panel(
        "Age of the oldest",
        "s",
        "Time since the first attempt at the oldest open delivery.",
        {"oldest": "max(sluice_deliveries_oldest_seconds)"},
    ),
    Panel(
        "Set aside",
        "short",
        "Deliveries that are kept after they were given up, or stopped by a 410.",
        {"set aside": "max(sluice_deliveries_set_aside)"},
    ),
    Panel(
        "Attempts",
        "ops",
        "Attempts at deliveries by their outcome.",
        {"{{outcome}}": _rate("sluice_delivery_attempts_total", "outcome")},
    ),
    Panel(
        "Failures",
        "ops",
        "Failed attempts by the reason. The senders' logs name the deliveries.",
        {"{{reason}}": _rate("sluice_delivery_failures_total", "reason")},
    ),
    Panel(
        "Age at delivery",
        "s",
        "Time from the event to the attempt that delivered it.",
        {f"{share:.0%}": _quantile(share, "sluice_delivery_age_seconds") for share in (0.5, 0.95)},
    ),
    Panel(
        "Time of an attempt",
        "s",
        "Time until the receiver's answer, or until the attempt was given up.",
        {
            f"{share:.0%}": _quantile(share, "sluice_delivery_attempt_seconds")
            for share in (0.5, 0.95)
        },
    ),
    Panel(
        "Busy share of senders",
        "percentunit",
        "Attempts under way, as a share of what the senders could make.",
        {"busy": "sum(sluice_sender_running) / sum(sluice_sender_slots)"},
    ),
]
TRITON = [
    Panel(
        "Inferences",
        "ops",
        "Images that Triton inferred, by model.",
        {"{{model}}": _rate("nv_inference_count", "model")},
    ),
    Panel(
        "Failures in Triton",
        "ops",
        "Requests that Triton counts as failed, by model.",
        {"{{model}}": _rate("nv_inference_request_failure", "model")},
    ),
    Panel(
        "Errors that workers met",
        "ops",
        "Calls to Triton that failed, by the reason. Some are repeated at once.",
        {"{{reason}}": _rate("sluice_triton_errors_total", "reason")},
    ),
    Panel(
        "Waiting in Triton",
        "short",
        "Requests that wait inside Triton, by model.",
        {"{{model}}": "sum by (model) (nv_inference_pending_request_count)"},
    ),
    Panel(
        "Images in a batch",
        "short",
        "Mean number of images that Triton infers together.",
        {
            "{{model}}": f"{_rate('nv_inference_count', 'model')}"
            f" / {_rate('nv_inference_exec_count', 'model')}"
        },
    ),
    Panel(
        "Mean time in Triton",
        "µs",
        "Mean time of a request: in Triton's queue, and in the network.",
        {
            "{{model}} queue": f"{_rate('nv_inference_queue_duration_us', 'model')}"
            f" / {_rate('nv_inference_request_success', 'model')}",
            "{{model}} inference": f"{_rate('nv_inference_compute_infer_duration_us', 'model')}"
            f" / {_rate('nv_inference_request_success', 'model')}",
        },
    ),
    Panel(
        "Inference as workers see it",
        "s",
        "Time of the stage `inference`, by model.",
        {
            "{{model}} 95%": "histogram_quantile(0.95, sum by (le, model) "
            f'(rate(sluice_stage_seconds_bucket{{stage="inference"}}{_RATE})))'
        },
    ),
    Panel(
        "Open breakers",
        "short",
        "Workers that claim nothing, since Triton or the images' store failed.",
        {"open": "sum(sluice_breaker_open)"},
    ),
]
DASHBOARDS = {"service": SERVICE, "queue": QUEUE, "webhooks": WEBHOOKS, "triton": TRITON}
