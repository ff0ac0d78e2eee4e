"""The clinic's connection to the hub. flwr is imported in `fleet_link` alone."""

import os

# Before flwr is imported: no telemetry, no look for updates.
os.environ.update(FLWR_TELEMETRY_ENABLED="0", FLWR_DISABLE_UPDATE_CHECK="1")
