// Drives the npm package @modelcontextprotocol/sdk 1.x, which knows the revisions that begin with `initialize` and no other.
// The arguments are its mode, of which it has one, and the transport: http, sse or stdio.

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

import { drive, driveOver } from "./drive.mjs";

const { HOME, PIOOY_BINARY, PIOOY_KEY, PIOOY_MCP_URL } = process.env;
const client = new Client({ name: "clients", version: "1" });
// The transport is told what was agreed on, and only it.
const agreed = (_, transport) => transport.protocolVersion ?? transport._protocolVersion ?? transport.agreed;

if (process.argv[3] === "stdio") {
  const env = { HOME, PIOOY_URL: PIOOY_MCP_URL, PIOOY_API_KEY: PIOOY_KEY };
  const transport = new StdioClientTransport({ command: PIOOY_BINARY, args: ["mcp"], env });
  transport.setProtocolVersion = (version) => (transport.agreed = version);
  await driveOver(client, transport, agreed);
} else {
  await drive(client, process.argv[3] === "sse" ? SSEClientTransport : StreamableHTTPClientTransport, agreed);
}
