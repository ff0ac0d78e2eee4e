"""Differential privacy: what noise proves (`accountant`), and clipping by patient (`gradient`), and what attacks
prove (`membership`)."""
