"""Drives the Python package `mcp` 1.x, which knows the revisions that begin with `initialize` and no other.

The arguments are its mode, of which it has one, and the transport: http, sse or stdio.

Reads questions from stdin and writes answers to stdout, a line of JSON each; the first line written says what was agreed.
"""

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager

from mcp import ClientSession, StdioServerParameters, stdio_client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamablehttp_client
from mcp.shared.exceptions import McpError


def say(answer: dict) -> None:
    print(json.dumps(answer), flush=True)


async def answer(session: ClientSession, question: dict) -> dict:
    if "list" in question:
        return {"tools": [tool.name for tool in (await session.list_tools()).tools]}
    try:
        result = await session.call_tool(question["tool"], question["arguments"])
    except McpError as refusal:
        return {"refused": {"code": refusal.error.code, "message": refusal.error.message}}
    blocks = [block.model_dump(mode="json", by_alias=True, exclude_none=True) for block in result.content]
    return {"isError": result.isError, "structured": result.structuredContent, "blocks": blocks}


@asynccontextmanager
async def connected(transport: str):
    """The streams of a connection."""
    url, key = os.environ["PIOOY_MCP_URL"], os.environ["PIOOY_KEY"]
    headers = {"Authorization": f"Bearer {key}"}
    if transport == "sse":
        connection = sse_client(url, headers=headers)
    elif transport == "stdio":
        environment = {"PIOOY_URL": url, "PIOOY_API_KEY": key}
        program = StdioServerParameters(command=os.environ["PIOOY_BINARY"], args=["mcp"], env=environment)
        connection = stdio_client(program)
    else:
        connection = streamablehttp_client(url, headers=headers)
    async with connection as (reads, writes, *_):
        yield reads, writes


async def main() -> None:
    async with connected(sys.argv[2]) as (reads, writes):
        async with ClientSession(reads, writes) as session:
            agreed = await session.initialize()
            say({"protocol": agreed.protocolVersion, "server": agreed.serverInfo.name})
            while line := await asyncio.to_thread(sys.stdin.readline):
                say(await answer(session, json.loads(line)))


try:
    asyncio.run(main())
except Exception as error:
    say({"error": repr(error)})
    raise
