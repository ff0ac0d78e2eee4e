"""The data report: what a clinic's folder is worth, before anything is sent."""

from embryofl_data.report.facts import data_summary
from embryofl_data.report.finding import Example, Finding, Verdict
from embryofl_data.report.report import DataReport
from embryofl_data.report.run import check_folder, check_to_join

__all__ = ["Finding", "DataReport", "Example", "Verdict", "check_folder", "check_to_join", "data_summary"]
