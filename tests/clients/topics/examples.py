"""The three calls of the documentation, exactly as written there, through every client, to the last byte delivered."""

import re
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from kit import media
from kit.http_face import Http
from kit.report import Report, ensure, expect
from kit.server import Server
from kit.ways import GrpcWay, Rest, Sdk, sdks

IMAGE = {
    "model": "nano-banana-pro",
    "prompt": "a golden retriever wearing a beret in Paris",
    "resolution": "2K",
    "aspect_ratio": "16:9",
}
VIDEO = {
    "model": "veo-3-1",
    "prompt": "drone shot of a lighthouse at sunset, 16:9, cinematic",
    "duration": "5",
    "resolution": "1080p",
}
TOOLS = [
    "generate_image",
    "generate_video",
    "quote",
    "get_task_status",
    "list_tasks",
    "cancel_task",
    "create_upload",
    "list_models",
    "get_model",
    "get_balance",
]

POLL_SECONDS = 1
TASK_SECONDS_MAX = 300


def run(report: Report, server: Server) -> None:
    key = server.test_key
    ways = []
    with tempfile.TemporaryDirectory() as directory:
        try:
            ways += [Rest(server, key), GrpcWay(server, key)]
            ways += [client.start(server, key) for client in sdks()]
            for way in ways:
                if isinstance(way, Sdk):
                    with report.check(f"{way.name}: agrees on {way.protocol} and lists the tools"):
                        expect(way.hello["protocol"], way.protocol, "protocol")
                        expect(way.hello["server"], "piooy/piooy", "server name")
                        expect(way.tools(), TOOLS, "tools")
            with ThreadPoolExecutor(len(ways)) as pool:
                tasks = list(pool.map(lambda way: follow(report, way, Path(directory)), ways))
            finished = [task for pair in tasks if pair for task in pair]
            with report.check("every client made its own picture and its own clip"):
                expect(len(set(finished)), 2 * len(ways), "different tasks")
            links(report, ways[0], tasks[0][0])
            spellings(report, server)
            watch(report, ways[1])
            for kind, position in [("picture", 0), ("clip", 1)]:
                with report.check(f"all clients read the same {kind} task alike"):
                    alike(ways, tasks[0][position])
        finally:
            for way in ways:
                way.close()


def follow(report: Report, way, directory: Path) -> tuple[str, str] | None:
    """Both examples through one client; the ids of their tasks."""
    picture = clip = None
    with report.check(f"{way.name}: both generate calls answer at once with a taskId"):
        began = time.monotonic()
        picture, clip = way.call("generate_image", IMAGE), way.call("generate_video", VIDEO)
        ensure(time.monotonic() - began < 10, "the two calls took more than 10 s")
        for task in [picture, clip]:
            ensure(len(task["taskId"]) == 36 and task["taskId"][14] == "7", f"{task['taskId']} is no UUIDv7")
            ensure(task["status"] in ["PENDING", "PROCESSING"], f"a new task is {task['status']}")
    if clip is None:
        return None
    place = directory / way.name.replace(" ", "-")
    with report.check(f"{way.name}: the picture is a PNG of the stated size, 16:9"):
        check_picture(until_final(way, picture["taskId"]))
    with report.check(f"{way.name}: the clip is 6 s of H.264 of the stated size, 16:9, and says why not 5 s"):
        check_clip(until_final(way, clip["taskId"]), place.with_suffix(".mp4"))
    return picture["taskId"], clip["taskId"]


def until_final(way, task_id: str) -> dict:
    """Polls a task as the documentation says, until SUCCESS or FAILED."""
    until = time.monotonic() + TASK_SECONDS_MAX
    progress = 0
    while True:
        task = way.call("get_task_status", {"taskId": task_id})
        expect(task["taskId"], task_id, "taskId")
        ensure(task["progress"] >= progress, f"progress fell from {progress} to {task['progress']}")
        progress = task["progress"]
        if task["status"] in ["SUCCESS", "FAILED"]:
            expect((task["status"], task.get("error")), ("SUCCESS", None), "the task ended")
            expect(progress, 100, "progress of a finished task")
            return task
        expect(task["outputs"], [], "outputs of an open task")
        ensure(time.monotonic() < until, f"the task is still {task['status']} after {TASK_SECONDS_MAX} s")
        time.sleep(POLL_SECONDS)


def only_output(task: dict, kind: str) -> tuple[dict, bytes]:
    """A task's one output, downloaded, and what can be said of any output."""
    expect(len(task["outputs"]), 1, "outputs")
    output = task["outputs"][0]
    file, media_type = media.download(output["url"])
    expect((media_type, output["mimeType"]), (kind, kind), "media types, served and stated")
    expect(len(file), int(output["sizeBytes"]), "bytes")
    thumbnail, media_type = media.download(output["thumbnailUrl"])
    expect((media_type, thumbnail[:3]), ("image/jpeg", b"\xff\xd8\xff"), "thumbnail")
    expect((task["provider"], task["test"]), ("sandbox", True), "provider and test")
    expect(int(task["credits"]["charged"]), 0, "credits charged to a test key")
    return output, file


