"""The official MCP conformance suite: every server scenario of every revision it knows, on a server that has the suite's
fixtures, and on the server as it is those that need no fixtures. Nothing is expected to fail."""

import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from kit.http_face import MCP_PATH
from kit.proxy import KeyProxy
from kit.report import Report, ensure, expect
from kit.server import Server

SECONDS_MAX = 300
AT_A_TIME = 3
REVISIONS = ["2025-06-18", "2025-11-25", "2026-07-28"]
EXTENSIONS = "extension"

# What needs nothing that a normal server has not got, by revision.
PLAIN = {
    "2025-06-18": ["server-initialize", "logging-set-level", "ping", "tools-list", "resources-list", "prompts-list"],
    "2025-11-25": [
        "server-initialize",
        "logging-set-level",
        "ping",
        "tools-list",
        "resources-list",
        "prompts-list",
        "dns-rebinding-protection",
        "server-sse-multiple-streams",
    ],
    "2026-07-28": [
        "tools-list",
        "resources-list",
        "prompts-list",
        "caching",
        "http-header-validation",
        "dns-rebinding-protection",
        "sep-2164-resource-not-found",
        "server-sse-multiple-streams",
        "input-required-result-unsupported-methods",
    ],
}

# About skills, an extension that Piooy does not offer.
NOT_OFFERED = "sep-2640-"


def run(report: Report, server: Server) -> None:
    fixtures = os.environ.get("CLIENTS_FIXTURES_BINARY")
    with report.check("there is a server with the fixtures (CLIENTS_FIXTURES_BINARY, built with --features conformance)"):
        ensure(fixtures and os.access(fixtures, os.X_OK), f"{fixtures!r} is not a program that can be run")
    suite = Suite()
    plain(report, server.binary, suite)
    if fixtures:
        with_fixtures(report, Path(fixtures).resolve(), suite)


class Suite:
    """The suite under the Node that it needs, which is newer than the machine's."""

    def __init__(self) -> None:
        place = Path(os.environ["CLIENTS_CONFORMANCE"])
        self._command = [place / "node_modules/node/bin/node", place / "node_modules/.bin/conformance"]
        listed = self._run("list", "--server").stdout
        self.scenarios = {name: versions.split(",") for name, versions in re.findall(r"- (\S+) \[([^\]]+)\]", listed)}

    def of(self, revision: str) -> list[str]:
        """The scenarios of a revision, in the suite's order."""
        return [name for name, revisions in self.scenarios.items() if revision in revisions]

    def play(self, url: str, scenario: str, revision: str) -> tuple[int, str]:
        """Exit code and output of one scenario. Those of extensions belong to no revision, hence `--force`."""
        done = self._run("server", "--url", url, "--scenario", scenario, "--spec-version", revision, "--force")
        return done.returncode, done.stdout + done.stderr

    def _run(self, *arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [*self._command, *arguments], capture_output=True, text=True, timeout=SECONDS_MAX, cwd=os.environ["CLIENTS_CONFORMANCE"]
        )


def play(report: Report, suite: Suite, proxy: KeyProxy, scenarios: list[tuple[str, str]], kind: str) -> None:
    """Plays scenarios, each of a revision, some at a time: most of the time goes into starting Node."""
    url = f"http://localhost:{proxy.port}{MCP_PATH}"
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        playing = [pool.submit(suite.play, url, scenario, revision) for revision, scenario in scenarios]
        for (revision, scenario), played in zip(scenarios, playing):
            with report.check(f"{revision} {kind}: {scenario}"):
                code, output = played.result()
                passed = re.search(r"Passed: (\d+)/(\d+)", output)
                ensure(passed, f"the suite ended with {code} and counted nothing:\n{output[-2000:]}")
                expect((code, passed[1]), (0, passed[2]), f"exit code and passed checks in\n{output[-4000:]}\n")


def plain(report: Report, binary: Path, suite: Suite) -> None:
    scenarios = [(revision, scenario) for revision in PLAIN for scenario in PLAIN[revision]]
    with running(binary) as (server, proxy):
        play(report, suite, proxy, scenarios, "as it is")


def with_fixtures(report: Report, binary: Path, suite: Suite) -> None:
    scenarios = [(revision, scenario) for revision in REVISIONS for scenario in suite.of(revision)]
    extensions = [scenario for scenario in suite.of(EXTENSIONS) if not scenario.startswith(NOT_OFFERED)]
    with running(binary) as (server, proxy):
        play(report, suite, proxy, scenarios, "with fixtures")
        play(report, suite, proxy, [(REVISIONS[-1], scenario) for scenario in extensions], "extension")
        with report.check("the server with fixtures logged no error and no panic"):
            expect(server.complaints(), [], "complaints in its log")


@contextmanager
def running(binary: Path):
    """A server of the suite's own, behind a proxy that has a key for it."""
    # The suite takes the proxy's port for the server's, and sends an origin with that port.
    server = Server(binary, {"PIOOY_ALLOWED_ORIGINS": "http://localhost"})
    try:
        server.start()
        proxy = KeyProxy(server.port, server.account("conformance", plan="unlimited"))
        try:
            yield server, proxy
        finally:
            proxy.close()
    finally:
        server.remove()
