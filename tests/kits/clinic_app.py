"""The clinic app without a network: behind its guard, with the links that it prints."""

from embryofl_clinic.app.access import Links
from embryofl_clinic.app.pages import Pages, create_app
from embryofl_clinic.settings import ClinicSettings
from embryofl_web.guard import Guard


def started_app(settings: ClinicSettings, printed: list[str]) -> Guard:
    """The app, which has printed its first link."""
    links = Links(printed.append)
    links.new_link()
    return create_app(Pages(settings), links)
