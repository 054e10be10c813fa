"""The view that shows tasks in the chat: opened in Chromium under a page that speaks the host's side of MCP Apps."""

import json
import os
import shutil
import subprocess
from pathlib import Path

from kit.http_face import MCP_PATH
from kit.report import Failed, Report, ensure
from kit.server import Server

DRIVER = Path(__file__).resolve().parents[1] / "viewer/drive.mjs"
SECONDS_MAX = 600


def run(report: Report, server: Server) -> None:
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with report.check("there is a Chromium, or CHROMIUM says where"):
        ensure(chromium, "none was found")
    if not chromium:
        return
    environment = {
        **os.environ,
        "CHROMIUM": chromium,
        "PIOOY_KEY": server.test_key,
        "PIOOY_MCP_URL": server.url + MCP_PATH,
    }
    done = subprocess.run(["node", DRIVER], env=environment, capture_output=True, text=True, timeout=SECONDS_MAX)
    for line in done.stdout.splitlines():
        told = json.loads(line)
        with report.check(told["name"]):
            if "why" in told:
                raise Failed(told["why"])
    with report.check("the browser was driven to the end"):
        ensure(done.returncode == 0, done.stderr[-2000:])
