"""Idle streams of news in great number: what each costs the server, and that none outlives its client."""

import json
import os
import resource
import socket
import time
from itertools import cycle, islice

from kit.http_face import MCP_PATH
from kit.report import Report, ensure
from kit.server import Server

STREAMS = 10_000
ACCOUNTS = 10
BYTES_EACH_MAX = 20_000
GONE_SECONDS_MAX = 20

# Sockets of ours, of the server, and whatever else both need.
FILES = STREAMS + 500


def run(report: Report, server: Server) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(FILES, hard), hard))
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (min(FILES, hard), hard))
    try:
        listening(report, server)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def listening(report: Report, server: Server) -> None:
    # Several, since an account may have so many streams and open so many a minute.
    keys = [server.account(f"listener-{number}", plan="unlimited") for number in range(ACCOUNTS)]
    requests = [listen_request(key, server.port) for key in keys]
    warm = open_streams(server.port, requests, 200)
    for stream in warm:
        stream.close()
    settle(server, 0)
    files, bytes_before = open_files(server), resident_bytes(server)
    streams = []
    try:
        with report.check(f"{STREAMS} idle listen streams cost less than {BYTES_EACH_MAX} bytes each"):
            streams = open_streams(server.port, requests, STREAMS)
            each = (resident_bytes(server) - bytes_before) / STREAMS
            print(f"          {each:.0f} bytes each", flush=True)
            ensure(each < BYTES_EACH_MAX, f"{each:.0f} bytes each")
    finally:
        for stream in streams:
            stream.close()
    with report.check("none of them outlives its client"):
        left = settle(server, files + 20)
        ensure(left <= files + 20, f"{left} files are open in the server, before there were {files}")


def listen_request(key: str, port: int) -> bytes:
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
    params = {"_meta": meta, "notifications": {"resourceSubscriptions": ["piooy://models/nano-banana-pro"]}}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": params}).encode()
    head = [
        f"POST {MCP_PATH} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        f"Authorization: Bearer {key}",
        "Content-Type: application/json",
        "Accept: application/json, text/event-stream",
        "MCP-Protocol-Version: 2026-07-28",
        "Mcp-Method: subscriptions/listen",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


def open_streams(port: int, requests: list[bytes], count: int) -> list[socket.socket]:
    """Streams that have been acknowledged."""
    streams = []
    for request in islice(cycle(requests), count):
        stream = socket.create_connection(("127.0.0.1", port), timeout=30)
        stream.sendall(request)
        streams.append(stream)
    for stream in streams:
        received = b""
        while b"acknowledged" not in received:
            part = stream.recv(4096)
            ensure(part, f"a stream ended after {received!r}")
            received += part
    return streams


def resident_bytes(server: Server) -> int:
    with open(f"/proc/{server.pid}/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def open_files(server: Server) -> int:
    return len(os.listdir(f"/proc/{server.pid}/fd"))


def settle(server: Server, files: int) -> int:
    """The files that the server still has open once there are few enough, or no fewer will come."""
    until = time.monotonic() + GONE_SECONDS_MAX
    while (left := open_files(server)) > files and time.monotonic() < until:
        time.sleep(0.2)
        if files == 0 and left == open_files(server):
            break
    return left
