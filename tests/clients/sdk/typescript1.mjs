// Drives the npm package @modelcontextprotocol/sdk 1.x, which knows the revisions that begin with `initialize` and no other.

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

import { drive } from "./drive.mjs";

const client = new Client({ name: "clients", version: "1" });
await drive(client, StreamableHTTPClientTransport, (_, transport) => transport.protocolVersion);
