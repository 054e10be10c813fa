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

async function look(path, status, screen, scheme) {
  const context = await browser.newContext({ viewport: SCREENS[screen], colorScheme: scheme });
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
      await page.screenshot({ path: `${process.env.PIOOY_PICTURES}/${name}-${screen}-${scheme}.png`, fullPage: true });
    }
    await page.evaluate(AXE);
    const { violations } = await page.evaluate(() => axe.run());
    const told = ({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => `${node.target} ${node.failureSummary}`).join(" | ")}`;
    none(violations.map(told), "axe finds");
  } finally {
    await context.close();
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
      const name = `${path}, ${screen}, ${scheme}`;
      if (process.env.PIOOY_ONLY && !name.includes(process.env.PIOOY_ONLY)) continue;
      try {
        await look(path, status, screen, scheme);
        say({ name });
      } catch (error) {
        say({ name, why: String(error.stack) });
      }
    }
  }
}
await browser.close();
