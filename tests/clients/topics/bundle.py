"""`piooy mcp bundle`: the bundle is what the official tool takes for one, and the program in it works."""

import json
import os
import stat
import subprocess
from pathlib import Path

from kit.report import Report, contains, ensure, expect
from kit.server import Server

MCPB = Path(os.environ["CLIENTS_NODE"]) / "node_modules/.bin/mcpb"


def run(report: Report, server: Server) -> None:
    file = server.directory / "piooy.mcpb"
    place = server.directory / "bundle"
    with report.check("one command writes it"):
        done = server.run("mcp", "bundle", str(file), "--server", server.url)
        expect((done.returncode, done.stdout), (0, ""), f"exit code and standard output, with {done.stderr!r}")
        print(f"          {file.stat().st_size / 1e6:.1f} MB")
    with report.check("mcpb info reads it"):
        contains(mcpb("info", file), "piooy.mcpb")
    with report.check("mcpb unpack unpacks it"):
        mcpb("unpack", file, place)
    manifest = json.loads((place / "manifest.json").read_text())
    with report.check("mcpb validate finds the manifest and the icon right"):
        told = mcpb("validate", place / "manifest.json")
        contains(told, "Manifest schema validation passes!", "Icon validation passed")
    with report.check("the manifest keeps the key secret and suggests the server"):
        asked = manifest["user_config"]
        expect((asked["api_key"]["sensitive"], asked["url"]["default"]), (True, server.url), "what it asks for")
        ensure(server.test_key not in json.dumps(manifest), "it has a key")
    with report.check("the program in it can be run and answers"):
        program = place / manifest["server"]["entry_point"]
        ensure(program.stat().st_mode & stat.S_IXUSR, "it may not be run")
        start = manifest["server"]["mcp_config"]
        values = {"${user_config.url}": server.url, "${user_config.api_key}": server.test_key}
        environment = {name: values[value] for name, value in start["env"].items()}
        ping = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"}) + "\n"
        done = subprocess.run(
            [start["command"].replace("${__dirname}", str(place)), *start["args"]],
            input=ping,
            env={"HOME": str(server.directory), **environment},
            cwd=server.directory,
            capture_output=True,
            text=True,
            timeout=30,
        )
        expect(json.loads(done.stdout), {"jsonrpc": "2.0", "id": 1, "result": {}}, f"answer, with {done.stderr!r}")


def mcpb(*arguments) -> str:
    """What the official tool prints; it must succeed."""
    done = subprocess.run([MCPB, *map(str, arguments)], capture_output=True, text=True, timeout=120)
    ensure(done.returncode == 0, f"mcpb {arguments[0]} exits {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout + done.stderr
