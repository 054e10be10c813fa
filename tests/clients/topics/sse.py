"""The transport of 2024-11-05, HTTP+SSE: ten thousand streams that nobody speaks on.

What official clients do over it is in clients.py.
"""

import os
import resource
import socket
import struct
import time
from pathlib import Path

from kit.http_face import Http
from kit.report import Report, ensure, expect
from kit.server import Server
from kit.ways import PATHS

STREAMS = 10_000
ACCOUNTS = 10
STREAMS_OF_ACCOUNT_MAX = 1_024
COST_BYTES_MAX = 20_000
SETTLE_SECONDS_MAX = 30


def run(report: Report, server: Server) -> None:
    idle = Server(server.binary)
    try:
        idle.start()
        many(report, idle)
        with report.check("a server with streams open stops"):
            expect(idle.stop(), 0, "exit code")
    finally:
        idle.remove()


def many(report: Report, server: Server) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    keys = [server.account(f"listener-{number}") for number in range(ACCOUNTS)]
    owners = [keys[number % ACCOUNTS] for number in range(STREAMS)]
    # What the first connections make once is not theirs.
    closed(opened(server, owners[:200]))
    settled(server, 0)
    before = resident_bytes(server)
    with report.check(f"{STREAMS} idle streams cost less than {COST_BYTES_MAX} bytes each"):
        streams = opened(server, owners)
        cost = (resident_bytes(server) - before) / STREAMS
        print(f"          {cost / 1000:.1f} KB each")
        ensure(cost < COST_BYTES_MAX, f"{cost:.0f} bytes each")
    with report.check("other callers are answered meanwhile"):
        expect(Http(server.port, keys[0]).get("/api/v1/credits").status, 200, "status")
    with report.check("none outlives its client, one that closes"):
        closed(streams)
        settled(server, 0)
    with report.check("nor one that is killed, and as many can be opened again"):
        streams = opened(server, owners)
        for stream in streams:
            # The end without a farewell that the system makes when a process is killed with data unread.
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        closed(streams)
        settled(server, 0)
    with report.check(f"an account has at most {STREAMS_OF_ACCOUNT_MAX} streams, and others still get theirs"):
        streams = opened(server, [keys[0]] * STREAMS_OF_ACCOUNT_MAX)
        answer = Http(server.port, keys[0]).get(PATHS["sse"])
        expect((answer.status, answer.json["reason"]), (429, "TOO_MANY_STREAMS"), "answer")
        closed(opened(server, [keys[1]]))
        closed(streams)
        settled(server, 0)
    # Left open for the server to end when it stops.
    opened(server, owners[:10])
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def opened(server: Server, owners: list[str]) -> list[socket.socket]:
    """A stream for each of these keys, with its first event read."""
    streams = []
    for at in range(0, len(owners), 100):
        some = [asked(server, key) for key in owners[at : at + 100]]
        for stream in some:
            text = b""
            while b"sessionId=" not in text or not text.endswith(b"\n\n\r\n"):
                more = stream.recv(4096)
                ensure(more, f"a stream ends with {text!r}")
                text += more
        streams += some
    return streams


def asked(server: Server, key: str) -> socket.socket:
    stream = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    lines = [f"GET {PATHS['sse']} HTTP/1.1", f"Host: 127.0.0.1:{server.port}", f"Authorization: Bearer {key}", "", ""]
    stream.sendall("\r\n".join(lines).encode())
    return stream


def closed(streams: list[socket.socket]) -> None:
    for stream in streams:
        stream.close()


def settled(server: Server, most: int) -> None:
    """Waits until the server has no more than that many connections of clients."""
    until = time.monotonic() + SETTLE_SECONDS_MAX
    while (found := connections(server)) > most:
        ensure(time.monotonic() < until, f"{found} connections are left")
        time.sleep(0.1)


def connections(server: Server) -> int:
    """The server's open connections on its port, by the kernel's table."""
    ours = f":{server.port:04X}"
    process = Path(f"/proc/{server.pid}/fd")
    inodes = set()
    for file in process.iterdir():
        try:
            inodes.add(os.readlink(file))
        except OSError:  # Closed meanwhile.
            continue
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    established = "01"
    # Those that the client has closed and the server has not are what we are after.
    closing = "08"
    return sum(
        row[1].endswith(ours) and row[3] in [established, closing] and f"socket:[{row[9]}]" in inodes for row in rows
    )


def resident_bytes(server: Server) -> int:
    status = Path(f"/proc/{server.pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))
