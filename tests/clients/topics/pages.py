"""The pages: every one opened in Chromium, on a wide and a narrow screen, in light and dark, and what people do on them."""

import json
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path

from kit.browser import drive
from kit.report import Report, ensure, expect
from kit.server import Server

FOLDER = Path(__file__).resolve().parents[1] / "pages"
SECONDS_MAX = 900


def operate(server: Server) -> None:
    """Leaves something for an operator to see: accounts, plans, grants, tasks that ended well and badly."""
    server.tell("plans", "set", "studio", "--submits-per-minute", "300", "--reads-per-minute", "3000",
                "--concurrent-tasks", "16", "--queued-tasks", "50", "--monthly-credits", "2000")
    for number, name in enumerate(["aurora-films", "booth.berlin", "harbour_studio", "paper-boat", "quiet-type"]):
        server.account(name, ["pro", "studio", "free"][number % 3], 1_000 * (number + 1))
    for prompt in ["a lighthouse", "a pebble", "[sandbox:fail=provider_error]", "[sandbox:fail=content_policy]"]:
        body = json.dumps({"model": "nano-banana", "prompt": prompt, "resolution": "1K"}).encode()
        headers = {"Authorization": f"Bearer {server.test_key}", "Content-Type": "application/json"}
        asked = urllib.request.Request(f"{server.url}/api/v1/generate/image", body, headers)
        urllib.request.urlopen(asked, timeout=30).close()


def psql() -> str:
    """The client of the PostgreSQL that the server runs on."""
    places = sorted(str(place) for place in Path("/usr/lib/postgresql").glob("*/bin/psql"))
    return shutil.which("psql") or places[-1]


def link(server: Server, account: str) -> str:
    """A link that signs in an account's owner."""
    return re.search(r"http\S+/signin/link/\S+", server.tell("login-link", account))[0]


def run(report: Report, server: Server) -> None:
    # One of its own: whoever goes through it spends all credits.
    visited = Server(server.binary)
    try:
        visited.start()
        operate(visited)
        visited.tell("accounts", "create", "studio", "--plan", "pro")
        command = [psql(), "-q", "-v", "ON_ERROR_STOP=1", "-1", "-d", visited.database_url(), "-f", FOLDER / "history.sql"]
        subprocess.run(command, check=True, capture_output=True, text=True)
        with report.check("the account that has a history is one that could be"):
            ensure("The books are right." in visited.tell("ledger", "verify"), "it could not")
        links = {"PIOOY_LINK": link(visited, "dev"), "PIOOY_STUDIO": link(visited, "studio")}
        drive(report, FOLDER / "drive.mjs", SECONDS_MAX, {"PIOOY_URL": visited.url, **links})
        with report.check("the server logged no error and no panic"):
            expect(visited.complaints(), [], "complaints in its log")
    finally:
        visited.remove()
