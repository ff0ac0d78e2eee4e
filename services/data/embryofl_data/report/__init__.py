"""The data check and its report: what a clinic's folder is worth, before anything is sent. Needs the extra `report`.

Start at `run`. This file imports nothing: worker processes that only measure images load neither scikit-learn nor Jinja2.
"""
