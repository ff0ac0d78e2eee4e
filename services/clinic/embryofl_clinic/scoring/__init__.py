"""Scores from the model of a finished run, computed at the clinic for the clinic. Nothing here talks to a hub."""
