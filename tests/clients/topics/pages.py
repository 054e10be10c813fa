"""The pages: every one opened in Chromium, on a wide and a narrow screen, in light and dark, and what people do on them."""

import re
from pathlib import Path

from kit.browser import drive
from kit.report import Report, expect
from kit.server import Server

DRIVER = Path(__file__).resolve().parents[1] / "pages/drive.mjs"
SECONDS_MAX = 900


def run(report: Report, server: Server) -> None:
    # One of its own: whoever goes through it spends all credits.
    visited = Server(server.binary)
    try:
        visited.start()
        link = re.search(r"http\S+/signin/link/\S+", visited.tell("login-link", "dev"))
        drive(report, DRIVER, SECONDS_MAX, {"PIOOY_URL": visited.url, "PIOOY_LINK": link[0]})
        with report.check("the server logged no error and no panic"):
            expect(visited.complaints(), [], "complaints in its log")
    finally:
        visited.remove()
