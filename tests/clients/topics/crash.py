"""A server that is killed while it works: nothing is lost, nothing ends twice, nothing is paid twice.

Each crash has a server of its own, with its own data directory.
"""

import os
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from kit import media
from kit.http_face import Http
from kit.report import Report, ensure, expect
from kit.server import Server
from topics.money import FINAL, ONE, submit, verified, walk

# An account of the plan pro runs 32 tasks at once.
ACCOUNTS = 2
TASKS_PER_ACCOUNT = 25
CREDITS = 100

# The lease of the killed server must end before its tasks are taken over; then they have two seconds of work to do.
END_SECONDS_MAX = 120


def run(report: Report, server: Server) -> None:
    for name, with_postgres in [("kill -9 of the server", False), ("kill -9 of the server and its PostgreSQL", True)]:
        crashed = Server(server.binary)
        try:
            crashed.start()
            crash(report, name, crashed, with_postgres)
        finally:
            crashed.remove()


def crash(report: Report, name: str, server: Server, with_postgres: bool) -> None:
    keys = [server.account(f"account-{number}", credits=CREDITS) for number in range(ACCOUNTS)]
    clients = [Http(server.port, key) for key in keys]
    # Twice as many requests as accounts in flight; the delay keeps every task open until the server is dead.
    with ThreadPoolExecutor(8) as pool:
        owners = [http for http in clients for _ in range(TASKS_PER_ACCOUNT)]
        submitted = list(pool.map(lambda http: submit(http, ONE, "[sandbox:delay=2s] a fox")["taskId"], owners))
    tasks = dict(zip(submitted, owners))

    with report.check(f"{name}: {len(tasks)} tasks run when it happens"):
        time.sleep(0.5)
        states = Counter(http.task(task_id)["status"] for task_id, http in tasks.items())
        ensure(states["PROCESSING"] + states["PENDING"] >= len(tasks) // 2, f"most have ended already: {states}")
        ensure(states["PROCESSING"] > 0, f"none is being worked on: {states}")
        postmaster = server.postmaster()
        server.kill()
        if with_postgres:
            os.kill(postmaster, signal.SIGKILL)
        else:
            expect(server.postmasters(), [postmaster], "PostgreSQL after the kill")

    with report.check(f"{name}: it starts again, with one PostgreSQL, {'restarted' if with_postgres else 'adopted'}"):
        server.start()
        expect(server.postmasters(), [server.postmaster()], "PostgreSQL servers of the directory")
        expect(server.postmaster() == postmaster, not with_postgres, "the same PostgreSQL as before")

    with report.check(f"{name}: every task ends"):
        outcomes = Counter(task["status"] for task in ends(tasks).values())
        print(f"          {dict(outcomes)}")
        expect(outcomes["CANCELED"], 0, "canceled tasks, which nobody asked for")
        ensure(outcomes["SUCCESS"] > 0, f"none was delivered: {outcomes}")

    with report.check(f"{name}: an end is an end: nothing has changed seconds later"):
        before = ends(tasks)
        time.sleep(3)
        for task_id, task in ends(tasks).items():
            for field in ["status", "credits", "finishedAt"]:
                expect(task[field], before[task_id][field], f"{field} of {task_id}")

    with report.check(f"{name}: every hold is closed once, charged where and only where it was delivered"):
        final = ends(tasks)
        for http in clients:
            closed(http, {task_id: final[task_id] for task_id, owner in tasks.items() if owner is http})

    with report.check(f"{name}: what was delivered can be downloaded"):
        for task in ends(tasks).values():
            for output in task["outputs"]:
                file, _ = media.download(output["url"])
                expect(media.png_size(file), (output["width"], output["height"]), "size of a picture")

    with report.check(f"{name}: piooy ledger verify finds the books right"):
        verified(server)

    with report.check(f"{name}: it stops cleanly afterwards"):
        expect(server.stop(), 0, "exit code")
        expect(server.processes(), [], "processes left")
        expect(server.complaints(), [], "complaints in its log")


def ends(tasks: dict[str, Http]) -> dict[str, dict]:
    """Every task, once all have ended."""
    until = time.monotonic() + END_SECONDS_MAX
    while True:
        found = {task_id: http.task(task_id) for task_id, http in tasks.items()}
        open_tasks = [task["status"] for task in found.values() if task["status"] not in FINAL]
        if not open_tasks:
            return found
        ensure(time.monotonic() < until, f"after {END_SECONDS_MAX} s: {Counter(open_tasks)}")
        time.sleep(1)


def closed(http: Http, tasks: dict[str, dict]) -> None:
    """Fails unless the statement of an account has just what its tasks justify."""
    statement = http.transactions()
    kinds: dict[str, list[str]] = {task_id: [] for task_id in tasks}
    for entry in statement:
        if entry["taskId"]:
            kinds[entry["taskId"]].append(entry["kind"])
    for task_id, task in tasks.items():
        closing = "CAPTURE" if task["status"] == "SUCCESS" else "RELEASE"
        expect(kinds[task_id], ["HOLD", closing], f"movements of {task_id}, which is {task['status']}")
    delivered = sum(task["status"] == "SUCCESS" for task in tasks.values())
    expect(walk(statement), (CREDITS - delivered, 0), "balances")
