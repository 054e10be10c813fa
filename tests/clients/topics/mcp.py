"""MCP on the wire, as no well-behaved client library would send it: versions, eras, headers, batches, hosts."""

from kit.http_face import MCP_PATH, Answer, Http, McpWire
from kit.report import Report, contains, ensure, expect
from kit.server import Server

# Every public revision of Streamable HTTP, and of those that begin with `initialize` also the one before it.
MODERN = "2026-07-28"
LEGACY = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"]

HEADER_MISMATCH = -32020
UNSUPPORTED_VERSION = -32022
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
# What is refused before it is looked at has the code of gRPC for it.
PERMISSION_DENIED = 7

VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"


def run(report: Report, server: Server) -> None:
    http = Http(server.port, server.test_key)
    wire = McpWire(http)
    legacy(report, wire)
    batches(report, wire)
    transport(report, server, http, wire)
    modern(report, wire)


def initialize(wire: McpWire, version: str) -> dict:
    params = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "clients", "version": "1"}}
    answer = wire.request("initialize", params)
    expect(answer.status, 200, "status")
    ensure("mcp-session-id" not in answer.headers, "a session was opened")
    return answer.json["result"]


def error_of(answer: Answer, status: int, code: int) -> dict:
    """The JSON-RPC error of an answer that must have this status and code."""
    expect(answer.status, status, f"status of {answer.body[:300]!r}")
    error = answer.json["error"]
    expect(error["code"], code, f"code of {error['message']!r}")
    return error


def legacy(report: Report, wire: McpWire) -> None:
    for version in LEGACY:
        with report.check(f"initialize with {version} agrees on it"):
            result = initialize(wire, version)
            expect(result["protocolVersion"], version, "protocolVersion")
            expect(result["serverInfo"]["name"], "piooy/piooy", "serverInfo.name")
            expect(result["capabilities"].get("tools"), {}, "capabilities.tools")
            ensure("resultType" not in result, "a legacy result has a resultType")
    for version in [MODERN, "2099-01-01", "nonsense"]:
        with report.check(f"initialize with {version} agrees on {LEGACY[0]}"):
            expect(initialize(wire, version)["protocolVersion"], LEGACY[0], "protocolVersion")
    for version in LEGACY[:3]:
        with report.check(f"a tool can be called with the header MCP-Protocol-Version: {version}"):
            answer = wire.request("tools/call", {"name": "get_balance"}, headers={"MCP-Protocol-Version": version})
            expect((answer.status, answer.json["result"].get("isError", False)), (200, False), "status and isError")
    with report.check("ping is answered with an empty result"):
        expect(wire.request("ping").json["result"], {}, "result")
    with report.check("an unknown method is -32601 with HTTP 200"):
        error_of(wire.request("no/such"), 200, METHOD_NOT_FOUND)
    with report.check("an unknown tool is -32602 and names those that exist"):
        error = error_of(wire.request("tools/call", {"name": "draw", "arguments": {}}), 200, INVALID_PARAMS)
        contains(error["message"], "draw", "generate_image", "generate_video", "get_task_status")
    for identifier in ["text", 7, -1]:
        with report.check(f"the id {identifier!r} comes back as it is"):
            answer = wire.post({"jsonrpc": "2.0", "id": identifier, "method": "ping"})
            expect(answer.json, {"jsonrpc": "2.0", "id": identifier, "result": {}}, "answer")
    with report.check("a message that is not JSON-RPC 2.0 is -32600"):
        error = error_of(wire.post({"id": 1, "method": "ping"}), 400, INVALID_REQUEST)
        contains(error["message"], "jsonrpc")
    with report.check("a message of the wrong shape is told in words of the protocol"):
        error = error_of(wire.post(b'"hello"'), 400, INVALID_REQUEST)
        ensure("struct" not in error["message"], f"it speaks of its own code: {error['message']!r}")


def batches(report: Report, wire: McpWire) -> None:
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    tools = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
    notification = {"jsonrpc": "2.0", "method": "notifications/initialized"}

    for name, headers in [("no version", {}), ("2025-03-26", {"MCP-Protocol-Version": "2025-03-26"})]:
        with report.check(f"a batch with {name} in the header is answered, notifications aside"):
            answer = wire.post([ping, notification, tools], headers)
            expect(answer.status, 200, "status")
            expect([each["id"] for each in answer.json], [1, 2], "ids")
            expect(answer.json[0]["result"], {}, "the first result")
    with report.check("a batch of notifications alone is 202"):
        answer = wire.post([notification, notification])
        expect((answer.status, answer.body), (202, b""), "answer")
    for version in ["2025-06-18", "2025-11-25", MODERN]:
        with report.check(f"a batch with {version} is refused"):
            error_of(wire.post([ping], {"MCP-Protocol-Version": version}), 400, INVALID_REQUEST)
    with report.check("an empty batch is refused"):
        error_of(wire.post([]), 400, INVALID_REQUEST)


