"""Signing in with an OpenID provider, in Chromium, at a certified one (oidc-provider) with its own pages."""

import re
import socket
from pathlib import Path

from kit.browser import drive
from kit.report import Report, expect
from kit.server import Server

DRIVER = Path(__file__).resolve().parents[1] / "oidc/drive.mjs"
SECONDS_MAX = 180
CLIENT = {"PIOOY_OIDC_CLIENT_ID": "piooy", "PIOOY_OIDC_CLIENT_SECRET": "a secret of the client"}


def run(report: Report, server: Server) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        issuer = f"http://127.0.0.1:{free.getsockname()[1]}"
    with_issuer = Server(server.binary, {**CLIENT, "PIOOY_OIDC_ISSUER": issuer, "PIOOY_OIDC_NAME": "Acme"})
    try:
        with_issuer.start()
        link = re.search(r"http\S+/signin/link/\S+", with_issuer.tell("login-link", "dev"))
        told = {**CLIENT, "PIOOY_OIDC_ISSUER": issuer, "PIOOY_URL": with_issuer.url, "PIOOY_LINK": link[0]}
        drive(report, DRIVER, SECONDS_MAX, told)
        with report.check("the server logged no error and no panic"):
            expect(with_issuer.complaints(), [], "complaints in its log")
    finally:
        with_issuer.remove()
