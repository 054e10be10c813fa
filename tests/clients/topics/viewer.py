"""The view that shows tasks in the chat: opened in Chromium under a page that speaks the host's side of MCP Apps."""

from pathlib import Path

from kit.browser import drive
from kit.http_face import MCP_PATH
from kit.report import Report
from kit.server import Server

DRIVER = Path(__file__).resolve().parents[1] / "viewer/drive.mjs"
SECONDS_MAX = 600


def run(report: Report, server: Server) -> None:
    settings = {"PIOOY_KEY": server.test_key, "PIOOY_MCP_URL": server.url + MCP_PATH}
    drive(report, DRIVER, SECONDS_MAX, settings)
