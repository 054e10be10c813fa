"""Bad input and what is said to it: the same on REST, MCP and gRPC, with what is allowed in the message."""

import time
import uuid
import zlib
from dataclasses import dataclass

from kit.grpc_face import TOOLS, Grpc, Refused
from kit.http_face import MCP_PATH, Answer, Http, McpWire
from kit.report import Failed, Report, contains, ensure, expect
from kit.server import Server

# Wrong keys come from addresses of their own: an address that shows too many of them is turned away.
WRONG_KEY_SOURCE = "127.0.0.2"
GUESSING_SOURCE = "127.0.0.3"

# What the server takes at most by default.
BODY_BYTES_MAX = 24 * 1024 * 1024

# The plan free.
FREE_SUBMITS_PER_MINUTE = 60

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

OAUTH_PATHS = [
    "/.well-known/oauth-protected-resource",
    f"/.well-known/oauth-protected-resource{MCP_PATH}",
    "/.well-known/oauth-authorization-server",
    f"/.well-known/oauth-authorization-server{MCP_PATH}",
    "/.well-known/openid-configuration",
]


@dataclass
class Faces:
    """One key on the three faces."""

    http: Http
    grpc: Grpc

    @property
    def mcp(self) -> McpWire:
        return McpWire(self.http)


@dataclass
class Case:
    """A bad call of a tool and what must be said to it."""

    name: str
    tool: str
    arguments: dict
    status: int
    code: int
    reason: str
    # What the message must name.
    names: tuple = ()


PICTURE = {"model": "nano-banana-pro", "prompt": "a fox", "provider": "sandbox"}
CLIP = {"model": "veo-3-1", "prompt": "a fox", "provider": "sandbox"}
NOBODYS_TASK = "0198c5a2-7a44-7cc1-9d6a-1f2e3d4c5b6a"


def invalid(name: str, tool: str, arguments: dict, *names: str) -> Case:
    return Case(name, tool, arguments, 422, 3, "INVALID_ARGUMENT", names)


def unsupported(name: str, tool: str, arguments: dict, *names: str) -> Case:
    return Case(name, tool, arguments, 422, 3, "UNSUPPORTED_PARAMETER", names)


CASES = [
    Case(
        "an unknown model",
        "generate_image",
        {**PICTURE, "model": "nano-banan"},
        404,
        5,
        "MODEL_NOT_FOUND",
        ('"nano-banan"', "nano-banana-pro"),
    ),
    unsupported("a resolution too large", "generate_image", {**PICTURE, "resolution": "9K"}, "1K, 2K or 4K"),
    unsupported("a resolution that is none", "generate_image", {**PICTURE, "resolution": "big"}, "1K, 2K or 4K"),
    unsupported("a shape", "generate_image", {**PICTURE, "aspect_ratio": "5:1"}, "1:1", "16:9", "21:9"),
    unsupported("more pictures than the model makes", "generate_image", {**PICTURE, "count": 3}, "count"),
    unsupported("a length beyond the longest", "generate_video", {**CLIP, "duration": "99"}, "4, 6 or 8 seconds"),
    unsupported("a length that is no number", "generate_video", {**CLIP, "duration": "long"}, "4, 6 or 8 seconds"),
    unsupported(
        "an adjustment where strict forbids it",
        "generate_video",
        {**CLIP, "duration": "5", "strict": True},
        "4, 6 or 8 seconds",
    ),
    unsupported("a picture from a model of videos", "generate_image", {**PICTURE, "model": "veo-3-1"}, "videos"),
    unsupported("a video from a model of pictures", "generate_video", {**CLIP, "model": "z-image-turbo"}, "images"),
    invalid("an empty prompt", "generate_image", {**PICTURE, "prompt": ""}, "prompt"),
    invalid("a blank prompt", "generate_image", {**PICTURE, "prompt": " \n "}, "prompt"),
    invalid("no prompt", "generate_video", {"model": "veo-3-1"}, "prompt"),
    invalid("no model and no prompt", "generate_image", {}, "model", "prompt"),
    invalid("a prompt too long", "generate_image", {**PICTURE, "prompt": "x" * 8001}, "8001", "8000"),
    invalid("a count outside every model's", "generate_image", {**PICTURE, "count": 17}, "1 to 16"),
    invalid("a negative seed", "generate_image", {**PICTURE, "seed": -1}, "seed", "4294967295"),
    invalid("an unknown provider", "generate_image", {**PICTURE, "provider": "nowhere"}, "nowhere", "sandbox"),
    invalid(
        "a reference image that is a link into a private network",
        "generate_image",
        {**PICTURE, "reference_images": ["https://10.0.0.1/fox.png"]},
        "reference_images[0]",
        "public internet",
    ),
    Case(
        "a sandbox directive that does not exist",
        "generate_image",
        {**PICTURE, "prompt": "[sandbox:fial=timeout] a fox"},
        422,
        3,
        "INVALID_INPUT",
        ("[sandbox:fial=timeout]", "[sandbox:fail=REASON]"),
    ),
    invalid("a taskId that is no UUID", "get_task_status", {"taskId": "nonsense"}, "taskId", "UUID"),
    Case("a task that nobody has", "get_task_status", {"taskId": NOBODYS_TASK}, 404, 5, "TASK_NOT_FOUND", (NOBODYS_TASK,)),
    Case(
        "credits for less than it costs",
        "generate_image",
        {**PICTURE, "resolution": "2K"},
        402,
        9,
        "INSUFFICIENT_CREDITS",
        ("16", "5"),
    ),
    Case(
        "a live key where no upstream is configured",
        "generate_image",
        {"model": "nano-banana-pro", "prompt": "a fox"},
        503,
        14,
        "MODEL_UNAVAILABLE",
        ("nano-banana-pro",),
    ),
]


