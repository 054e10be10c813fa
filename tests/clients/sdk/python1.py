"""Drives the Python package `mcp` 1.x, which knows the revisions that begin with `initialize` and no other.

Reads questions from stdin and writes answers to stdout, a line of JSON each; the first line written says what was agreed.
"""

import asyncio
import json
import os
import sys

from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client


def say(answer: dict) -> None:
    print(json.dumps(answer), flush=True)


async def answer(session: ClientSession, question: dict) -> dict:
    if "list" in question:
        return {"tools": [tool.name for tool in (await session.list_tools()).tools]}
    result = await session.call_tool(question["tool"], question["arguments"])
    return {"isError": result.isError, "structured": result.structuredContent, "text": result.content[0].text}


async def main() -> None:
    headers = {"Authorization": f"Bearer {os.environ['PIOOY_KEY']}"}
    async with streamablehttp_client(os.environ["PIOOY_MCP_URL"], headers=headers) as (reads, writes, _):
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
