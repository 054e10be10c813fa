"""The official MCP Inspector on its command line: a program that connects, asks one thing, and ends."""

import json
import os
import subprocess
import tempfile
from pathlib import Path

from kit.server import Server
from kit.ways import PATHS, Client, McpWay

SECONDS_MAX = 90


class Inspector(McpWay):
    """The Inspector, pointed at one server with one key."""

    # It looks a tool up in the list and never asks the server for one that is not there.
    unknown_tool = ("tool_not_found", ["draw"])

    def __init__(self, client: Client, server: Server, key: str) -> None:
        super().__init__(client)
        self.follows_tasks = client.mode == "modern"
        # Where it keeps what it remembers of servers.
        self._home = tempfile.TemporaryDirectory()
        # Without the last of these it would ask a person to log in when the key is refused.
        self._command = [*client.command, "--cli", server.url + PATHS[client.transport]]
        self._command += ["--transport", client.transport, "--protocol-era", client.mode]
        self._command += ["--header", f"Authorization: Bearer {key}", "--stored-auth-only"]
        agreed = self._told("--method", "initialize")
        if "refused" in agreed:
            self.close()
            raise RuntimeError(f"{self.name}: {agreed['refused']}")
        self.hello = {"protocol": agreed["protocolVersion"], "server": agreed["serverInfo"]["name"]}

    def run(self, *arguments: str) -> subprocess.CompletedProcess:
        """Runs it once."""
        return subprocess.run(
            [*map(str, self._command), *arguments],
            env={"PATH": os.environ["PATH"], "HOME": self._home.name},
            cwd=self._home.name,
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
        )

    def _told(self, *arguments: str) -> dict:
        """The result that it prints, or as `refused` why there is none."""
        done = self.run(*arguments, "--format", "json")
        if done.stdout:
            return json.loads(done.stdout)["result"]
        return {"refused": json.loads(done.stderr)["error"]}

    def ask(self, question: dict) -> dict:
        if "list" in question:
            return {"tools": [tool["name"] for tool in self._told("--method", "tools/list")["tools"]]}
        given = json.dumps(question["arguments"])
        told = self._told("--method", "tools/call", "--tool-name", question["tool"], "--tool-args-json", given)
        if "refused" in told:
            return told
        return {"isError": told["isError"], "structured": told["structuredContent"], "blocks": told["content"]}

    def close(self) -> None:
        self._home.cleanup()


def inspectors() -> list[Client]:
    """The Inspector in both eras, and over the old transport."""
    place = Path(os.environ["CLIENTS_CONFORMANCE"]) / "node_modules"
    command = [place / "node/bin/node", place / ".bin/mcp-inspector"]
    return [
        Client("Inspector, legacy", command, "legacy", "2025-11-25", kind=Inspector),
        Client("Inspector, modern", command, "modern", "2026-07-28", kind=Inspector),
        Client("Inspector over sse", command, "legacy", "2025-11-25", "sse", Inspector),
    ]
