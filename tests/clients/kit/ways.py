"""Every way to call a tool, behind one shape: `call(tool, arguments)` gives the answer's data."""

import json
import os
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from kit.grpc_face import TOOLS, Grpc
from kit.http_face import MCP_PATH, Http
from kit.server import Server

SDK = Path(__file__).resolve().parents[1] / "sdk"


# Where each transport of MCP begins; a program at standard input finds the rest by itself.
PATHS = {"http": MCP_PATH, "sse": "/api/mcp/sse", "stdio": ""}


class Rest:
    """REST."""

    name = "REST"
    protocol = None

    def __init__(self, server: Server, key: str) -> None:
        self._http = Http(server.port, key)

    def call(self, tool: str, arguments: dict) -> dict:
        answer = self._http.tool(tool, arguments)
        if answer.status != 200 or answer.json["code"] != 0:
            raise RuntimeError(f"{tool} answers {answer.status}: {answer.body[:600]!r}")
        return answer.json["data"]

    def close(self) -> None:
        pass


class GrpcWay:
    """gRPC by reflection."""

    name = "gRPC"
    protocol = None

    def __init__(self, server: Server, key: str) -> None:
        self._grpc = Grpc(server.grpc, key)

    def call(self, tool: str, arguments: dict) -> dict:
        return self._grpc.call(TOOLS[tool], arguments)

    def watch(self, task_id: str) -> list[dict]:
        return self._grpc.watch(task_id)

    def close(self) -> None:
        self._grpc.close()


class McpWay:
    """A client of MCP, whatever it is. `hello` says what it agreed on with the server."""

    # What it says of a tool that does not exist: a code, and what the message names.
    unknown_tool: tuple
    # Whether it takes a task for an answer (extension io.modelcontextprotocol/tasks) and follows it to its end by itself.
    follows_tasks = False

    def __init__(self, client: "Client") -> None:
        self.name = client.name
        # The revision that this client must have agreed on.
        self.protocol = client.protocol
        self.hello: dict

    def ask(self, question: dict) -> dict:
        """To `{"list": True}` the names of the `tools`; to a `tool` and its `arguments` what it says, as `isError`,
        `structured` and `blocks`, or, when there is no such result, what was `refused`."""
        raise NotImplementedError

    def call(self, tool: str, arguments: dict) -> dict:
        return self.result(tool, arguments)["structured"]["data"]

    def result(self, tool: str, arguments: dict) -> dict:
        """The answer of a call that must succeed."""
        answer = self.ask({"tool": tool, "arguments": arguments})
        if "refused" in answer:
            raise RuntimeError(f"{self.name}: {tool} is refused: {answer['refused']}")
        if answer["isError"]:
            raise RuntimeError(f"{self.name}: {tool} answers {answer['structured']}")
        text = answer["blocks"][0]["text"]
        if json.loads(text) != answer["structured"]:
            raise RuntimeError(f"{self.name}: the text {text} differs from {answer['structured']}")
        if answer["structured"]["code"] != 0:
            raise RuntimeError(f"{self.name}: {answer['structured']}")
        return answer

    def tools(self) -> list[str]:
        return self.ask({"list": True})["tools"]

    def close(self) -> None:
        pass


class Sdk(McpWay):
    """An MCP client library in a process of its own, driven by lines of JSON (see sdk/)."""

    # The server's own words.
    unknown_tool = (-32602, ["draw", "generate_image", "get_task_status"])

    def __init__(self, client: "Client", server: Server, key: str) -> None:
        super().__init__(client)
        environment = {
            **os.environ,
            "PIOOY_MCP_URL": server.url + PATHS[client.transport],
            "PIOOY_KEY": key,
            "PIOOY_BINARY": str(server.binary),
        }
        self._lock = threading.Lock()
        self._stderr = tempfile.TemporaryFile(mode="w+")
        self._process = subprocess.Popen(
            [*map(str, client.command), client.mode, client.transport],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
        )
        try:
            self.hello = self._read()
        except RuntimeError:
            self.close()
            raise

    def _read(self) -> dict:
        line = self._process.stdout.readline()
        if not line:
            self._stderr.seek(0)
            raise RuntimeError(f"{self.name} ended: {self._stderr.read()[-2000:]}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"{self.name}: {answer['error']}")
        return answer

    def ask(self, question: dict) -> dict:
        with self._lock:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            return self._read()

    def close(self) -> None:
        self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._stderr.close()


@dataclass(frozen=True)
class Client:
    """A client of MCP in one of its modes, to be started."""

    name: str
    command: list
    mode: str
    # The revision that it must agree on.
    protocol: str
    transport: str = "http"
    kind: type[McpWay] = Sdk

    def start(self, server: Server, key: str) -> McpWay:
        """Raises RuntimeError, with the client's own words, when it cannot connect."""
        return self.kind(self, server, key)


def commands() -> tuple[list, list, list, list]:
    """How the drivers of Python 1 and 2 and TypeScript 1 and 2 are started."""
    environment = {name: Path(os.environ[f"CLIENTS_{name.upper()}"]) for name in ["mcp1", "mcp2", "node"]}
    python1 = [environment["mcp1"] / "bin/python", SDK / "python1.py"]
    python2 = [environment["mcp2"] / "bin/python", SDK / "python2.py"]
    typescript1 = ["node", environment["node"] / "typescript1.mjs"]
    typescript2 = ["node", environment["node"] / "typescript2.mjs"]
    return python1, python2, typescript1, typescript2


def sdks() -> list[Client]:
    """Every MCP client library in every mode, over Streamable HTTP."""
    python1, python2, typescript1, typescript2 = commands()
    return [
        Client("Python mcp 2, auto", python2, "auto", "2026-07-28"),
        Client("Python mcp 2, legacy", python2, "legacy", "2025-11-25"),
        Client("Python mcp 2, 2026-07-28", python2, "2026-07-28", "2026-07-28"),
        Client("Python mcp 1", python1, "legacy", "2025-11-25"),
        Client("TypeScript client 2, legacy", typescript2, "legacy", "2025-11-25"),
        Client("TypeScript client 2, auto", typescript2, "auto", "2026-07-28"),
        Client("TypeScript sdk 1", typescript1, "legacy", "2025-11-25"),
    ]


def over(transport: str) -> list[Client]:
    """The libraries that speak that transport, in the modes that make a difference there."""
    python1, python2, typescript1, _ = commands()
    # The old transport is of an old revision, whatever a library would rather speak.
    newest = "2025-11-25" if transport == "sse" else "2026-07-28"
    return [
        Client(f"Python mcp 1 over {transport}", python1, "legacy", "2025-11-25", transport),
        Client(f"Python mcp 2 over {transport}, auto", python2, "auto", newest, transport),
        Client(f"Python mcp 2 over {transport}, legacy", python2, "legacy", "2025-11-25", transport),
        Client(f"TypeScript sdk 1 over {transport}", typescript1, "legacy", "2025-11-25", transport),
    ]