def run(report: Report, server: Server) -> None:
    key = server.account("faulty", credits=5)
    faces = Faces(Http(server.port, key), Grpc(server.grpc, key))
    try:
        for case in CASES:
            with report.check(f"{case.name} is {case.reason}, alike on three faces"):
                same_refusal(faces, case)
        details(report, faces)
        malformed(report, faces)
        too_large(report, faces)
        other_accounts(report, server, faces)
        idempotency(report, faces)
        paths(report, faces)
        with report.check("no refusal has moved a credit"):
            expect(faces.http.credits(), (5, 0), "balances")
    finally:
        faces.grpc.close()
    keys(report, server)
    scopes(report, server)
    rate_limit(report, server)
    guessing(report, server)


def refused_by_grpc(grpc: Grpc, method: str, request: dict, **more) -> Refused:
    try:
        answer = grpc.call(method, request, **more)
    except Refused as refused:
        return refused
    raise Failed(f"gRPC answers {answer}")


def envelope_of(answer: Answer, status: int) -> dict:
    """A refusal's envelope, checked for its shape."""
    expect(answer.status, status, f"status of {answer.body[:300]!r}")
    expect(answer.headers["content-type"], "application/json", "content type")
    ensure(len(answer.headers["x-request-id"]) >= 16, "x-request-id")
    envelope = answer.json
    expect(set(envelope), {"code", "message", "reason", "details"}, "fields of the envelope")
    return envelope


def carried(answer: Answer, status: int, message_id) -> dict:
    """The envelope that a JSON-RPC error carries, checked for saying the same, in answer to the message with that id."""
    expect(answer.status, status, f"status of {answer.body[:300]!r}")
    expect(answer.headers["content-type"], "application/json", "content type")
    expect((answer.json["jsonrpc"], answer.json["id"]), ("2.0", message_id), "jsonrpc and id")
    error = answer.json["error"]
    envelope = error["data"]
    expect((error["code"], error["message"]), (envelope["code"], envelope["message"]), "code and message")
    return envelope


def same_refusal(faces: Faces, case: Case) -> dict:
    """One call on three faces: REST as expected, the others the same as REST. Returns REST's envelope."""
    if case.tool == "get_task_status":
        answer = faces.http.get(f"/api/v1/tasks/{case.arguments['taskId']}")
    else:
        answer = faces.http.tool(case.tool, case.arguments)
    envelope = envelope_of(answer, case.status)
    expect((envelope["code"], envelope["reason"]), (case.code, case.reason), "REST, code and reason")
    contains(envelope["message"], *case.names)

    result = faces.mcp.call(case.tool, case.arguments)
    expect(result["isError"], True, "MCP, isError")
    expect(result["structuredContent"], envelope, "MCP, structuredContent")
    expect(len(result["content"]), 1, "MCP, content blocks")

    refused = refused_by_grpc(faces.grpc, TOOLS[case.tool], case.arguments)
    same_by_grpc(refused, envelope)
    return envelope


