"""Two servers over one PostgreSQL, each killed in turn while both are under load: every request is one task, every
task ends, and the books are right to the credit.

A third server, which nobody asks anything, lends its private PostgreSQL.
"""

import http.client
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from kit.http_face import Http
from kit.report import Report, ensure, expect
from kit.server import Server
from topics.crash import ends
from topics.money import ONE, verified, walk

ACCOUNTS = 4
KEYS_PER_ACCOUNT = 50
CREDITS = 1000
KILLS = 4
# Between a start and the next kill.
ROUND_SECONDS = 1
# Between a kill and the start after it: long enough for some request to come in vain.
DOWN_SECONDS = 0.4
# Callers per account; fewer than the tasks that the plan pro runs at once.
CALLERS = 6
ANSWER_SECONDS_MAX = 120
# Of a caller before each request.
PAUSE_SECONDS_MEAN = 0.5

# Painting is what takes the time, so one in five is painted.
PROMPTS = [
    "[sandbox:fail=provider_error] a fox",
    "[sandbox:delay=1s] [sandbox:fail=content_policy] a fox",
    "[sandbox:delay=1s] a fox",
    "[sandbox:delay=2s] [sandbox:fail=provider_error] a fox",
    "[sandbox:fail=content_policy] a fox",
]


def run(report: Report, server: Server) -> None:
    lender = Server(server.binary)
    replicas: list[Server] = []
    try:
        lender.start()
        shared = {"DATABASE_URL": lender.database_url(), "PIOOY_SANDBOX_LIVE": "yes", "PIOOY_LEASE_SECONDS": "5"}
        replicas = [Server(server.binary, shared) for _ in range(2)]
        for replica in replicas:
            replica.start()
        under_load(report, lender, replicas)
    finally:
        for used in [*replicas, lender]:
            used.remove()


def under_load(report: Report, lender: Server, replicas: list[Server]) -> None:
    keys = [lender.account(f"account-{number}", credits=CREDITS) for number in range(ACCOUNTS)]
    asked = [(key, f"request {number}", number) for number in range(KEYS_PER_ACCOUNT) for key in keys]
    lost: Counter[str] = Counter()

    with report.check(f"{KILLS} kills under load: every one of {len(asked)} requests is answered in the end"):
        with ThreadPoolExecutor(ACCOUNTS * CALLERS) as pool:
            answers = pool.map(lambda request: paced(replicas, *request, lost), asked)
            for number in range(KILLS):
                time.sleep(ROUND_SECONDS)
                replicas[number % 2].kill()
                time.sleep(DOWN_SECONDS)
                replicas[number % 2].start()
            tasks = list(answers)
        print(f"          {dict(lost)}")
        ensure(lost["answers"] + lost["refused connections"] > 0, "no request met a server that was killed")

    clients = {key: Http(replicas[0].port, key) for key in keys}
    owners = {task_id: clients[key] for (key, *_), task_id in zip(asked, tasks)}
    with report.check("sent again, to either server, each request gives the task that it gave"):
        for (key, name, number), task_id in zip(asked, tasks):
            for replica in replicas:
                expect(insist([replica], key, name, number, lost), task_id, f"the task of {name}")

    with report.check("every task ends"):
        expect(len(owners), len(asked), "different tasks")
        outcomes = Counter(task["status"] for task in ends(owners).values())
        print(f"          {dict(outcomes)}")
        expect(outcomes["CANCELED"], 0, "canceled tasks, which nobody asked for")

    with report.check("no request is two tasks, every hold is closed once, and the balance is grants less charges"):
        final = ends(owners)
        for http_client in clients.values():
            mine = {task_id for task_id, owner in owners.items() if owner is http_client}
            closed(http_client, {task_id: final[task_id] for task_id in mine})

    with report.check("piooy ledger verify finds the books right"):
        verified(lender)


def paced(replicas: list[Server], key: str, name: str, number: int, lost: Counter) -> str:
    """The same after a pause, so that the load lasts as long as the kills."""
    time.sleep(random.uniform(0, 2 * PAUSE_SECONDS_MEAN))
    return insist(replicas, key, name, number, lost)


def insist(replicas: list[Server], key: str, name: str, number: int, lost: Counter) -> str:
    """Sends a request until it is answered, each time to any of the servers; the task's id."""
    body = {**ONE, "prompt": PROMPTS[number % len(PROMPTS)]}
    until = time.monotonic() + ANSWER_SECONDS_MAX
    while True:
        ensure(time.monotonic() < until, f"{name} was not answered within {ANSWER_SECONDS_MAX} s")
        replica = random.choice(replicas)
        try:
            answer = Http(replica.port, key).post("/api/v1/generate/image", body, headers={"Idempotency-Key": name})
        except ConnectionRefusedError:
            lost["refused connections"] += 1
            time.sleep(0.05)
            continue
        except (OSError, http.client.HTTPException):
            lost["answers"] += 1
            continue
        if answer.status == 200:
            return answer.json["data"]["taskId"]
        # Too many at once, or too fast, or the server is only just starting: all of it passes.
        ensure(answer.status in [429, 503], f"{name} gets {answer.status}: {answer.body[:300]!r}")
        lost[f"answers {answer.status}"] += 1
        time.sleep(0.2)


def closed(http_client: Http, tasks: dict[str, dict]) -> None:
    """Fails unless an account's statement has just what these tasks justify, and nothing of any other."""
    statement = http_client.transactions()
    movements: dict[str, list[tuple[str, int]]] = {}
    for entry in statement:
        if entry["taskId"]:
            movements.setdefault(entry["taskId"], []).append((entry["kind"], entry["amount"]))
    expect(set(movements), set(tasks), "tasks in the statement")
    for task_id, task in tasks.items():
        closing = "CAPTURE" if task["status"] == "SUCCESS" else "RELEASE"
        expect(movements[task_id], [("HOLD", 1), (closing, 1)], f"movements of {task_id}, which is {task['status']}")
    charged = sum(task["credits"]["charged"] for task in tasks.values())
    expect(walk(statement), (CREDITS - charged, 0), "balances")
    expect(http_client.credits(), (CREDITS - charged, 0), "the balance that is told")