def transport(report: Report, server: Server, http: Http, wire: McpWire) -> None:
    for verb in ["GET", "DELETE"]:
        with report.check(f"{verb} is 405 with Allow: POST"):
            answer = http.send(verb, MCP_PATH, headers={"Accept": "text/event-stream"})
            expect((answer.status, answer.headers.get("allow")), (405, "POST"), "status and Allow")
    with report.check("notifications and answers are 202 with an empty body"):
        for message in [
            {"jsonrpc": "2.0", "method": "notifications/initialized"},
            {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}},
            {"jsonrpc": "2.0", "id": 9, "result": {}},
        ]:
            answer = wire.post(message)
            expect((answer.status, answer.body), (202, b""), f"answer to {message}")
    for name, headers in [
        ("host", {"Host": "evil.example"}),
        ("host that begins like ours", {"Host": f"localhost.evil.example:{server.port}"}),
        ("origin", {"Origin": "https://evil.example"}),
        ("origin null", {"Origin": "null"}),
    ]:
        with report.check(f"a foreign {name} is 403"):
            error = error_of(wire.request("tools/list", headers=headers), 403, PERMISSION_DENIED)
            expect(error["data"]["reason"], "ORIGIN_NOT_ALLOWED", "reason")
    for headers in [{"Host": f"localhost:{server.port}"}, {"Origin": server.url}]:
        with report.check(f"{headers} is served"):
            expect(wire.request("tools/list", headers=headers).status, 200, "status")
    for accepted in ["application/json", "*/*", None]:
        with report.check(f"Accept: {accepted} is served JSON"):
            answer = wire.request("tools/list", headers={"Accept": accepted})
            expect((answer.status, answer.headers["content-type"]), (200, "application/json"), "status and type")


def modern(report: Report, wire: McpWire) -> None:
    with report.check("server/discover tells versions, capabilities and who it is"):
        answer = wire.modern("server/discover")
        expect(answer.status, 200, "status")
        result = answer.json["result"]
        expect(result["resultType"], "complete", "resultType")
        expect(result["supportedVersions"][0], MODERN, "newest version")
        ensure(set(LEGACY[:3]) <= set(result["supportedVersions"]), f"versions: {result['supportedVersions']}")
        expect(result["capabilities"].get("tools"), {}, "capabilities.tools")
        ensure(result["ttlMs"] > 0 and result["cacheScope"] in ["public", "private"], "ttlMs and cacheScope")
        expect(result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "piooy/piooy", "serverInfo")
    with report.check("tools/list is cacheable, and the same as the legacy list"):
        result = wire.modern("tools/list").json["result"]
        expect(result["resultType"], "complete", "resultType")
        ensure(result["ttlMs"] > 0 and result["cacheScope"] in ["public", "private"], "ttlMs and cacheScope")
        expect(result["tools"], wire.request("tools/list").json["result"]["tools"], "tools")
    with report.check("tools/call answers with resultType and serverInfo"):
        task = "0198c5a2-7a44-7cc1-9d6a-1f2e3d4c5b6a"
        answer = wire.modern("tools/call", {"name": "get_task_status", "arguments": {"taskId": task}})
        result = answer.json["result"]
        expect((answer.status, result["resultType"], result["isError"]), (200, "complete", True), "answer")
        expect(result["structuredContent"]["reason"], "TASK_NOT_FOUND", "reason")
        ensure("io.modelcontextprotocol/serverInfo" in result["_meta"], "no serverInfo")

    call = {"name": "get_task_status", "arguments": {"taskId": "x"}}
    refusals = [
        ("no version header", {"MCP-Protocol-Version": None}, {}, HEADER_MISMATCH),
        ("another version in the header", {"MCP-Protocol-Version": "2025-11-25"}, {}, HEADER_MISMATCH),
        ("no Mcp-Method", {"Mcp-Method": None}, {}, HEADER_MISMATCH),
        ("another Mcp-Method", {"Mcp-Method": "tools/list"}, {}, HEADER_MISMATCH),
        ("Mcp-Method in other letters", {"Mcp-Method": "Tools/Call"}, {}, HEADER_MISMATCH),
        ("no Mcp-Name", {"Mcp-Name": None}, {}, HEADER_MISMATCH),
        ("another Mcp-Name", {"Mcp-Name": "generate_image"}, {}, HEADER_MISMATCH),
        ("no version in _meta", {}, {VERSION_KEY: None}, INVALID_PARAMS),
        ("no capabilities in _meta", {}, {CAPABILITIES_KEY: None}, INVALID_PARAMS),
        ("capabilities that are no object", {}, {CAPABILITIES_KEY: "all"}, INVALID_PARAMS),
    ]
    for name, headers, meta, code in refusals:
        with report.check(f"{name} is {code} with HTTP 400"):
            error_of(wire.modern("tools/call", call, headers, meta), 400, code)
    for version in ["2027-01-01", "v999.0.0"]:
        with report.check(f"the version {version} is {UNSUPPORTED_VERSION} with those that are served"):
            answer = wire.modern("tools/list", None, {"MCP-Protocol-Version": version}, {VERSION_KEY: version})
            data = error_of(answer, 400, UNSUPPORTED_VERSION)["data"]
            expect(data["requested"], version, "requested")
            ensure(MODERN in data["supported"], f"supported: {data['supported']}")
    with report.check("a name in base64 is the name"):
        answer = wire.modern("tools/call", call, {"Mcp-Name": "=?base64?Z2V0X3Rhc2tfc3RhdHVz?="})
        expect((answer.status, answer.json["result"]["isError"]), (200, True), "status and isError")
    with report.check("clientInfo may be left out"):
        meta = {"io.modelcontextprotocol/clientInfo": None}
        expect(wire.modern("tools/list", meta=meta).status, 200, "status")
    for method in ["no/such", "initialize", "ping", "logging/setLevel", "resources/subscribe"]:
        with report.check(f"{method} is {METHOD_NOT_FOUND} with HTTP 404"):
            error_of(wire.modern(method), 404, METHOD_NOT_FOUND)
    with report.check("an unknown tool is -32602 with HTTP 200"):
        error_of(wire.modern("tools/call", {"name": "draw", "arguments": {}}), 200, INVALID_PARAMS)