def same_by_grpc(refused: Refused, envelope: dict) -> None:
    """A gRPC status says what the envelope says."""
    expect((refused.code, refused.message), (envelope["code"], envelope["message"]), "gRPC, code and message")
    expect((refused.domain, refused.reason), ("piooy", envelope["reason"]), "gRPC, ErrorInfo")
    told = dict(envelope["details"])
    violations = [(each["field"], each["description"]) for each in told.pop("fieldViolations", [])]
    expect(refused.violations, violations, "gRPC, BadRequest")
    told.pop("retryAfterSeconds", None)
    metadata = {name: ", ".join(value) if isinstance(value, list) else str(value) for name, value in told.items()}
    expect(refused.metadata, metadata, "gRPC, ErrorInfo.metadata")


def details(report: Report, faces: Faces) -> None:
    by_name = {case.name: case for case in CASES}

    def told(name: str) -> dict:
        return same_refusal(faces, by_name[name])["details"]

    with report.check("details of an unknown model list near ones"):
        near = told("an unknown model")["near"]
        ensure("nano-banana" in near and "nano-banana-pro" in near, f"near: {near}")
    with report.check("details of missing credits say needed and available"):
        expect(told("credits for less than it costs"), {"needed": 16, "available": 5}, "details")
    with report.check("an unavailable model says what would make it available"):
        refusal = same_refusal(faces, by_name["a live key where no upstream is configured"])
        settings = refusal["details"]["settings"]
        ensure("FAL_KEY" in settings and "GEMINI_API_KEY" in settings, f"settings: {settings}")
        ensure('provider "sandbox"' in refusal["message"], refusal["message"])
    with report.check("every field that is wrong is named at once"):
        fields = [each["field"] for each in told("no model and no prompt")["fieldViolations"]]
        expect(fields, ["model", "prompt"], "fields")


def malformed(report: Report, faces: Faces) -> None:
    """What protobuf's binary form can't even express: REST and MCP."""
    http, mcp = faces.http, faces.mcp
    path = "/api/v1/generate/image"

    with report.check("a body that is not JSON is refused with the place"):
        envelope = envelope_of(http.post(path, b'{"model": "nano-banana-pro",\n "prompt" "a fox"}'), 400)
        expect(envelope["reason"], "MALFORMED_REQUEST", "reason")
        expect(envelope["details"], {"line": 2, "column": 11}, "place")
        contains(envelope["message"], "line 2 column 11")
    with report.check("a body that breaks off is refused with the place"):
        envelope = envelope_of(http.post(path, b'{"model": "nano'), 400)
        expect((envelope["reason"], envelope["details"]["line"]), ("MALFORMED_REQUEST", 1), "reason and line")
    with report.check("a message that is not JSON is -32700 on MCP, with the place"):
        answer = mcp.post(b'{"jsonrpc": "2.0", "id" 1}')
        expect((answer.status, answer.json["error"]["code"]), (400, -32700), "status and code")
        contains(answer.json["error"]["message"], "line 1 column 25")
    with report.check("a list where an object belongs is refused"):
        expect(envelope_of(http.post(path, []), 400)["reason"], "MALFORMED_REQUEST", "reason")
    with report.check("a body declared as something else is refused"):
        answer = http.post(path, b"a=b", headers={"Content-Type": "application/x-www-form-urlencoded"})
        expect(envelope_of(answer, 415)["reason"], "UNSUPPORTED_MEDIA_TYPE", "reason")

    for name, arguments, status, reason, parts in [
        ("a value of the wrong type", {**PICTURE, "count": "two"}, 400, "MALFORMED_REQUEST", ["count", '"two"']),
        ("an object where text belongs", {**PICTURE, "prompt": {}}, 400, "MALFORMED_REQUEST", ["prompt"]),
        (
            "an unknown field",
            {**PICTURE, "colour": "red"},
            400,
            "UNKNOWN_FIELD",
            ["colour", "model", "prompt", "resolution", "aspect_ratio", "reference_images", "idempotency_key"],
        ),
    ]:
        with report.check(f"{name} is {reason}, alike on REST and MCP"):
            envelope = envelope_of(http.post(path, arguments), status)
            expect((envelope["code"], envelope["reason"]), (3, reason), "code and reason")
            contains(envelope["message"], *parts)
            result = mcp.call("generate_image", arguments)
            expect(result["isError"], True, "isError")
            for field in ["code", "message", "reason"]:
                expect(result["structuredContent"][field], envelope[field], f"MCP, {field}")


