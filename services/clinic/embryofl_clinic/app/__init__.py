"""The clinic app, on loopback: data report, what was sent, scoring a cohort. No image leaves the machine."""
