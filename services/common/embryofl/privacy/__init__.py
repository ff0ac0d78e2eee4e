"""Differential privacy: what noise proves (`accountant`), and clipping by patient (`gradient`), and what attacks
(`membership`) and guesses of canaries (`one_run`) prove."""
