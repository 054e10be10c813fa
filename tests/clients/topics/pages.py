"""The pages: every one opened in Chromium, on a wide and a narrow screen, in light and dark, and what people do on them."""

import re
import shutil
import subprocess
from pathlib import Path

from kit.browser import drive
from kit.report import Report, ensure
from kit.server import Server

FOLDER = Path(__file__).resolve().parents[1] / "pages"
SECONDS_MAX = 900


def psql() -> str:
    """The client of the PostgreSQL that the server runs on."""
    places = sorted(str(place) for place in Path("/usr/lib/postgresql").glob("*/bin/psql"))
    return shutil.which("psql") or places[-1]


def link(server: Server, account: str) -> str:
    """A link that signs in an account's owner."""
    return re.search(r"http\S+/signin/link/\S+", server.tell("login-link", account))[0]


def run(report: Report, server: Server) -> None:
    server.tell("accounts", "create", "studio", "--plan", "pro")
    command = [psql(), "-q", "-v", "ON_ERROR_STOP=1", "-1", "-d", server.database_url(), "-f", FOLDER / "history.sql"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    with report.check("the account that has a history is one that could be"):
        ensure("The books are right." in server.tell("ledger", "verify"), "it could not")
    settings = {"PIOOY_URL": server.url, "PIOOY_LINK": link(server, "dev"), "PIOOY_STUDIO": link(server, "studio")}
    drive(report, FOLDER / "drive.mjs", SECONDS_MAX, settings)
