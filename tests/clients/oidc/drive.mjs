// Connects a person with an OpenID provider in Chromium, and signs in with it. Writes a line of JSON for each check.

import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const require = createRequire(`${process.env.CLIENTS_NODE}/`);
const { chromium } = require("playwright-core");
const { default: Provider } = await import(pathToFileURL(require.resolve("oidc-provider")));
const AXE = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const { PIOOY_URL: ROOT, PIOOY_LINK: LINK, PIOOY_OIDC_ISSUER: ISSUER } = process.env;
const PATIENCE = 30_000;

// What it says of itself goes where our lines are not.
console.info = console.warn = console.error;
const provider = new Provider(ISSUER, {
  clients: [
    {
      client_id: process.env.PIOOY_OIDC_CLIENT_ID,
      client_secret: process.env.PIOOY_OIDC_CLIENT_SECRET,
      redirect_uris: [`${ROOT}/signin/oidc/callback`],
    },
  ],
  claims: { openid: ["sub"], email: ["email", "email_verified"] },
  conformIdTokenClaims: false,
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, email: `${id}@acme.example`, email_verified: true }) }),
});
const serving = provider.listen(Number(new URL(ISSUER).port), "127.0.0.1");

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox"] });
const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");

/** Runs a check and says how it went. */
async function check(name, run) {
  try {
    await run();
    say({ name });
  } catch (error) {
    say({ name, why: String(error.stack) });
  }
}

/** Signs in on the provider's own pages. */
async function atProvider(page, login) {
  await page.waitForURL(`${ISSUER}/**`, { timeout: PATIENCE });
  await page.locator("[name=login]").fill(login);
  await page.locator("[name=password]").fill("any will do");
  await page.getByRole("button").click();
  await page.getByRole("button", { name: "Continue" }).click({ timeout: PATIENCE });
}

async function accessible(page) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => axe.run());
  if (violations.length > 0) throw new Error(violations.map(({ id, nodes }) => `${id}: ${nodes[0].failureSummary}`).join("\n"));
  if (!process.env.PIOOY_PICTURES) return;
  await page.screenshot({ path: `${process.env.PIOOY_PICTURES}/oidc-${new URL(page.url()).pathname.slice(1).replaceAll("/", "-")}.png`, fullPage: true });
}

const person = await browser.newContext();
const page = await person.newPage();
await check("who is signed in connects a provider", async () => {
  await page.goto(LINK, { timeout: PATIENCE });
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("button", { name: "Connect Acme" }).click({ timeout: PATIENCE });
  await atProvider(page, "ann");
  await page.getByRole("status").getByText("Connected").waitFor({ timeout: PATIENCE });
  await page.getByText("ann@acme.example").waitFor({ timeout: PATIENCE });
  await accessible(page);
});
await check("who is connected signs in with it", async () => {
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("link", { name: "Sign in with Acme" }).waitFor({ timeout: PATIENCE });
  await accessible(page);
  await page.getByRole("link", { name: "Sign in with Acme" }).click();
  // The provider knows the browser.
  await page.getByRole("heading", { name: "Account dev" }).waitFor({ timeout: PATIENCE });
});
await check("who is not connected is told what to do", async () => {
  const other = await browser.newContext();
  const stranger = await other.newPage();
  await stranger.goto(`${ROOT}/signin`, { timeout: PATIENCE });
  await stranger.getByRole("link", { name: "Sign in with Acme" }).click();
  await atProvider(stranger, "bob");
  await stranger.getByText("Nobody here is connected to this sign-in").waitFor({ timeout: PATIENCE });
  await accessible(stranger);
  await other.close();
});
await check("who is invited joins with it", async () => {
  const form = page.locator("form", { hasText: "Invite somebody" });
  await form.getByLabel("E-mail address").fill("bob@example.org");
  await form.getByRole("button").click();
  const link = await page.locator(".snippet code").textContent();
  const other = await browser.newContext();
  const guest = await other.newPage();
  await guest.goto(link, { timeout: PATIENCE });
  await accessible(guest);
  await guest.getByRole("link", { name: "Join with Acme instead" }).click();
  await atProvider(guest, "bob");
  await guest.getByText("MEMBER").first().waitFor({ timeout: PATIENCE });
  await guest.getByText("bob@acme.example").waitFor({ timeout: PATIENCE });
  await other.close();
});
await browser.close();
serving.close();
serving.closeAllConnections();
