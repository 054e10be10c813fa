// What both TypeScript drivers share: questions from stdin, answers to stdout, a line of JSON each. The first line
// written says what was agreed.

import { createInterface } from "node:readline";

const say = (answer) => process.stdout.write(JSON.stringify(answer) + "\n");

async function answer(client, question) {
  if (question.list) {
    return { tools: (await client.listTools()).tools.map((tool) => tool.name) };
  }
  try {
    const result = await client.callTool({ name: question.tool, arguments: question.arguments });
    return { isError: result.isError === true, structured: result.structuredContent, blocks: result.content };
  } catch (error) {
    // Both libraries' errors have the code of JSON-RPC; whatever has none is not the server's word.
    if (typeof error.code !== "number") {
      throw error;
    }
    return { refused: { code: error.code, message: error.message } };
  }
}

/** Connects `client` over a transport made by `Transport` and answers until stdin ends. */
export async function drive(client, Transport, protocolOf) {
  const headers = { Authorization: `Bearer ${process.env.PIOOY_KEY}` };
  return driveOver(client, new Transport(new URL(process.env.PIOOY_MCP_URL), { requestInit: { headers } }), protocolOf);
}

/** Connects `client` over `transport` and answers until stdin ends. */
export async function driveOver(client, transport, protocolOf) {
  try {
    await client.connect(transport);
    say({ protocol: protocolOf(client, transport), server: client.getServerVersion().name });
    for await (const line of createInterface({ input: process.stdin })) {
      say(await answer(client, JSON.parse(line)));
    }
    await client.close();
  } catch (error) {
    say({ error: String(error.stack) });
    process.exitCode = 1;
  }
}
