"""A Piooy server as an operator runs it: the binary, an empty data directory, a free port, and nothing else."""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 30

# What the server may know of our environment: no upstream's key, no DATABASE_URL, none of its own settings.
ENVIRONMENT = ["PATH", "HOME", "LANG", "TMPDIR", "TZ"]


def parent(process: int) -> int | None:
    """The process that began this one; None when it has ended."""
    try:
        # "pid (command) state parent …", and a command may hold anything.
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


class Server:
    """One server and the command line beside it."""

    def __init__(self, binary: Path, settings: dict[str, str] | None = None) -> None:
        """`settings` come on top of the environment that every server gets."""
        self.binary = binary
        # PostgreSQL runs as another user when we are root, so the directory must let others through.
        self.directory = Path(tempfile.mkdtemp(prefix="piooy-clients-"))
        self.directory.chmod(0o755)
        self.data = self.directory / "data"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.grpc = f"127.0.0.1:{self.port}"
        self.log = self.directory / "log"
        self.test_key = ""
        self.live_key = ""
        self._process: subprocess.Popen | None = None
        self._printed = self.directory / "printed"
        kept = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
        self._environment = {
            "PIOOY_UPSTREAM_KEYS_SECRET": "17" * 32,
            **kept,
            "PIOOY_DATA_DIR": str(self.data),
            "PIOOY_LISTEN": self.grpc,
            **(settings or {}),
        }

    def start(self) -> None:
        """Starts the server and waits until it is ready; the keys that the first start of all prints are kept."""
        with self._printed.open("ab") as printed, self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [self.binary], env=self._environment, cwd=self.directory, stdout=printed, stderr=log
            )
        until = time.monotonic() + START_SECONDS_MAX
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the server did not start:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.1)
        keys = dict(re.findall(r"piooy_(test|live)_(\w+)", self._printed.read_text()))
        if keys:
            self.test_key = f"piooy_test_{keys['test']}"
            self.live_key = f"piooy_live_{keys['live']}"

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    def run(self, *arguments: str) -> subprocess.CompletedProcess:
        """Runs the command line beside the server."""
        command = [self.binary, *arguments]
        return subprocess.run(
            command, env=self._environment, cwd=self.directory, capture_output=True, text=True, timeout=60
        )

    def tell(self, *arguments: str) -> str:
        """What a command prints; it must succeed."""
        done = self.run(*arguments)
        if done.returncode != 0:
            raise RuntimeError(f"piooy {' '.join(arguments)} exits {done.returncode}: {done.stderr}")
        return done.stdout.strip()

    def account(self, name: str, plan: str = "pro", credits: int = 0) -> str:
        """Makes an account, gives it credits, and returns a live key with every scope a caller can have."""
        self.tell("accounts", "create", name, "--plan", plan)
        if credits:
            self.tell("credits", "grant", name, str(credits))
        return self.tell("keys", "create", "--account", name, "--scopes", "generate,read,keys")

    def revoke(self, account: str, name: str) -> None:
        """Revokes the key of that name, beside the running server."""
        line = next(line for line in self.tell("keys", "list", "--account", account).splitlines() if name in line)
        self.tell("keys", "revoke", "--account", account, line.split()[0])

    def stop(self) -> int:
        """Asks the server to stop, as Ctrl-C does, and returns its exit code."""
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(timeout=STOP_SECONDS_MAX)

    def kill(self) -> None:
        """Ends the server with no warning."""
        self._process.kill()
        self._process.wait()

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    def postmaster(self) -> int:
        """The process id of the server's PostgreSQL."""
        return int(self._postmaster_file()[0])

    def database_url(self) -> str:
        """The address of the server's PostgreSQL, for another server."""
        return f"postgresql:///postgres?user=piooy&host={urllib.parse.quote(self._postmaster_file()[4])}"

    def _postmaster_file(self) -> list[str]:
        return (self.data / "postgres/data/postmaster.pid").read_text().splitlines()

    def processes(self) -> list[str]:
        """The processes that run in the data directory, PostgreSQL's own among them, as `pid command`."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                where = os.readlink(process / "cwd")
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            except OSError:  # Ended meanwhile, or another user's.
                continue
            if where.startswith(str(self.data)):
                found.append(f"{process.name} {command}")
        return found

    def postmasters(self) -> list[int]:
        """The PostgreSQL servers of the data directory: exactly one while all is well."""
        found = [int(line.split()[0]) for line in self.processes() if " -D " in f"{line} "]
        # A process that a server has just begun still goes by the server's own command.
        return [process for process in found if parent(process) not in found]

    def complaints(self) -> list[str]:
        """Lines of the log that no healthy server writes."""
        return [line for line in self.log.read_text().splitlines() if " ERROR " in line or "panicked" in line]

    def remove(self) -> None:
        """Ends whatever still runs and removes the directory."""
        if self._process is not None and self._process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill()
        for line in self.processes():
            try:
                os.kill(int(line.split()[0]), signal.SIGQUIT)
            except ProcessLookupError:
                pass
        shutil.rmtree(self.directory, ignore_errors=True)
