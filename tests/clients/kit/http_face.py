"""REST and raw MCP over the standard library's HTTP client, so that nothing polishes what is sent or received."""

import http.client
import itertools
import json
from dataclasses import dataclass

MCP_PATH = "/api/mcp/mcp"
TIMEOUT_SECONDS = 60

# Which REST route each tool's method has; {} takes the task's id.
ROUTES = {
    "generate_image": ("POST", "/api/v1/generate/image"),
    "generate_video": ("POST", "/api/v1/generate/video"),
    "get_task_status": ("GET", "/api/v1/tasks/{}"),
}


@dataclass
class Answer:
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


class Http:
    """Requests to one server, with one key or none.

    `source` is the loopback address they come from: limits by address count each on its own.
    """

    def __init__(self, port: int, key: str | None = None, source: str = "127.0.0.1") -> None:
        self.port = port
        self.key = key
        self.source = source

    def send(self, verb: str, path: str, body=None, headers: dict | None = None) -> Answer:
        """One request. A body of bytes goes as it is; anything else as JSON. A header that is None is left out."""
        sent = {}
        if self.key is not None:
            sent["Authorization"] = f"Bearer {self.key}"
        if body is not None:
            sent["Content-Type"] = "application/json"
            if not isinstance(body, bytes):
                body = json.dumps(body).encode()
        sent.update(headers or {})
        sent = {name: value for name, value in sent.items() if value is not None}
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=TIMEOUT_SECONDS, source_address=(self.source, 0)
        )
        try:
            connection.request(verb, path, body, sent)
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **more) -> Answer:
        return self.send("GET", path, **more)

    def post(self, path: str, body=None, **more) -> Answer:
        return self.send("POST", path, body, **more)

    def data(self, verb: str, path: str, body=None) -> dict:
        """What a call that must succeed answers."""
        answer = self.send(verb, path, body)
        if answer.status != 200 or answer.json.get("code") != 0:
            raise RuntimeError(f"{verb} {path} answers {answer.status}: {answer.body[:600]!r}")
        return answer.json["data"]

    def tool(self, name: str, arguments: dict) -> Answer:
        """The REST call that does what a tool does."""
        verb, path = ROUTES[name]
        if verb == "GET":
            return self.get(path.format(arguments["taskId"]))
        return self.post(path, arguments)

    def credits(self) -> tuple[int, int]:
        """Available and held."""
        balance = self.data("GET", "/api/v1/credits")
        return balance["available"], balance["held"]

    def transactions(self) -> list[dict]:
        """The whole statement, oldest first, read in pages."""
        found, token = [], ""
        while True:
            page = self.data("GET", f"/api/v1/credits/transactions?pageSize=100&pageToken={token}")
            found += page["transactions"]
            token = page["nextPageToken"]
            if not token:
                return found[::-1]

    def task(self, task_id: str) -> dict:
        return self.data("GET", f"/api/v1/tasks/{task_id}")


class McpWire:
    """MCP messages as bytes on the wire, in either era."""

    def __init__(self, http_client: Http) -> None:
        self.http = http_client
        self._ids = itertools.count(1)

    def post(self, message, headers: dict | None = None) -> Answer:
        accepted = {"Accept": "application/json, text/event-stream", **(headers or {})}
        return self.http.post(MCP_PATH, message, headers=accepted)

    def request(self, method: str, params: dict | None = None, headers: dict | None = None) -> Answer:
        """A legacy request."""
        message = {"jsonrpc": "2.0", "id": next(self._ids), "method": method}
        if params is not None:
            message["params"] = params
        return self.post(message, headers)

    def modern(self, method: str, params: dict | None = None, headers: dict | None = None, meta=None) -> Answer:
        """A request of 2026-07-28; `headers` and `meta` replace, or with None remove, what belongs there."""
        version = "2026-07-28"
        whole_meta = {
            "io.modelcontextprotocol/protocolVersion": version,
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": {"name": "clients", "version": "1"},
            **(meta or {}),
        }
        whole_meta = {name: value for name, value in whole_meta.items() if value is not None}
        sent = {"MCP-Protocol-Version": version, "Mcp-Method": method}
        if params and "name" in params:
            sent["Mcp-Name"] = params["name"]
        return self.request(method, {**(params or {}), "_meta": whole_meta}, {**sent, **(headers or {})})

    def call(self, tool: str, arguments: dict) -> dict:
        """The tool result of a legacy call."""
        return self.request("tools/call", {"name": tool, "arguments": arguments}).json["result"]