def too_large(report: Report, faces: Faces) -> None:
    body = b'{"prompt":"' + b"x" * BODY_BYTES_MAX + b'"}'
    limit = str(BODY_BYTES_MAX)
    # The client sends all of it before it reads the answer.
    with report.check("a body too large is 413 with the limit, alike on REST and MCP"):
        envelope = envelope_of(faces.http.post("/api/v1/generate/image", body), 413)
        expect(envelope["reason"], "BODY_TOO_LARGE", "reason")
        contains(envelope["message"], limit)
        expect(carried(faces.http.post(MCP_PATH, body), 413, None), envelope, "MCP, the envelope")
    with report.check("gRPC: a message too large is refused with the limit and the same reason"):
        request = {**PICTURE, "prompt": "x" * BODY_BYTES_MAX}
        refused = refused_by_grpc(faces.grpc, TOOLS["generate_image"], request)
        contains(refused.message, limit)
        expect((refused.code, refused.domain, refused.reason), (3, "piooy", "BODY_TOO_LARGE"), "code and ErrorInfo")


def other_accounts(report: Report, server: Server, faces: Faces) -> None:
    with report.check("another account's task is not there: not to read, cancel or follow, and not in the list"):
        other = Http(server.port, server.account("neighbour", credits=10))
        task_id = other.data("POST", "/api/v1/generate/image", {**PICTURE, "model": "z-image-turbo"})["taskId"]
        expect(other.task(task_id)["taskId"], task_id, "its owner reads it")
        case = Case("", "get_task_status", {"taskId": task_id}, 404, 5, "TASK_NOT_FOUND", (task_id,))
        same_refusal(faces, case)
        for verb, path in [("POST", "cancel"), ("GET", "events")]:
            answer = faces.http.send(verb, f"/api/v1/tasks/{task_id}/{path}")
            expect(envelope_of(answer, 404)["reason"], "TASK_NOT_FOUND", f"reason of {path}")
        expect(faces.http.data("GET", "/api/v1/tasks")["tasks"], [], "the list")
    with report.check("another account's key can't be revoked"):
        key_id = other.data("GET", "/api/v1/apikeys")["apiKeys"][0]["id"]
        answer = faces.http.send("DELETE", f"/api/v1/apikeys/{key_id}")
        expect(envelope_of(answer, 404)["reason"], "API_KEY_NOT_FOUND", "reason")
        expect(other.get("/api/v1/credits").status, 200, "the key still works")


def idempotency(report: Report, faces: Faces) -> None:
    with report.check("an idempotency key used again: the same task, or a refusal of another request, on each face"):
        request = {**PICTURE, "model": "z-image-turbo", "prompt": "[sandbox:fail=content_policy] once"}
        other = {**request, "prompt": "[sandbox:fail=content_policy] twice"}
        header = {"Idempotency-Key": "k-1"}
        path = "/api/v1/generate/image"
        first = faces.http.post(path, request, headers=header).json["data"]["taskId"]
        expect(faces.http.post(path, request, headers=header).json["data"]["taskId"], first, "REST, same")
        field = {"idempotency_key": "k-1"}
        same = faces.mcp.call("generate_image", {**request, **field})["structuredContent"]
        expect(same["data"]["taskId"], first, "MCP, same")
        same = faces.grpc.call(TOOLS["generate_image"], request, metadata=(("idempotency-key", "k-1"),))
        expect(same["taskId"], first, "gRPC, same")
        envelope = envelope_of(faces.http.post(path, other, headers=header), 409)
        expect(envelope["reason"], "IDEMPOTENCY_KEY_REUSED", "REST, another")
        result = faces.mcp.call("generate_image", {**other, **field})
        expect(result["structuredContent"], envelope, "MCP, another")
        same_by_grpc(refused_by_grpc(faces.grpc, TOOLS["generate_image"], {**other, **field}), envelope)
        while faces.http.credits()[1]:
            time.sleep(0.1)


def paths(report: Report, faces: Faces) -> None:
    with report.check("a path that is not there is 404, a method it does not take 405 with Allow"):
        expect(envelope_of(faces.http.get("/api/v1/nothing"), 404)["reason"], "PATH_NOT_FOUND", "reason")
        answer = faces.http.send("DELETE", "/api/v1/credits")
        expect(envelope_of(answer, 405)["reason"], "METHOD_NOT_ALLOWED", "reason")
        contains(answer.headers["allow"], "GET")
    for path in OAUTH_PATHS:
        with report.check(f"{path} is 404"):
            expect(faces.http.get(path).status, 404, "status")


