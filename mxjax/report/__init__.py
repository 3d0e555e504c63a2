"""The report of a run: one HTML page that loads nothing, readable offline, on a phone, and half-way through.

It reads the files of a workdir and nothing else: no model, no device, so it can be made beside a run that is going.
"""

from mxjax.report.page import write_report

__all__ = ["write_report"]
