"""Drives Chromium with a script that writes a line of JSON for each of its checks."""

import json
import os
import shutil
import subprocess
from pathlib import Path

from kit.report import Failed, Report, ensure


def drive(report: Report, driver: Path, seconds_max: int, settings: dict[str, str]) -> None:
    """Runs `driver`, told `settings` by its environment, and reports each of its checks."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with report.check("there is a Chromium, or CHROMIUM says where"):
        ensure(chromium, "none was found")
    if not chromium:
        return
    environment = {**os.environ, "CHROMIUM": chromium, **settings}
    done = subprocess.run(["node", driver], env=environment, capture_output=True, text=True, timeout=seconds_max)
    for line in done.stdout.splitlines():
        told = json.loads(line)
        with report.check(told["name"]):
            if "why" in told:
                raise Failed(told["why"])
    with report.check("the browser was driven to the end"):
        ensure(done.returncode == 0, done.stderr[-2000:])
