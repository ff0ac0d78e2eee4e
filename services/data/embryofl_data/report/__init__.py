"""The data report: what a clinic's folder is worth, before anything is sent."""

from embryofl_data.report.facts import data_summary
from embryofl_data.report.finding import Finding, Shown, Verdict
from embryofl_data.report.report import Report
from embryofl_data.report.run import check_folder, check_to_join

__all__ = ["Finding", "Report", "Shown", "Verdict", "check_folder", "check_to_join", "data_summary"]
