"""Credits: what is held, charged and given back, whatever the outcome and however many ask at once."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from kit.grpc_face import Grpc
from kit.http_face import Http
from kit.report import Report, ensure, expect
from kit.server import Server

FINAL = ["SUCCESS", "FAILED", "CANCELED"]
TASK_SECONDS_MAX = 120

# An image of the free tier, 0.575 credits, rounded up to 1; and one of 3.864, rounded up to 4.
ONE = {"model": "z-image-turbo", "resolution": "1K", "provider": "sandbox"}
FOUR = {"model": "nano-banana-2-lite", "resolution": "1K", "provider": "sandbox"}

# From the plan pro: how many tasks of an account may be open at once.
PRO_TASKS_MAX = 32 + 100
SUBMISSIONS = 200

# The legs of each kind of movement: where credits leave and where they arrive.
LEGS = {
    "GRANT": ("grants", "available"),
    "HOLD": ("available", "held"),
    "CAPTURE": ("held", "revenue"),
    "RELEASE": ("held", "available"),
}

# What each rehearsed failure must be called, and whether the same request may succeed later.
FAILURES = {
    "content_policy": ("CONTENT_POLICY", False),
    "invalid_input": ("INVALID_INPUT", False),
    "provider_error": ("PROVIDER_ERROR", True),
    "rate_limited": ("PROVIDER_RATE_LIMITED", True),
    "timeout": ("DEADLINE_EXCEEDED", True),
}


def run(report: Report, server: Server) -> None:
    outcomes(report, server)
    plans(report, server)
    crowds(report, server)
    with report.check("piooy ledger verify finds the books right"):
        verified(server)


def verified(server: Server) -> None:
    done = server.run("ledger", "verify")
    expect(done.returncode, 0, f"exit code of ledger verify, which says {done.stdout!r} {done.stderr!r}")
    ensure("The books are right." in done.stdout, f"it says {done.stdout!r}")


def ended(http: Http, task_id: str) -> dict:
    """The task once it has ended."""
    until = time.monotonic() + TASK_SECONDS_MAX
    while True:
        task = http.task(task_id)
        if task["status"] in FINAL:
            return task
        ensure(time.monotonic() < until, f"the task is still {task['status']} after {TASK_SECONDS_MAX} s")
        time.sleep(0.2)


def submit(http: Http, request: dict, prompt: str, **more) -> dict:
    return http.data("POST", "/api/v1/generate/image", {**request, "prompt": prompt, **more})


def movements(http: Http, task_id: str) -> list[tuple[str, int]]:
    """Kinds and amounts of a task's movements, in order."""
    return [(entry["kind"], entry["amount"]) for entry in http.transactions() if entry["taskId"] == task_id]


def walk(statement: list[dict]) -> tuple[int, int]:
    """Adds a statement up again, movement by movement; the balances it ends with."""
    available = held = 0
    for position, entry in enumerate(statement, start=1):
        what = f"movement {position}"
        expect(entry["sequence"], position, f"sequence of {what}")
        expect((entry["debit"], entry["credit"]), LEGS[entry["kind"]], f"legs of {what}, a {entry['kind']}")
        ensure(entry["amount"] >= 0, f"{what} is of {entry['amount']}")
        for leg, sign in [(entry["debit"], -1), (entry["credit"], 1)]:
            available += sign * entry["amount"] if leg == "available" else 0
            held += sign * entry["amount"] if leg == "held" else 0
        expect((entry["available"], entry["held"]), (available, held), f"balances after {what}")
        ensure(available >= 0 and held >= 0, f"after {what} there are {available} available and {held} held")
    return available, held


def balances_agree(server: Server, account: str, key: str, expected: tuple[int, int]) -> None:
    """REST, gRPC, the command line and the added-up statement tell the same balances."""
    http, grpc = Http(server.port, key), Grpc(server.grpc, key)
    try:
        told = grpc.call("AccountService/GetBalance", {})
    finally:
        grpc.close()
    expect(http.credits(), expected, "REST")
    expect((int(told["available"]), int(told["held"])), expected, "gRPC")
    expect(server.tell("credits", "balance", account), f"{expected[0]} available, {expected[1]} held", "command line")
    expect(walk(http.transactions()), expected, "the statement, added up")


