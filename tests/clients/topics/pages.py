"""The pages that need no key: every one opened in Chromium, on a wide and a narrow screen, in light and dark."""

from pathlib import Path

from kit.browser import drive
from kit.report import Report
from kit.server import Server

DRIVER = Path(__file__).resolve().parents[1] / "pages/drive.mjs"
SECONDS_MAX = 900


def run(report: Report, server: Server) -> None:
    drive(report, DRIVER, SECONDS_MAX, {"PIOOY_URL": server.url})
