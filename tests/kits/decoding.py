"""What the data check does with a file's content in a worker of the sandbox, without measuring: that takes fifty times as long."""

from contextlib import AbstractContextManager

from embryofl_data.reading.decode import open_here
from embryofl_data.reading.sandbox import Reply
from embryofl_data.report.metadata import tags_of


def open_with_tags(data: bytes, large: AbstractContextManager[object]) -> Reply:
    """Facts and pixels; its metadata is read as well."""
    tags_of(data)
    return open_here(data, large)
