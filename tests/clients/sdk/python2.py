"""Drives the Python package `mcp` 2.x. The arguments are its mode, auto (its default), legacy or a revision that begins without a
handshake, and the transport: http, sse or stdio.

Reads questions from stdin and writes answers to stdout, a line of JSON each; the first line written says what was agreed.
"""

import asyncio
import json
import os
import sys

import httpx2
from mcp import Client, StdioServerParameters, stdio_client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError


def say(answer: dict) -> None:
    print(json.dumps(answer), flush=True)


async def answer(client: Client, question: dict) -> dict:
    if "list" in question:
        return {"tools": [tool.name for tool in (await client.list_tools()).tools]}
    try:
        result = await client.call_tool(question["tool"], question["arguments"])
    except MCPError as refusal:
        return {"refused": {"code": refusal.code, "message": refusal.message}}
    blocks = [block.model_dump(mode="json", by_alias=True, exclude_none=True) for block in result.content]
    return {"isError": bool(result.is_error), "structured": result.structured_content, "blocks": blocks}


async def server_name(client: Client) -> str:
    """Who the server says it is. A client that was told the revision has asked nothing yet: it learns that from a result."""
    if client.server_info is not None:
        return client.server_info.name
    return (await client.list_tools()).meta["io.modelcontextprotocol/serverInfo"]["name"]


def connection(transport: str, http: httpx2.AsyncClient):
    url, key = os.environ["PIOOY_MCP_URL"], os.environ["PIOOY_KEY"]
    if transport == "sse":
        return sse_client(url, headers={"Authorization": f"Bearer {key}"})
    if transport == "stdio":
        environment = {"PIOOY_URL": url, "PIOOY_API_KEY": key}
        return stdio_client(StdioServerParameters(command=os.environ["PIOOY_BINARY"], args=["mcp"], env=environment))
    return streamable_http_client(url, http_client=http)


async def main() -> None:
    headers = {"Authorization": f"Bearer {os.environ['PIOOY_KEY']}"}
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        async with Client(connection(sys.argv[2], http), mode=sys.argv[1]) as client:
            say({"protocol": client.protocol_version, "server": await server_name(client)})
            while line := await asyncio.to_thread(sys.stdin.readline):
                say(await answer(client, json.loads(line)))


try:
    asyncio.run(main())
except Exception as error:
    say({"error": repr(error)})
    raise
