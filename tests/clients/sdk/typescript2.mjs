// Drives the npm package @modelcontextprotocol/client 2.x. The one argument is its mode: legacy (its default, so nothing
// is set) or auto.

import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

import { drive } from "./drive.mjs";

const options = process.argv[2] === "auto" ? { versionNegotiation: { mode: "auto" } } : {};
const client = new Client({ name: "clients", version: "1" }, options);
await drive(client, StreamableHTTPClientTransport, () => client.getNegotiatedProtocolVersion());