def well_formed_key() -> str:
    """A key with the right tail that no server has ever made: CRC-32 in six base62 digits ends every key."""
    body = "piooy_live_" + (uuid.uuid4().hex * 2)[:32]
    rest, tail = zlib.crc32(body.encode()), ""
    for _ in range(6):
        rest, digit = divmod(rest, 62)
        tail = BASE62[digit] + tail
    return body + tail


def expired_key(server: Server) -> str:
    return server.tell("keys", "create", "--account", "faulty", "--expires-in", "1s")


def revoked_key(server: Server) -> str:
    """A key that was good, was used, and was revoked on the command line beside the running server."""
    key = server.tell("keys", "create", "--account", "faulty", "--name", "to be revoked")
    expect(Http(server.port, key).get("/api/v1/credits").status, 200, "before it is revoked")
    server.revoke("faulty", "to be revoked")
    return key


def keys(report: Report, server: Server) -> None:
    good = server.live_key
    typo = good[:-1] + ("a" if good[-1] != "a" else "b")
    wrong = {"KEY_EXPIRED": expired_key(server), "KEY_REVOKED": revoked_key(server)}
    # Longer than the second that an expiry needs and that a revocation may take to be known everywhere.
    time.sleep(1.5)
    cases = [
        ("no key", None, "KEY_MISSING"),
        ("a text that is no key", "hello", "KEY_MALFORMED"),
        ("a key with a typo", typo, "KEY_MALFORMED"),
        ("a key cut short", good[:-3], "KEY_MALFORMED"),
        ("a key that nobody has", well_formed_key(), "KEY_UNKNOWN"),
        ("an expired key", wrong["KEY_EXPIRED"], "KEY_EXPIRED"),
        ("a revoked key", wrong["KEY_REVOKED"], "KEY_REVOKED"),
    ]
    grpc = Grpc(server.grpc)
    try:
        for name, key, reason in cases:
            with report.check(f"{name} is 401 {reason}, alike on three faces, and never speaks of OAuth"):
                http = Http(server.port, key, WRONG_KEY_SOURCE)
                rest, mcp = http.get("/api/v1/credits"), McpWire(http)
                asked = [mcp.request("tools/list"), mcp.modern("server/discover")]
                envelope = envelope_of(rest, 401)
                expect((envelope["code"], envelope["reason"]), (16, reason), "code and reason")
                ensure(key is None or key not in envelope["message"], "the message repeats the key")
                for message_id, answer in enumerate(asked, start=1):
                    expect(carried(answer, 401, message_id), envelope, "MCP, the envelope")
                for answer in [rest, *asked]:
                    challenge = answer.headers["www-authenticate"]
                    ensure(challenge.split()[0] == "Bearer", f"WWW-Authenticate: {challenge}")
                    ensure("resource_metadata" not in challenge, f"WWW-Authenticate: {challenge}")
                same_by_grpc(refused_by_grpc(grpc, "AccountService/GetBalance", {}, key=key), envelope)
    finally:
        grpc.close()
    with report.check("a key works as x-api-key too"):
        http = Http(server.port)
        expect(http.get("/api/v1/credits", headers={"x-api-key": good}).status, 200, "status")
    with report.check("a revocation over REST is effective within a second"):
        owner = Http(server.port, server.account("revoker"))
        made = owner.data("POST", "/api/v1/apikeys", {"name": "short-lived"})
        short = Http(server.port, made["key"], WRONG_KEY_SOURCE)
        expect(short.get("/api/v1/credits").status, 200, "before")
        owner.data("DELETE", f"/api/v1/apikeys/{made['apiKey']['id']}")
        time.sleep(1)
        expect(short.get("/api/v1/credits").json["reason"], "KEY_REVOKED", "after a second")


def scopes(report: Report, server: Server) -> None:
    with report.check("a key without the scope is 403 INSUFFICIENT_SCOPE, alike on three faces"):
        key = server.tell("keys", "create", "--account", "faulty", "--scopes", "read")
        faces = Faces(Http(server.port, key), Grpc(server.grpc, key))
        same_refusal(faces, Case("", "generate_image", PICTURE, 403, 7, "INSUFFICIENT_SCOPE", ("generate",)))
        expect(faces.http.get("/api/v1/credits").status, 200, "reading")
        faces.grpc.close()
    with report.check("administration is refused to a key without the scope admin"):
        grpc = Grpc(server.grpc, server.live_key)
        refused = refused_by_grpc(grpc, "AdminService/ListAccounts", {})
        expect((refused.code, refused.reason), (7, "INSUFFICIENT_SCOPE"), "code and reason")
        grpc.close()


