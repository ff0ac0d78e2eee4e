"""The clinic's own page, on loopback: data report, what was sent, scoring a cohort. No image leaves the machine."""