def outcomes(report: Report, server: Server) -> None:
    """One task for each way a task can end."""
    key = server.account("outcomes", credits=100)
    http = Http(server.port, key)

    with report.check("a delivered task: HOLD, then CAPTURE"):
        task = submit(http, ONE, "[sandbox:delay=2s] a fox")
        expect(task["credits"], {"quoted": 1, "held": 1, "charged": 0}, "credits while it runs")
        expect((task["test"], task["provider"]), (False, "sandbox"), "test and provider")
        expect(http.credits(), (99, 1), "balances while it runs")
        task = ended(http, task["taskId"])
        expect((task["status"], task["credits"]), ("SUCCESS", {"quoted": 1, "held": 0, "charged": 1}), "the end")
        expect(movements(http, task["taskId"]), [("HOLD", 1), ("CAPTURE", 1)], "movements")
        balances_agree(server, "outcomes", key, (99, 0))

    for directive, (reason, retryable) in FAILURES.items():
        with report.check(f"a task that fails with {reason}: HOLD, then RELEASE"):
            task = ended(http, submit(http, ONE, f"[sandbox:fail={directive}] a fox")["taskId"])
            expect(task["status"], "FAILED", "status")
            expect((task["error"]["reason"], task["error"]["retryable"]), (reason, retryable), "error")
            ensure(task["error"]["message"], "the error has no message")
            expect((task["outputs"], task["credits"]["charged"]), ([], 0), "outputs and charge")
            expect(movements(http, task["taskId"]), [("HOLD", 1), ("RELEASE", 1)], "movements")

    with report.check("a canceled task: HOLD, then RELEASE, and it stays canceled"):
        task_id = submit(http, ONE, "[sandbox:delay=60s] a fox")["taskId"]
        http.data("POST", f"/api/v1/tasks/{task_id}/cancel")
        task = ended(http, task_id)
        expect((task["status"], task["credits"]["charged"]), ("CANCELED", 0), "the end")
        expect(movements(http, task_id), [("HOLD", 1), ("RELEASE", 1)], "movements")
        expect(http.data("POST", f"/api/v1/tasks/{task_id}/cancel")["status"], "CANCELED", "canceled again")

    with report.check("a partial delivery is charged for its part"):
        request = {"model": "gpt-image-2", "resolution": "1K", "provider": "sandbox", "count": 3}
        task = ended(http, submit(http, request, "[sandbox:partial=1] a fox")["taskId"])
        quoted, charged = task["credits"]["quoted"], task["credits"]["charged"]
        expect((task["status"], len(task["outputs"])), ("SUCCESS", 1), "the end")
        ensure(0 < charged <= -(-quoted // 3), f"{charged} of {quoted} credits for one of three pictures")
        expected = [("HOLD", quoted), ("CAPTURE", charged), ("RELEASE", quoted - charged)]
        expect(movements(http, task["taskId"]), expected, "movements")
        balances_agree(server, "outcomes", key, (99 - charged, 0))

    with report.check("a test key moves no credits"):
        before = http.transactions()
        test = Http(server.port, server.tell("keys", "create", "--account", "outcomes", "--test"))
        expect(ended(test, submit(test, ONE, "a fox")["taskId"])["status"], "SUCCESS", "status")
        expect(http.transactions(), before, "the statement")


def plans(report: Report, server: Server) -> None:
    with report.check("on the plan unlimited the free tier costs nothing and is still recorded"):
        http = Http(server.port, server.account("unlimited", plan="unlimited"))
        task = ended(http, submit(http, ONE, "a fox")["taskId"])
        expect((task["status"], task["credits"]["charged"]), ("SUCCESS", 0), "the end")
        expect(movements(http, task["taskId"]), [("HOLD", 0), ("CAPTURE", 0)], "movements")

    with report.check("on the plan free the fifth open task is refused until one has ended"):
        http = Http(server.port, server.account("four", plan="free", credits=10))
        tasks = [submit(http, ONE, "[sandbox:delay=60s] a fox")["taskId"] for _ in range(4)]
        request = {**ONE, "prompt": "one too many"}
        refused = http.post("/api/v1/generate/image", request)
        expect((refused.status, refused.json["reason"]), (429, "TOO_MANY_TASKS"), "the fifth")
        ensure(int(refused.headers["retry-after"]) > 0, "Retry-After")
        http.data("POST", f"/api/v1/tasks/{tasks[0]}/cancel")
        ended(http, tasks[0])
        tasks.append(submit(http, ONE, "[sandbox:delay=60s] a fox")["taskId"])
        cancel_all(http, tasks)
        expect(http.credits(), (10, 0), "balances in the end")


def cancel_all(http: Http, tasks: list[str]) -> None:
    for task_id in tasks:
        http.data("POST", f"/api/v1/tasks/{task_id}/cancel")
    for task_id in tasks:
        expect(ended(http, task_id)["status"], "CANCELED", "status of a task that waited")


def at_once(port: int, key: str, body: dict, headers: dict | None = None) -> list:
    """Sends many equal submissions, as nearly at the same instant as threads can."""
    gate = threading.Barrier(SUBMISSIONS)

    def one(_):
        gate.wait()
        return Http(port, key).post("/api/v1/generate/image", body, headers=headers)

    with ThreadPoolExecutor(SUBMISSIONS) as pool:
        return list(pool.map(one, range(SUBMISSIONS)))


def counted(answers: list) -> Counter:
    """How many answers there are of each status and reason."""
    return Counter((answer.status, answer.json.get("reason", "")) for answer in answers)


def crowds(report: Report, server: Server) -> None:
    waiting = {**FOUR, "prompt": "[sandbox:delay=5m] a fox"}

    with report.check(f"{SUBMISSIONS} at once with credits for 20: 20 accepted, the others refused, none below zero"):
        key = server.account("poor", credits=83)
        http = Http(server.port, key)
        answers = at_once(server.port, key, waiting)
        expected = {(200, ""): 20, (402, "INSUFFICIENT_CREDITS"): SUBMISSIONS - 20}
        expect(counted(answers), expected, "answers")
        refused = [answer.json["details"] for answer in answers if answer.status == 402]
        ensure(all(details["needed"] == 4 for details in refused), "some refusal says another price than 4")
        # What each was refused with is what was there when its turn came; when all have been, it is 3.
        ensure(refused and min(details["available"] for details in refused) == 3, "no refusal says that 3 are left")
        balances_agree(server, "poor", key, (3, 80))
        tasks = [answer.json["data"]["taskId"] for answer in answers if answer.status == 200]
        expect(len(set(tasks)), 20, "different tasks")
        cancel_all(http, tasks)
        balances_agree(server, "poor", key, (83, 0))

    with report.check(f"{SUBMISSIONS} at once with credits for all: as many as the plan runs and lets wait, none charged twice"):
        key = server.account("rich", credits=4 * SUBMISSIONS)
        http = Http(server.port, key)
        answers = at_once(server.port, key, waiting)
        expected = {(200, ""): PRO_TASKS_MAX, (429, "TOO_MANY_TASKS"): SUBMISSIONS - PRO_TASKS_MAX}
        expect(counted(answers), expected, "answers")
        balances_agree(server, "rich", key, (4 * (SUBMISSIONS - PRO_TASKS_MAX), 4 * PRO_TASKS_MAX))
        cancel_all(http, [answer.json["data"]["taskId"] for answer in answers if answer.status == 200])
        balances_agree(server, "rich", key, (4 * SUBMISSIONS, 0))

    with report.check(f"{SUBMISSIONS} at once with one Idempotency-Key: one task, one hold"):
        key = server.account("anxious", credits=4 * SUBMISSIONS)
        http = Http(server.port, key)
        answers = at_once(server.port, key, waiting, {"Idempotency-Key": "once"})
        expect(counted(answers), {(200, ""): SUBMISSIONS}, "answers")
        tasks = {answer.json["data"]["taskId"] for answer in answers}
        expect(len(tasks), 1, "different tasks")
        balances_agree(server, "anxious", key, (4 * (SUBMISSIONS - 1), 4))
        cancel_all(http, list(tasks))
