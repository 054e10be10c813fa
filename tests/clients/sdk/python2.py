"""Drives the Python package `mcp` 2.x. The one argument is its mode: auto (its default) or legacy.

Reads questions from stdin and writes answers to stdout, a line of JSON each; the first line written says what was agreed.
"""

import asyncio
import json
import os
import sys

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client


def say(answer: dict) -> None:
    print(json.dumps(answer), flush=True)


async def answer(client: Client, question: dict) -> dict:
    if "list" in question:
        return {"tools": [tool.name for tool in (await client.list_tools()).tools]}
    result = await client.call_tool(question["tool"], question["arguments"])
    return {"isError": bool(result.is_error), "structured": result.structured_content, "text": result.content[0].text}


async def main() -> None:
    headers = {"Authorization": f"Bearer {os.environ['PIOOY_KEY']}"}
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        transport = streamable_http_client(os.environ["PIOOY_MCP_URL"], http_client=http)
        async with Client(transport, mode=sys.argv[1]) as client:
            say({"protocol": client.protocol_version, "server": client.server_info.name})
            while line := await asyncio.to_thread(sys.stdin.readline):
                say(await answer(client, json.loads(line)))


try:
    asyncio.run(main())
except Exception as error:
    say({"error": repr(error)})
    raise
