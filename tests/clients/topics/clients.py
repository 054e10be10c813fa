"""Every official client of MCP goes through what people do with Piooy: list, make, see, cancel, be told what is wrong."""

import base64
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor

from kit import media
from kit.inspector import Inspector, inspectors
from kit.report import Report, contains, ensure, expect
from kit.server import Server
from kit.ways import Client, McpWay, over, sdks
from topics.examples import TOOLS

# More at once only wait for each other.
TOGETHER = 4
# What the strictest client takes in one result.
RESULT_BYTES_MAX = 1_048_576
WAIT_SECONDS = 50
OPEN = ["PENDING", "PROCESSING"]
# How clients tell that the server refused their key: in its words, or, where they do not read them, by the status.
REFUSAL = re.compile(r"API key was revoked|\b401\b")

PICTURE = {"model": "nano-banana-2", "prompt": "a pebble"}
SLOW = {"model": "nano-banana-2", "prompt": "[sandbox:delay=60s] a pebble"}

# A bad call of generate_image, the reason in its answer, and what the message says is allowed.
BAD_ARGUMENTS = [
    ({**PICTURE, "colour": "red"}, "UNKNOWN_FIELD", ["colour", "prompt", "aspect_ratio"]),
    ({**PICTURE, "model": "nano-banan"}, "MODEL_NOT_FOUND", ['"nano-banan"', "nano-banana-2"]),
    ({**PICTURE, "aspect_ratio": "5:1"}, "UNSUPPORTED_PARAMETER", ["aspect_ratio", "1:1", "16:9"]),
    ({"model": "nano-banana-2"}, "INVALID_ARGUMENT", ["prompt"]),
]


def run(report: Report, server: Server) -> None:
    every(report, server, [*inspectors(), *sdks(), *over("sse")])


def every(report: Report, server: Server, clients: list[Client]) -> None:
    """The whole script, with each of these clients."""
    with ThreadPoolExecutor(TOGETHER) as pool:
        for done in [pool.submit(script, report, server, client) for client in clients]:
            done.result()


def script(report: Report, server: Server, client: Client) -> None:
    account = re.sub(r"\W+", "-", client.name.lower())
    server.tell("accounts", "create", account, "--plan", "pro")
    with report.check(f"{client.name}: a wrong key is refused"):
        refused(server, client, account)
    way = None
    with report.check(f"{client.name}: agrees on {client.protocol} and lists the tools"):
        way = client.start(server, server.tell("keys", "create", "--account", account, "--test"))
        expect(way.hello, {"protocol": client.protocol, "server": "piooy/piooy"}, "agreement")
        expect(way.tools(), TOOLS, "tools")
    if way is None:
        return
    try:
        with report.check(f"{client.name}: makes a picture, waits for it, and sees it"):
            seen(way.result("generate_image", {**PICTURE, "wait_seconds": WAIT_SECONDS}))
        with report.check(f"{client.name}: asks for a picture that takes long, and cancels it"):
            if way.follows_tasks:
                canceled_from_beside(way)
            else:
                canceled(way)
        with report.check(f"{client.name}: a tool that does not exist is refused"):
            code, names = way.unknown_tool
            refusal = way.ask({"tool": "draw", "arguments": {}})["refused"]
            expect(refusal["code"], code, "code")
            contains(refusal["message"], *names)
        with report.check(f"{client.name}: is told what is wrong with arguments, and what is allowed"):
            for arguments, reason, names in BAD_ARGUMENTS:
                answer = way.ask({"tool": "generate_image", "arguments": arguments})
                told = json.loads(answer["blocks"][0]["text"])
                expect((answer["isError"], told["reason"]), (True, reason), f"answer to {arguments}")
                contains(told["message"], *names)
        if isinstance(way, Inspector):
            inspected(report, way)
    finally:
        way.close()


def refused(server: Server, client: Client, account: str) -> None:
    """The client doesn't connect, and what it says comes from the server's refusal.

    The key was good once: of those that never were an address can show only so many, and all clients share one.
    """
    key = server.tell("keys", "create", "--account", account, "--name", "revoked")
    server.revoke(account, "revoked")
    try:
        client.start(server, key).close()
    except RuntimeError as refusal:
        said = str(refusal)
    else:
        said = "nothing at all: it connected"
    ensure(REFUSAL.search(said), f"it says {said}")


def seen(answer: dict) -> None:
    """The finished picture is in the answer: to look at, and to fetch."""
    task = answer["structured"]["data"]
    expect((task["status"], len(task["outputs"])), ("SUCCESS", 1), "status and outputs")
    output = task["outputs"][0]
    expect([block["type"] for block in answer["blocks"]], ["text", "image", "resource_link"], "blocks")
    _, preview, link = answer["blocks"]
    expect(preview["mimeType"], "image/jpeg", "the preview's media type")
    expect(base64.b64decode(preview["data"], validate=True)[:3], b"\xff\xd8\xff", "the preview's first bytes")
    expect((link["uri"], link["mimeType"]), (output["url"], "image/png"), "the link")
    file, media_type = media.download(link["uri"])
    expect((media_type, len(file)), ("image/png", link["size"]), "media type and bytes of the file")
    expect(media.png_size(file), (output["width"], output["height"]), "its size")
    size = len(json.dumps(answer))
    ensure(size < RESULT_BYTES_MAX, f"the result has {size} bytes")


def canceled(way: McpWay) -> None:
    """A task is canceled by the id that is told before its end."""
    answer = way.result("generate_image", {**SLOW, "wait_seconds": 1})
    task = answer["structured"]["data"]
    ensure(task["status"] in OPEN, f"the task is {task['status']}")
    contains(answer["blocks"][1]["text"], "get_task_status", "wait_seconds")
    asked = {"taskId": task["taskId"]}
    way.call("cancel_task", asked)
    task = way.call("get_task_status", {**asked, "wait_seconds": WAIT_SECONDS})
    expect((task["status"], task["credits"]["charged"]), ("CANCELED", 0), "the end")


def canceled_from_beside(way: McpWay) -> None:
    """The same with a client whose call lasts as long as the task: another of its calls cancels it."""
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(way.ask, {"tool": "generate_image", "arguments": SLOW})
        until = time.monotonic() + WAIT_SECONDS
        while not (found := [task for task in way.call("list_tasks", {})["tasks"] if task["status"] in OPEN]):
            ensure(time.monotonic() < until, "the task is not in the list")
        expect(len(found), 1, "open tasks")
        way.call("cancel_task", {"taskId": found[0]["taskId"]})
        contains(call.result()["refused"]["message"], "cancelled")
    task = way.call("get_task_status", {"taskId": found[0]["taskId"]})
    expect((task["status"], task["credits"]["charged"]), ("CANCELED", 0), "the end")


def inspected(report: Report, inspector: Inspector) -> None:
    """What the Inspector looks at beyond calls."""
    with report.check(f"{inspector.name}: finds nothing to say of the tools' schemas"):
        done = inspector.run("--method", "tools/list", "--strict")
        expect((done.returncode, done.stderr), (0, ""), "exit code and findings")
    with report.check(f"{inspector.name}: finds the view of generate_image"):
        done = inspector.run("--method", "tools/call", "--tool-name", "generate_image", "--app-info")
        expect(done.returncode, 0, f"exit code ({done.stderr})")
        found = json.loads(done.stdout)
        expect((found["hasApp"], found["resourceUri"]), (True, "ui://piooy/viewer"), "view")
        expect(found["resourceMimeType"], "text/html;profile=mcp-app", "its media type")
