// Opens every page in Chromium, on a wide and a narrow screen, in light and dark, and looks at it as people would. Writes
// a line of JSON for each check, and a picture of each page when PIOOY_PICTURES names a directory.

import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const require = createRequire(`${process.env.CLIENTS_NODE}/`);
const { chromium } = require("playwright-core");
const AXE = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const ROOT = process.env.PIOOY_URL;
const PATIENCE = 60_000;
const SCREENS = { wide: { width: 1440, height: 900 }, narrow: { width: 390, height: 844 } };
const SCHEMES = ["light", "dark"];

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox"] });
const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");

/** Notes what moves and what the policy forbids, from the first moment on. */
function watch() {
  window.moved = 0;
  window.forbidden = [];
  const note = (list) => list.getEntries().forEach((entry) => (window.moved += entry.value));
  new PerformanceObserver(note).observe({ type: "layout-shift", buffered: true });
  document.addEventListener("securitypolicyviolation", (event) => window.forbidden.push(`${event.violatedDirective} ${event.blockedURI}`));
}

/** What sticks out of the window, as selectors. */
function sticking() {
  if (document.documentElement.scrollWidth <= innerWidth) return [];
  const out = [...document.querySelectorAll("body *")].filter((element) => element.getBoundingClientRect().right > innerWidth + 1);
  return [`${document.documentElement.scrollWidth} pixels`, ...out.slice(0, 5).map((element) => `${element.tagName}.${element.className}`)];
}

function none(found, what) {
  if (found.length > 0) throw new Error(`${what}:\n${found.join("\n")}`);
}

