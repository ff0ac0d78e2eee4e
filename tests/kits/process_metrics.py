"""Metrics of the process itself, from `prometheus_client.ProcessCollector`, in both exporters (Linux)."""

PROCESS = (
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_virtual_memory_bytes",
    "process_open_fds",
    "process_max_fds",
    "process_start_time_seconds",
)