def check_picture(task: dict) -> None:
    output, file = only_output(task, "image/png")
    expect((task["model"], task["mediaType"]), ("nano-banana-pro", "IMAGE"), "model and media type")
    expect(task["adjustments"], [], "adjustments")
    expect(media.png_size(file), (output["width"], output["height"]), "size, in the file and stated")
    media.shaped(output["width"], output["height"], 16, 9)
    ensure(output["width"] >= 2048, f"2K is {output['width']} pixels across")
    ensure("durationSeconds" not in output, "a picture has a duration")


def check_clip(task: dict, path: Path) -> None:
    output, file = only_output(task, "video/mp4")
    expect((task["model"], task["mediaType"]), ("veo-3-1", "VIDEO"), "model and media type")
    path.write_bytes(file)
    video = media.video(path)
    expect(video.codec, "h264", "codec")
    expect((video.width, video.height), (output["width"], output["height"]), "size, in the file and stated")
    expect(min(video.width, video.height), 1080, "lines of 1080p")
    media.shaped(video.width, video.height, 16, 9)
    expect(output["durationSeconds"], 6, "durationSeconds")
    difference = abs(video.seconds - output["durationSeconds"])
    ensure(difference <= media.DURATION_TOLERANCE_SECONDS, f"it lasts {video.seconds} s")
    expect(video.frames, video.frames_promised, "frames decoded")
    ensure(abs(video.frames / video.frames_per_second - 6) < 0.1, f"{video.frames} frames at {video.frames_per_second}/s")
    expect(len(task["adjustments"]), 1, "adjustments")
    adjustment = task["adjustments"][0]
    expect([adjustment[name] for name in ["field", "asked", "used"]], ["duration", "5", "6"], "adjustment")
    ensure(adjustment["why"], "the adjustment does not say why")


def links(report: Report, rest: Rest, task_id: str) -> None:
    with report.check("a link serves ranges, and only as it was signed"):
        url = rest.call("get_task_status", {"taskId": task_id})["outputs"][0]["url"]
        where, query = urlsplit(url).path, urlsplit(url).query
        anyone = Http(urlsplit(url).port)
        answer = anyone.get(f"{where}?{query}", headers={"Range": "bytes=0-7"})
        expect((answer.status, answer.body), (206, media.PNG_SIGNATURE), "a range")
        expires = re.search(r"expires=(\d+)", query)[1]
        for forged in [query[:-4] + "AAAA", query.replace(expires, str(int(expires) + 3600)), ""]:
            answer = anyone.get(f"{where}?{forged}")
            expect((answer.status, answer.json["reason"]), (403, "LINK_INVALID"), f"with {forged!r}")


def spellings(report: Report, server: Server) -> None:
    """What agents write instead of what is documented."""
    http = Http(server.port, server.test_key)
    meant = quoted(http, VIDEO)
    expect((meant["durationSeconds"], meant["width"], meant["height"]), (6, 1920, 1080), "the quote of the example")
    for name, change in [
        ("a number for text", {"duration": 5}),
        ("dots in a slug", {"model": "veo-3.1"}),
        ("capitals in a resolution", {"resolution": "1080P"}),
        ("a shape in camel case", {"aspectRatio": "16:9"}),
        ("a shape in snake case", {"aspect_ratio": "16:9"}),
        ("text for a yes or no", {"strict": "false"}),
    ]:
        with report.check(f"{name} means the same"):
            expect(quoted(http, {**VIDEO, **change}), meant, f"the quote with {change}")


def quoted(http: Http, request: dict) -> dict:
    """What a quote says, without what makes it one of its own."""
    quote = http.data("POST", "/api/v1/quote", request)
    return {name: value for name, value in quote.items() if name not in ["quoteId", "expiresAt"]}


def watch(report: Report, grpc: GrpcWay) -> None:
    with report.check("gRPC: WatchTask follows a task from where it is to its end"):
        request = {"model": "z-image-turbo", "prompt": "[sandbox:delay=2s] a fox"}
        task_id = grpc.call("generate_image", request)["taskId"]
        states = grpc.watch(task_id)
        ensure(states[0]["status"] in ["PENDING", "PROCESSING"], f"the first state is {states[0]['status']}")
        expect(states[-1], grpc.call("get_task_status", {"taskId": task_id}), "the last state, against a read")
        expect(states[-1]["status"], "SUCCESS", "the last status")
        expect(len(grpc.watch(task_id)), 1, "states of a task that has ended")


def alike(ways: list, task_id: str) -> None:
    """Fails unless every way tells the same of a task that has ended."""
    answers = {way.name: plain(way.call("get_task_status", {"taskId": task_id})) for way in ways}
    reference = answers["REST"]
    for name, answer in answers.items():
        for field in sorted(reference.keys() | answer.keys()):
            expect(answer.get(field), reference.get(field), f"{field} as {name} tells it, against REST")


def plain(task: dict) -> dict:
    """A task with 64-bit numbers as numbers: protobuf's own JSON has them as strings."""
    outputs = [{**output, "sizeBytes": int(output["sizeBytes"])} for output in task["outputs"]]
    credits = {name: int(amount) for name, amount in task["credits"].items()}
    return {**task, "outputs": outputs, "credits": credits, **times(task)}


def times(task: dict) -> dict:
    """A task's times as times: how many digits a second has is each face's own business."""
    return {name: datetime.fromisoformat(task[name]) for name in ["createdAt", "startedAt", "finishedAt"]}
