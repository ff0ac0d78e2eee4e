"""The data report in the app: made in the background on request, shown until the next one."""

import logging
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

from embryofl.errors import UserError
from embryofl_clinic.texts import texts
from embryofl_data.report.page import body
from embryofl_data.report.run import check_folder

log = logging.getLogger("embryofl.app")


@dataclass(frozen=True)
class ReportState:
    """`doing` is the present step ("": none); `html` the last report, made at `time`; `error` a message."""

    doing: str = ""
    html: str = ""
    time: float = 0.0
    error: str = ""


class ReportService:
    """Makes one report at a time.

    Parameters
    ----------
    data_dir, cache_dir : Path
    """

    def __init__(self, data_dir: Path, cache_dir: Path) -> None:
        self._data_dir, self._cache_dir = data_dir, cache_dir
        self._lock = threading.Lock()
        self.state = ReportState()

    def begin(self) -> None:
        """Make a report, unless one is under way."""
        with self._lock:
            if self.state.doing:
                return
            self.state = replace(self.state, doing=texts.report.reading, error="")
        threading.Thread(target=self._make, name="report", daemon=True).start()

    def _make(self) -> None:
        def on_progress(what: str, done: int, total: int) -> None:
            self.state = replace(self.state, doing=texts.report.step.format(what=what, done=done, total=total))

        try:
            report = check_folder(self._data_dir, self._cache_dir, progress=on_progress)
            self.state = ReportState(html=body(report), time=time.time())
        except UserError as exc:
            self.state = replace(self.state, doing="", error=str(exc))
        except Exception:
            log.exception("the report failed")
            self.state = replace(self.state, doing="", error=texts.report.failed)
