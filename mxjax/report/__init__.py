"""The report of a run.

One HTML page that loads nothing, readable offline, on a phone, and half-way through. It reads the files of a workdir
and nothing else: no model, no device, so it can be made beside a run that is going.
"""

from mxjax.report.page import write_report
from mxjax.report.pictures import write_pictures
from mxjax.report.run_files import read_run
from mxjax.report.tables import summary

__all__ = ["read_run", "summary", "write_pictures", "write_report"]