async function look(path, status, screen, scheme, session, whose) {
  const context = await browser.newContext({ viewport: SCREENS[screen], colorScheme: scheme, storageState: session });
  try {
    const page = await context.newPage();
    const complaints = [];
    page.on("pageerror", (error) => complaints.push(error.message));
    page.on("console", (said) => said.type() === "error" && complaints.push(said.text()));
    await page.addInitScript(watch);
    const answer = await page.goto(ROOT + path, { waitUntil: "load", timeout: PATIENCE });
    if (answer.status() !== status) throw new Error(`it answers ${answer.status()}`);
    await page.waitForTimeout(100);
    none(await page.evaluate(sticking), "it is wider than the window");
    // A page that is told as missing is an error to the console.
    none(complaints.filter((text) => status === 200 || !text.includes(`status of ${status}`)), "the browser complains");
    none(await page.evaluate(() => window.forbidden), "the policy forbids");
    const moved = await page.evaluate(() => window.moved);
    if (moved !== 0) throw new Error(`what is seen moves by ${moved}`);
    // After the look at what moves: for a picture of the whole page the window grows.
    if (process.env.PIOOY_PICTURES) {
      const name = path.replace(/\W+/g, "-").replace(/^-|-$/g, "") || "home";
      const prefix = whose ? `${whose}-` : "";
      await page.screenshot({ path: `${process.env.PIOOY_PICTURES}/${prefix}${name}-${screen}-${scheme}.png`, fullPage: true });
    }
    await page.evaluate(AXE);
    const { violations } = await page.evaluate(() => axe.run());
    const told = ({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => `${node.target} ${node.failureSummary}`).join(" | ")}`;
    none(violations.map(told), "axe finds");
  } finally {
    await context.close();
  }
}

/** Runs a check and says how it went. */
async function check(name, run) {
  if (process.env.PIOOY_ONLY && !name.includes(process.env.PIOOY_ONLY)) return;
  try {
    await run();
    say({ name });
  } catch (error) {
    say({ name, why: String(error.stack) });
  }
}

const sitemap = await (await fetch(`${ROOT}/sitemap.xml`)).text();
const listed = [...sitemap.matchAll(/<loc>([^<]+)<\/loc>/g)].map(([, address]) => address.slice(ROOT.length));
const isModel = (path) => path.startsWith("/models/");
const pages = [
  ...listed.map((path) => [path, 200]),
  ["/models?media=video&tier=free", 200],
  ["/models/nano-bananna", 404],
  ["/models/sora-2", 410],
];
let models = 0;

for (const [path, status] of pages) {
  // Model pages differ in words alone: the first six are looked at in every way, the others in two.
  const whole = !isModel(path) || ++models <= 6;
  for (const screen of Object.keys(SCREENS)) {
    for (const scheme of SCHEMES) {
      if (!whole && (screen === "wide") !== (scheme === "light")) continue;
      await check(`${path}, ${screen}, ${scheme}`, () => look(path, status, screen, scheme));
    }
  }
}

/** What a face answers whoever shows this key. */
async function asked(key) {
  const headers = { authorization: `Bearer ${key}`, "content-type": "application/json", accept: "application/json, text/event-stream" };
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/list" });
  const rest = await fetch(`${ROOT}/api/v1/models`, { headers });
  const mcp = await fetch(`${ROOT}/api/mcp/mcp`, { method: "POST", headers, body });
  return [rest.status, mcp.status];
}

/** The session of whoever opens a link and presses its button. */
async function signIn(link) {
  const context = await browser.newContext({ viewport: SCREENS.wide });
  const page = await context.newPage();
  await page.goto(link, { timeout: PATIENCE });
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { name: "Account" }).waitFor({ timeout: PATIENCE });
  return context;
}

// A person: in by the link, a key made, copied and used, and revoked.
const person = await signIn(process.env.PIOOY_LINK);
await check("a link signs in once", async () => {
  const other = await browser.newContext();
  const page = await other.newPage();
  await page.goto(process.env.PIOOY_LINK, { timeout: PATIENCE });
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("alert").waitFor({ timeout: PATIENCE });
  await other.close();
});
await check("a key is made, copied and used, and is refused everywhere within a second of its end", async () => {
  const page = await person.newPage();
  await page.goto(`${ROOT}/settings/apikeys`, { timeout: PATIENCE });
  await page.getByLabel("Name").fill("booth <b>1</b>");
  await page.getByLabel("Live: spends credits").check();
  await page.getByRole("button", { name: "Make the key" }).click();
  await page.getByRole("heading", { name: "Your new key" }).waitFor({ timeout: PATIENCE });
  if (process.env.PIOOY_PICTURES) await page.screenshot({ path: `${process.env.PIOOY_PICTURES}/made.png`, fullPage: true });
  await person.grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.locator(".snippet", { hasText: "piooy_live_" }).first().getByRole("button", { name: "Copy" }).click();
  const key = await page.evaluate(() => navigator.clipboard.readText());
  if (!/^piooy_live_\w+$/.test(key)) throw new Error(`what is copied is ${key}`);
  const before = await asked(key);
  if (before.join() !== "200,200") throw new Error(`the key is answered ${before}`);
  await page.getByRole("link", { name: "Done: I have copied it" }).click();
  if ((await page.content()).includes(key)) throw new Error("the key is shown again");
  await page.getByRole("link", { name: "Revoke booth" }).click();
  await page.getByRole("button", { name: "Revoke the key" }).click();
  await page.getByText("revoked").waitFor({ timeout: PATIENCE });
  await page.waitForTimeout(1000);
  const after = await asked(key);
  if (after.join() !== "401,401") throw new Error(`the revoked key is answered ${after}`);
  await page.close();
});
await check("a second member joins by invitation, with a password, and looks on", async () => {
  const page = await person.newPage();
  await page.goto(`${ROOT}/settings/account`, { timeout: PATIENCE });
  const form = page.locator("form", { hasText: "Invite somebody" });
  await form.getByLabel("E-mail address").fill("ann@example.org");
  await form.getByLabel("Role").selectOption("VIEWER");
  await form.getByRole("button").click();
  const link = await page.locator(".snippet code").textContent();
  const other = await browser.newContext();
  const guest = await other.newPage();
  await guest.goto(link, { timeout: PATIENCE });
  await guest.getByLabel("Choose a password").fill("a lighthouse at dusk");
  await guest.getByRole("button", { name: "Join" }).click();
  await guest.getByText("VIEWER").first().waitFor({ timeout: PATIENCE });
  await guest.getByRole("button", { name: "Sign out" }).click();
  await guest.getByLabel("E-mail address").fill("ann@example.org");
  await guest.getByLabel("Password").fill("a lighthouse at dusk");
  await guest.getByRole("button", { name: "Sign in" }).click();
  await guest.getByText("VIEWER").first().waitFor({ timeout: PATIENCE });
  await other.close();
  await page.close();
});
const session = await person.storageState();
for (const screen of Object.keys(SCREENS)) {
  for (const scheme of SCHEMES) {
    await check(`/signin, ${screen}, ${scheme}`, () => look("/signin", 200, screen, scheme));
    for (const path of ["/settings/apikeys", "/settings/account"]) {
      await check(`${path}, ${screen}, ${scheme}`, () => look(path, 200, screen, scheme, session));
    }
  }
}

// An account with a history: what it spent, and who is told.
const studio = await signIn(process.env.PIOOY_STUDIO);
const WEIGHT_MAX = 100_000;
await check("what was spent is shown, filtered and downloaded, also without scripts", async () => {
  const page = await (await browser.newContext({ storageState: await studio.storageState(), javaScriptEnabled: false })).newPage();
  await page.goto(`${ROOT}/settings/usage`, { timeout: PATIENCE });
  await page.getByRole("link", { name: "90 days" }).click();
  const models = await page.locator(".by-model tbody tr").count();
  if (models !== 6) throw new Error(`${models} rows of models`);
  const [all] = (await page.locator(".tiles").textContent()).match(/(?<=in 90 days)[\d,]+/);
  const days = await page.locator(".dense:not(.statement) tbody tr").evaluateAll((rows) => rows.map((row) => row.cells[2].textContent));
  const sum = days.reduce((sum, text) => sum + Number(text.replaceAll(",", "")), 0);
  if (sum < 1 || sum !== Number(all.replaceAll(",", ""))) throw new Error(`the days come to ${sum}, not to ${all}`);
  await page.getByText("Filter", { exact: true }).click();
  await page.getByLabel("Given back").check();
  await page.getByRole("button", { name: "Show these" }).click();
  const kinds = await page.locator(".statement .badge").allTextContents();
  if (kinds.length !== 25 || kinds.some((kind) => kind !== "Given back")) throw new Error(`it shows ${kinds}`);
  await page.getByRole("link", { name: "Older" }).click();
  const [file] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "Download as CSV" }).click()]);
  const lines = readFileSync(await file.path(), "utf8").trim().split("\r\n");
  if (file.suggestedFilename() !== "piooy-transactions.csv") throw new Error(`the file is called ${file.suggestedFilename()}`);
  if (lines.length < 30 || lines.slice(1).some((line) => !line.includes(",RELEASE,"))) throw new Error(`${lines.length} lines: ${lines[1]}`);
  await page.context().close();
});
await check("an endpoint is refused, added, and deleted", async () => {
  const page = await studio.newPage();
  await page.goto(`${ROOT}/settings/webhooks`, { timeout: PATIENCE });
  await page.getByLabel("Address").fill("https://127.0.0.1/hook");
  await page.getByRole("button", { name: "Add the endpoint" }).click();
  await page.getByRole("alert").waitFor({ timeout: PATIENCE });
  if ((await page.getByLabel("Address").inputValue()) !== "https://127.0.0.1/hook") throw new Error("the address is not kept");
  if (process.env.PIOOY_PICTURES) await page.screenshot({ path: `${process.env.PIOOY_PICTURES}/webhook-refused.png`, fullPage: true });
  await page.getByLabel("Address").fill("https://example.org/new");
  await page.getByRole("button", { name: "Add the endpoint" }).click();
  await page.getByText(/^whsec_/).waitFor({ timeout: PATIENCE });
  if (process.env.PIOOY_PICTURES) await page.screenshot({ path: `${process.env.PIOOY_PICTURES}/webhook-made.png`, fullPage: true });
  await page.getByRole("link", { name: "Done: I have copied it" }).click();
  await page.getByRole("link", { name: "Delete https://example.org/new" }).click();
  await page.getByRole("button", { name: "Delete the webhook" }).click();
  await page.getByRole("status").waitFor({ timeout: PATIENCE });
  await page.close();
});
const owner = await studio.storageState();
for (const screen of Object.keys(SCREENS)) {
  for (const scheme of SCHEMES) {
    const paths = ["/settings/usage", "/settings/usage?days=7", "/settings/usage?days=90&kinds=GRANT&kinds=EXPIRE", "/settings/webhooks"];
    for (const path of paths) {
      await check(`${path} of a studio, ${screen}, ${scheme}`, () => look(path, 200, screen, scheme, owner, "studio"));
    }
    // Nothing has happened yet.
    for (const path of ["/settings/usage", "/settings/webhooks"]) {
      await check(`${path}, ${screen}, ${scheme}`, () => look(path, 200, screen, scheme, session));
    }
  }
}
await check("the pages of a busy account weigh little", async () => {
  for (const path of ["/settings/usage?days=90", "/settings/webhooks"]) {
    const weight = (await (await studio.request.get(ROOT + path)).body()).length;
    if (weight > WEIGHT_MAX) throw new Error(`${path} has ${weight} bytes`);
  }
});
await browser.close();
