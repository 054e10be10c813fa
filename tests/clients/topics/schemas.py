"""The documents that describe the API: valid by themselves, and true of what the server really answers."""

import copy
import csv
import io
import json
import time

from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from kit.http_face import MCP_PATH, Http, McpWire
from kit.report import Report, ensure, expect
from kit.server import Server

OPENAPI = "urn:openapi"
CARD_PATHS = ["/.well-known/mcp/server-card.json", f"{MCP_PATH}/server-card"]

# A server card (SEP-2127), as far as this server's has anything to be wrong. Objects are open.
CARD = {
    "type": "object",
    "required": ["$schema", "name", "version", "description", "remotes"],
    "properties": {
        "$schema": {"const": "https://static.modelcontextprotocol.io/schemas/v1/server-card.schema.json"},
        "name": {"type": "string", "minLength": 3, "maxLength": 200, "pattern": "^[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+$"},
        "version": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[0-9][^<>=~^*x ]*$"},
        "description": {"type": "string", "minLength": 1, "maxLength": 100},
        "title": {"type": "string", "minLength": 1, "maxLength": 100},
        "websiteUrl": {"type": "string", "pattern": "^https?://"},
        "remotes": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["type", "url"],
                "properties": {
                    "type": {"enum": ["streamable-http", "sse"]},
                    "url": {"type": "string", "pattern": "^https?://"},
                    "headers": {"type": "array", "items": {"$ref": "#/$defs/header"}},
                    "supportedProtocolVersions": {"type": "array", "minItems": 1, "items": {"type": "string"}},
                },
            },
        },
        # Removed from the standard before it was final.
        "tools": False,
        "capabilities": False,
        "authentication": False,
    },
    "$defs": {
        "input": {
            "type": "object",
            "properties": {
                "description": {"type": "string"},
                "isRequired": {"type": "boolean"},
                "isSecret": {"type": "boolean"},
                "value": {"type": "string"},
            },
        },
        "header": {
            "allOf": [{"$ref": "#/$defs/input"}],
            "required": ["name"],
            "properties": {
                "name": {"type": "string"},
                "variables": {"type": "object", "additionalProperties": {"$ref": "#/$defs/input"}},
            },
        },
    },
}


def run(report: Report, server: Server) -> None:
    http = Http(server.port, server.account("reader", credits=100))
    openapi(report, http)
    tools(report, http)
    card(report, server, http)