def rate_limit(report: Report, server: Server) -> None:
    """The plan free takes 60 submissions a minute; a refused submission spends as any other, and costs nothing."""
    key = server.account("hasty", plan="free")
    faces = Faces(Http(server.port, key), Grpc(server.grpc, key))
    bad = {**PICTURE, "model": "no-such-model"}

    with report.check("the budget of the plan free is spent after 60 submissions, then 429 with Retry-After"):
        began = time.monotonic()
        taken = 0
        while (answer := faces.http.tool("generate_image", bad)).status == 404:
            taken += 1
            ensure(taken < 2 * FREE_SUBMITS_PER_MINUTE, f"{taken} were taken")
            expect(answer.headers["ratelimit-limit"], str(FREE_SUBMITS_PER_MINUTE), "RateLimit-Limit")
        refilled = (time.monotonic() - began) * FREE_SUBMITS_PER_MINUTE / 60
        ensure(0 <= taken - FREE_SUBMITS_PER_MINUTE <= refilled + 1, f"{taken} were taken, {refilled:.1f} refilled")
        envelope = envelope_of(answer, 429)
        expect((envelope["code"], envelope["reason"]), (8, "RATE_LIMITED"), "code and reason")
        pause = int(answer.headers["retry-after"])
        ensure(1 <= pause <= 2, f"Retry-After: {pause}, where a place comes free every second")
        expect(envelope["details"]["retryAfterSeconds"], pause, "retryAfterSeconds")

    with report.check("a refusal for haste says what is left, as every answer does"):
        expect(answer.headers.get("ratelimit-limit"), str(FREE_SUBMITS_PER_MINUTE), "RateLimit-Limit")
        expect(answer.headers.get("ratelimit-remaining"), "0", "RateLimit-Remaining")

    with report.check("the three faces spend one budget"):
        call = {"name": "generate_image", "arguments": bad}
        answer = until_limited(
            lambda: faces.mcp.request("tools/call", call), lambda each: each.json["result"]["structuredContent"]["reason"]
        )
        result = answer.json["result"]
        expect(result["isError"], True, "MCP, isError")
        told = result["structuredContent"]["details"]["retryAfterSeconds"]
        ensure(told >= 1, "MCP, retryAfterSeconds")
        expect(answer.headers.get("retry-after"), str(told), "MCP, Retry-After")
        expect(answer.headers.get("ratelimit-limit"), str(FREE_SUBMITS_PER_MINUTE), "MCP, RateLimit-Limit")
        expect(answer.headers.get("ratelimit-remaining"), "0", "MCP, RateLimit-Remaining")
        refused = until_limited(
            lambda: refused_by_grpc(faces.grpc, TOOLS["generate_image"], bad), lambda each: each.reason
        )
        expect((refused.code, refused.domain), (8, "piooy"), "gRPC, code and domain")
        ensure(0 < refused.retry_seconds <= 2, f"gRPC, RetryInfo: {refused.retry_seconds}")

    with report.check("reading has a budget of its own"):
        expect(faces.http.get("/api/v1/credits").status, 200, "status")

    with report.check("after Retry-After a submission passes"):
        time.sleep(pause)
        expect(faces.http.tool("generate_image", bad).status, 404, "status")
    faces.grpc.close()


def until_limited(call, reason):
    """The first answer that is RATE_LIMITED; one place may have come free meanwhile."""
    for _ in range(3):
        answer = call()
        if reason(answer) == "RATE_LIMITED":
            return answer
    raise Failed(f"three in a row passed; the last answer is {answer}")


def guessing(report: Report, server: Server) -> None:
    with report.check("who guesses keys is turned away, and nobody else"):
        answers = [Http(server.port, well_formed_key(), GUESSING_SOURCE).get("/api/v1/credits") for _ in range(30)]
        statuses = [answer.status for answer in answers]
        expect(statuses[:20], [401] * 20, "the first 20")
        ensure(429 in statuses[20:], f"the next ten: {statuses[20:]}")
        last = next(answer for answer in answers if answer.status == 429)
        expect(envelope_of(last, 429)["reason"], "TOO_MANY_FAILURES", "reason")
        ensure(int(last.headers["retry-after"]) >= 1, "Retry-After")
        expect(Http(server.port, server.live_key).get("/api/v1/credits").status, 200, "another address")
