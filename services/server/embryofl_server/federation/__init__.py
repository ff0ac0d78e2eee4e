"""Runs: the round loop, what it exchanges with clinics, and how updates become a model."""

import os

# Before flwr is imported: no telemetry, no look for updates, nothing written to a home folder.
os.environ.update(FLWR_TELEMETRY_ENABLED="0", FLWR_DISABLE_UPDATE_CHECK="1")
