"""The pages: every one opened in Chromium, on a wide and a narrow screen, in light and dark, and what people do on them."""

import re
from pathlib import Path

from kit.browser import drive
from kit.report import Report
from kit.server import Server

DRIVER = Path(__file__).resolve().parents[1] / "pages/drive.mjs"
SECONDS_MAX = 900


def run(report: Report, server: Server) -> None:
    link = re.search(r"http\S+/signin/link/\S+", server.tell("login-link", "dev"))
    drive(report, DRIVER, SECONDS_MAX, {"PIOOY_URL": server.url, "PIOOY_LINK": link[0]})
