"""`piooy mcp`, started by official clients as the program that they think is their server."""

import threading
import time

from kit.report import Report, ensure, expect
from kit.server import Server
from kit.ways import over
from topics.clients import every

DOWN_SECONDS = 1
SETTINGS = {"PIOOY_MCP_SSE": "no"}


def run(report: Report, server: Server) -> None:
    every(report, server, over("stdio"))
    replaced = Server(server.binary, SETTINGS)
    try:
        replaced.start()
        restart(report, replaced)
    finally:
        replaced.remove()
    with report.check("without a key it says so and ends, with nothing on its standard output"):
        done = server.run("mcp")
        ensure(done.returncode != 0 and "PIOOY_API_KEY" in done.stderr, f"{done.returncode}: {done.stderr!r}")
        expect(done.stdout, "", "standard output")


def restart(report: Report, server: Server) -> None:
    sdks = [client.start(server, server.test_key) for client in over("stdio")]
    try:
        for sdk in sdks:
            sdk.call("generate_image", {"model": "nano-banana-2", "prompt": "before"})
        server.stop()
        made: dict[str, dict] = {}
        wrong: dict[str, str] = {}

        def ask(sdk) -> None:
            try:
                made[sdk.name] = sdk.call("generate_image", {"model": "nano-banana-2", "prompt": "meanwhile"})
            except Exception as error:  # Told below, in its check.
                wrong[sdk.name] = repr(error)

        callers = [threading.Thread(target=ask, args=[sdk]) for sdk in sdks]
        for caller in callers:
            caller.start()
        time.sleep(DOWN_SECONDS)
        server.start()
        for caller in callers:
            caller.join()
        for sdk in sdks:
            with report.check(f"{sdk.name}: a call while the server is replaced is answered by the next one"):
                ensure(sdk.name in made, wrong.get(sdk.name, "no answer"))
                ensure(made[sdk.name]["taskId"], "no task")
    finally:
        for sdk in sdks:
            sdk.close()
