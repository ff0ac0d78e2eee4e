"""Public embryo data sets from their published addresses. Start at `run`."""
