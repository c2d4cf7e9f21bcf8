"""The metrics of every process, by prometheus_client: names, labels, and how they are served."""