def closed(schema):
    """The same schema, but every object it describes has the fields it describes and no others.

    So an answer with a field that is documented nowhere fails. Only the details of a refusal stay open: they are looked
    at by themselves.
    """
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    stricter = {name: value if name == "details" else closed(value) for name, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema and "allOf" not in schema:
        stricter["additionalProperties"] = False
    return stricter


def conforms(validator: Draft202012Validator, answer, what: str) -> None:
    errors = [f"{error.json_path}: {error.message[:300]}" for error in validator.iter_errors(answer)]
    ensure(not errors, f"{what}: {'; '.join(errors[:5])}")


def openapi(report: Report, http: Http) -> None:
    document = http.get("/openapi.json").json
    with report.check("/openapi.json is valid OpenAPI 3.1"):
        ensure(document["openapi"].startswith("3.1."), f"it is {document['openapi']}")
        errors = [f"{list(error.absolute_path)}: {error.message[:300]}" for error in OpenAPIV31SpecValidator(document).iter_errors()]
        ensure(not errors, "; ".join(errors[:5]))
    with report.check("/openapi.json can be kept: ETag, and 304 to who has it"):
        etag = http.get("/openapi.json").headers["etag"]
        answer = http.get("/openapi.json", headers={"If-None-Match": etag})
        expect((answer.status, answer.body), (304, b""), "answer")

    resource = Resource(contents=closed(document), specification=DRAFT202012)
    registry = Registry().with_resource(OPENAPI, resource)

    def described(path: str, verb: str, status: int) -> Draft202012Validator:
        answer = document["paths"][path][verb]["responses"][str(status)]
        place = f"#/paths/{path.replace('/', '~1')}/{verb}/responses/{status}"
        if "$ref" in answer:
            place = answer["$ref"]
        return Draft202012Validator({"$ref": f"{OPENAPI}{place}/content/application~1json/schema"}, registry=registry)

    hook = http.data("POST", "/api/v1/webhooks", {"url": "https://example.com/piooy"})["webhook"]["id"]
    done = finished(http)
    delivery = http.data("GET", "/api/v1/webhooks/deliveries")["deliveries"][0]["id"]
    failed = finished(http, "[sandbox:fail=content_policy] a fox")
    unknown = "0198c5a2-7a44-7cc1-9d6a-1f2e3d4c5b6a"
    image = {"model": "z-image-turbo", "prompt": "a fox", "provider": "sandbox"}
    clip = {"model": "veo-3-1", "prompt": "a fox", "duration": "5", "provider": "sandbox"}
    made = http.data("POST", "/api/v1/apikeys", {"name": "described", "expiresAt": "2099-01-01T00:00:00Z"})["apiKey"]["id"]
    invited = http.data("POST", "/api/v1/members", {"email": "ann@example.org", "role": "MEMBER"})["member"]["id"]
    calls = [
        ("post", "/api/v1/generate/image", None, image, 200),
        ("post", "/api/v1/generate/image", None, {**image, "model": "x"}, 404),
        ("post", "/api/v1/generate/image", None, {**image, "prompt": ""}, 422),
        ("post", "/api/v1/generate/image", None, {**image, "colour": "red"}, 400),
        ("post", "/api/v1/generate/image", None, {**image, "model": "nano-banana-pro", "provider": ""}, 503),
        ("post", "/api/v1/generate/video", None, clip, 402),
        ("post", "/api/v1/generate", None, {**image, "options": {"resolution": "1K"}, "scene": "text-to-image"}, 200),
        ("post", "/api/v1/quote", None, clip, 200),
        ("get", "/api/v1/tasks", None, None, 200),
        ("get", "/api/v1/tasks/{taskId}", done, None, 200),
        ("get", "/api/v1/tasks/{taskId}", failed, None, 200),
        ("get", "/api/v1/tasks/{taskId}", unknown, None, 404),
        ("post", "/api/v1/tasks/{taskId}/cancel", done, None, 200),
        ("get", "/api/v1/models", None, None, 200),
        ("get", "/api/v1/models/{slug}", "veo-3-1", None, 200),
        ("get", "/api/v1/models/{slug}", "veo-3-2", None, 404),
        ("get", "/api/v1/credits", None, None, 200),
        ("get", "/api/v1/credits/transactions", None, None, 200),
        ("get", "/api/v1/credits/spending", None, None, 200),
        ("post", "/api/v1/apikeys", None, {"name": "another", "test": True}, 200),
        ("get", "/api/v1/apikeys", None, None, 200),
        ("delete", "/api/v1/apikeys/{id}", made, None, 200),
        ("post", "/api/v1/members", None, {"email": "bob@example.org", "role": "VIEWER"}, 200),
        ("post", "/api/v1/members", None, {"email": "bob@example.org", "role": "VIEWER"}, 409),
        ("get", "/api/v1/members", None, None, 200),
        ("post", "/api/v1/members/{id}/role", invited, {"role": "OWNER"}, 200),
        ("post", "/api/v1/members/{id}/role", unknown, {"role": "OWNER"}, 404),
        ("delete", "/api/v1/members/{id}", invited, None, 200),
        ("post", "/api/v1/uploads/link", None, None, 200),
        ("post", "/api/v1/webhooks", None, {"url": "https://example.com/another"}, 200),
        ("post", "/api/v1/webhooks", None, {"url": "http://10.0.0.1/"}, 422),
        ("get", "/api/v1/webhooks", None, None, 200),
        ("get", "/api/v1/upstreamkeys", None, None, 200),
        ("put", "/api/v1/upstreamkeys/{upstream}", "fal", {"key": "a-key-of-my-own"}, 200),
        ("delete", "/api/v1/upstreamkeys/{upstream}", "fal", None, 200),
        ("get", "/api/v1/webhooks/deliveries", None, None, 200),
        ("post", "/api/v1/webhooks/deliveries/{id}/redeliver", delivery, None, 200),
        ("get", "/api/v1/webhooks/secret", None, None, 200),
        ("post", "/api/v1/webhooks/secret/rotate", None, None, 200),
        ("delete", "/api/v1/webhooks/{id}", hook, None, 200),
    ]
    details: dict[str, str] = {}
    for verb, path, name, body, status in calls:
        with report.check(f"{verb.upper()} {path} answers {status} as described"):
            where = "".join([path.split("{")[0], name, path.split("}")[1]]) if name else path
            answer = http.send(verb.upper(), where, body)
            expect(answer.status, status, f"status of {answer.body[:300]!r}")
            conforms(described(path, verb, status), answer.json, "answer")
            details.update({detail: answer.json["reason"] for detail in answer.json.get("details", {})})
    with report.check("the details of refusals are described"):
        ensure(details, "no refusal had any")
        known = document["components"]["schemas"]["Error"]["properties"]["details"]["properties"]
        expect({detail: reason for detail, reason in details.items() if detail not in known}, {}, "not described")
    with report.check("401 is as described"):
        answer = Http(http.port).get("/api/v1/credits")
        conforms(described("/api/v1/credits", "get", 401), answer.json, "answer")
    with report.check("every operation that is described was called"):
        told = {(verb, path) for path, verbs in document["paths"].items() for verb in verbs}
        called = {(verb, path) for verb, path, *_ in calls}
        # The statement as a file and the events of a task are not JSON: looked at below.
        others = [("get", "/api/v1/credits/transactions.csv"), ("get", "/api/v1/tasks/{taskId}/events")]
        expect(sorted(told - called), others, "operations not called")
    with report.check("the statement as a file says what the statement says, under the type that is described"):
        answer = http.get("/api/v1/credits/transactions.csv")
        types = document["paths"]["/api/v1/credits/transactions.csv"]["get"]["responses"]["200"]["content"]
        expect((answer.status, answer.headers["content-type"].split(";")[0]), (200, *types), "status and type")
        rows = list(csv.DictReader(io.StringIO(answer.body.decode(), newline="")))
        told = [(str(entry["sequence"]), entry["kind"], str(entry["amount"]), entry["taskId"]) for entry in http.transactions()][::-1]
        expect([(row["sequence"], row["kind"], row["amount"], row["task_id"]) for row in rows], told, "rows")
    with report.check("the events of a task are its states in their envelopes, until it has ended"):
        task_id = http.data("POST", "/api/v1/generate/image", {**image, "prompt": "[sandbox:delay=2s] a fox"})["taskId"]
        answer = http.get(f"/api/v1/tasks/{task_id}/events")
        expect((answer.status, answer.headers["content-type"]), (200, "text/event-stream"), "status and type")
        lines = answer.body.decode().splitlines()
        events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
        validator = described("/api/v1/tasks/{taskId}", "get", 200)
        for event in events:
            conforms(validator, event, "event")
            expect(event["data"]["taskId"], task_id, "taskId")
        ensure(len(events) >= 2, f"{len(events)} events")
        expect(events[-1]["data"]["status"], "SUCCESS", "the last status")
        expect(events[-1], {"code": 0, "message": "ok", "data": http.task(task_id)}, "the last event, against a read")


def finished(http: Http, prompt: str = "a fox") -> str:
    """The id of a task that has ended."""
    request = {"model": "z-image-turbo", "prompt": prompt, "provider": "sandbox"}
    task_id = http.data("POST", "/api/v1/generate/image", request)["taskId"]
    until = time.monotonic() + 60
    while http.task(task_id)["status"] in ["PENDING", "PROCESSING"]:
        ensure(time.monotonic() < until, "the task has not ended after 60 s")
        time.sleep(0.1)
    return task_id


def tools(report: Report, http: Http) -> None:
    wire = McpWire(http)
    described = {tool["name"]: tool for tool in wire.request("tools/list").json["result"]["tools"]}
    for name, tool in described.items():
        with report.check(f"{name}: input and output schema are JSON Schema 2020-12 with an object at the root"):
            for schema in [tool["inputSchema"], tool["outputSchema"]]:
                Draft202012Validator.check_schema(schema)
                expect(schema["type"], "object", "type of the root")
                ensure("$ref" not in json.dumps(schema), "it refers to something")
        with report.check(f"{name}: title, description and hints are there"):
            ensure(tool["title"] and len(tool["description"]) > 40, "title and description")
            for field, value in tool["inputSchema"]["properties"].items():
                ensure(value.get("description"), f"{field} has no description")
            read_only = name not in ["generate_image", "generate_video", "cancel_task", "create_upload"]
            open_world = name in ["generate_image", "generate_video", "cancel_task"]
            hints = tool["annotations"]
            expect(hints["readOnlyHint"], read_only, "readOnlyHint")
            expect(hints["openWorldHint"], open_world, "openWorldHint")
            expect(hints["destructiveHint"], name == "cancel_task", "destructiveHint")

    picture = {"model": "z-image-turbo", "prompt": "a fox", "provider": "sandbox"}
    clip = {"model": "seedance-1-5-pro", "prompt": "[sandbox:fail=timeout] a fox", "provider": "sandbox"}
    calls = [
        ("generate_image", picture, False),
        ("generate_image", {**picture, "model": "x"}, True),
        ("generate_image", {**picture, "prompt": ""}, True),
        ("generate_video", clip, False),
        ("generate_video", {**clip, "duration": "99"}, True),
        ("get_task_status", {"taskId": finished(http)}, False),
        ("get_task_status", {"taskId": finished(http, "[sandbox:fail=timeout] a fox")}, False),
        ("get_task_status", {"taskId": "nonsense"}, True),
        ("get_task_status", {"taskId": finished(http), "wait_seconds": 5}, False),
        ("generate_image", {**picture, "wait_seconds": 50}, False),
        ("quote", picture, False),
        ("quote", {**picture, "model": "x"}, True),
        ("cancel_task", {"taskId": finished(http)}, False),
        ("create_upload", {}, False),
        ("list_tasks", {"pageSize": 5}, False),
        ("list_models", {"mediaType": "VIDEO"}, False),
        ("get_model", {"slug": "veo-3-1"}, False),
        ("get_balance", {}, False),
    ]
    for name, arguments, is_error in calls:
        with report.check(f"{name} with {json.dumps(arguments)[:70]}…: the {'failure' if is_error else 'answer'} is as described"):
            schema = described[name]["outputSchema"]
            result = wire.call(name, arguments)
            expect(result["isError"], is_error, "isError")
            conforms(Draft202012Validator(closed(copy.deepcopy(schema))), result["structuredContent"], "structuredContent")
            expect(json.loads(result["content"][0]["text"]), result["structuredContent"], "the text")
            if not is_error:
                conforms(Draft202012Validator(described[name]["inputSchema"]), arguments, "the arguments")
    for name, arguments in [("generate_image", {}), ("generate_image", {**picture, "colour": "red"}), ("get_task_status", {"taskId": 1})]:
        with report.check(f"the schema of {name} refuses {arguments}"):
            ensure(not Draft202012Validator(described[name]["inputSchema"]).is_valid(arguments), "it is valid")


def card(report: Report, server: Server, http: Http) -> None:
    for path in CARD_PATHS:
        with report.check(f"{path} is a valid server card that anyone may read and keep"):
            answer = Http(http.port).get(path)
            expect((answer.status, answer.headers["content-type"]), (200, "application/mcp-server-card+json"), "answer")
            Draft202012Validator.check_schema(CARD)
            conforms(Draft202012Validator(CARD), answer.json, "card")
            expect(answer.headers["access-control-allow-origin"], "*", "Access-Control-Allow-Origin")
            ensure("etag" in answer.headers["access-control-expose-headers"].lower(), "ETag is not exposed")
            expect(answer.headers["cache-control"], "public, max-age=3600", "Cache-Control")
            again = Http(http.port).get(path, headers={"If-None-Match": answer.headers["etag"]})
            expect(again.status, 304, "status to who has it")
    with report.check("a page may ask for the card with If-None-Match"):
        asked = {
            "Origin": "https://anywhere.example",
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "if-none-match",
        }
        answer = Http(http.port).send("OPTIONS", CARD_PATHS[0], headers=asked)
        ensure("GET" in answer.headers["access-control-allow-methods"], "GET is not allowed")
        allowed = answer.headers["access-control-allow-headers"].lower()
        ensure(allowed == "*" or "if-none-match" in allowed, f"allowed headers: {allowed}")
    with report.check("the card agrees with server/discover and names the endpoint"):
        told = Http(http.port).get(CARD_PATHS[0]).json
        discovered = McpWire(http).modern("server/discover").json["result"]
        info = discovered["_meta"]["io.modelcontextprotocol/serverInfo"]
        for field in ["name", "version", "title"]:
            expect(told[field], info[field], field)
        remotes = {remote["type"]: remote for remote in told["remotes"]}
        remote = remotes["streamable-http"]
        expect(remote["url"], server.url + MCP_PATH, "url")
        expect(remote["supportedProtocolVersions"], discovered["supportedVersions"], "versions")
        header = remote["headers"][0]
        expect((header["name"], header["value"]), ("Authorization", "Bearer {api_key}"), "header")
        expect((header["isRequired"], header["isSecret"]), (True, True), "isRequired and isSecret")
