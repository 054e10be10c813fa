"""Starts a server, lets every topic check it, stops it, and counts.

Started by `run`, in the environment that has the checks' libraries.
"""

import sys
import time
from pathlib import Path

from kit.report import Report, expect
from kit.server import Server
from topics import bridge, bundle, clients, conformance, crash, errors, examples
from topics import mcp, money, oidc, pages, replicas, schemas, sse, streams, viewer

TOPICS = {
    "examples": examples.run,
    "errors": errors.run,
    "money": money.run,
    "schemas": schemas.run,
    "mcp": mcp.run,
    "clients": clients.run,
    "conformance": conformance.run,
    "streams": streams.run,
    "viewer": viewer.run,
    "pages": pages.run,
    "oidc": oidc.run,
    "sse": sse.run,
    "bridge": bridge.run,
    "bundle": bundle.run,
    "crash": crash.run,
    "replicas": replicas.run,
}


def main() -> int:
    binary, chosen = Path(sys.argv[1]), sys.argv[2:] or list(TOPICS)
    unknown = set(chosen) - set(TOPICS)
    if unknown:
        sys.exit(f"no topic {', '.join(sorted(unknown))}; there are {', '.join(TOPICS)}")
    report = Report()
    began = time.monotonic()
    server = Server(binary)
    try:
        server.start()
        for name in chosen:
            report.begin(name)
            with report.check("the topic ran to its end"):
                TOPICS[name](report, server)
        report.begin("stop")
        with report.check("SIGINT ends the server with exit code 0"):
            expect(server.stop(), 0, "exit code")
        with report.check("no process of it is left"):
            expect(server.processes(), [], "processes")
        with report.check("the server logged no error and no panic"):
            expect(server.complaints(), [], "complaints in its log")
    finally:
        server.remove()
    print(f"\n{report.passed} passed, {report.failed} failed  ({time.monotonic() - began:.0f} s)")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
