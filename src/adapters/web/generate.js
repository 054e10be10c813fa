// What scripts add to generating: the form follows the model, the price is known before it is asked for, pictures are
// dropped, and results come in while they are made. All that is shown of a task or a model is written by the server.
"use strict";

const PRICE_PAUSE_MS = 350;
const NUMBERS = ["count", "seed"];
const PICTURE_BYTES_MAX = 32 * 1024 * 1024;

const form = document.getElementById("generate");
const gallery = document.getElementById("gallery");
const root = form?.dataset.root ?? document.querySelector("a.brand").getAttribute("href");

/** Why a call failed, in words for people. */
class Refusal extends Error {
  constructor(status, answer) {
    super(answer?.msg ?? answer?.message ?? "The server cannot be reached. Try again.");
    this.status = status;
    this.reason = answer?.reason;
    this.answer = answer;
  }
}

/** Calls the API as whoever is signed in; a session that has just run out is refreshed on the way. */
async function call(path, options = {}, isSecond = false) {
  let answer;
  try {
    answer = await fetch(root + path, options);
  } catch {
    throw new Refusal(0);
  }
  if (answer.status === 401 && !isSecond) {
    const refreshed = await fetch(`${root}session/refresh`, { method: "POST" });
    if (refreshed.ok) return call(path, options, true);
  }
  const body = await answer.json().catch(() => undefined);
  if (!answer.ok) throw new Refusal(answer.status, body);
  return body.data;
}

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** A page of this server, read but not shown. */
async function page(path) {
  const answer = await fetch(root + path, { headers: { accept: "text/html" } });
  if (!answer.ok || answer.redirected) throw new Refusal(answer.status);
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

// Tasks: each open card follows its task and is written anew by the server when it ends.

const followed = new Set();

function follow(card) {
  const id = card.dataset.task;
  if (!id || followed.has(id)) return;
  followed.add(id);
  const events = new EventSource(`${root}api/v1/tasks/${id}/events`);
  events.addEventListener("task", async (event) => {
    const task = JSON.parse(event.data).data;
    if (task.status === "PENDING" || task.status === "PROCESSING") {
      const bar = document.querySelector(`#task-${id} progress`);
      if (bar) bar.value = task.progress;
      return;
    }
    events.close();
    followed.delete(id);
    if (gallery.hasAttribute("data-reload")) return location.reload();
    await renew(id);
  });
  // The browser connects again by itself, but not after a refusal: then the session has run out.
  events.addEventListener("error", () => {
    if (events.readyState !== EventSource.CLOSED) return;
    followed.delete(id);
    call(`api/v1/tasks/${id}`).then(() => follow(card), say);
  });
}

/** The card of a task as the server writes it now, in the place of the one that is there or before all others. */
async function renew(id) {
  const written = (await page(`generate/${id}?part=card`)).querySelector("li");
  const old = document.getElementById(`task-${id}`);
  const card = document.adoptNode(written);
  if (old) old.replaceWith(card);
  else gallery.prepend(card);
  follow(card);
}

for (const card of gallery?.querySelectorAll("[data-task]") ?? []) follow(card);

// The form.

const problem = document.getElementById("problem");
const price = document.getElementById("price");
let uploading = 0;

/** Says what is wrong, next to the form, and what to do about it. Nothing that was filled in is lost. */
function say(refusal) {
  if (!problem) return;
  const notice = element("p", { className: "notice danger" });
  if (refusal.status === 401) {
    const link = element("a", { href: `${root}signin`, target: "_blank", textContent: "Sign in in another tab" });
    notice.append("Your session is over. ", link, ", then press the button again: what you filled in stays here.");
  } else {
    const fields = refusal.answer?.errors ?? refusal.answer?.violations ?? [];
    notice.append(fields.length > 0 ? fields.map(({ field, message }) => `${field} ${message}`).join("; ") : refusal.message);
    if (refusal.reason === "INSUFFICIENT_CREDITS") {
      notice.append(" ", element("a", { href: `${root}settings/usage`, textContent: "See what was spent" }));
    }
  }
  problem.replaceChildren(notice);
}

/** The form as the API takes it. */
function request() {
  const asked = {};
  for (const [name, text] of new FormData(form)) {
    const value = String(text).trim();
    if (value === "" || ["form_token", "idempotency_key"].includes(name)) continue;
    if (name === "reference_images") asked[name] = value.split("\n").map((line) => line.trim()).filter(Boolean);
    else if (name === "audio") asked[name] = value === "true";
    else asked[name] = NUMBERS.includes(name) && /^\d+$/.test(value) ? Number(value) : value;
  }
  return asked;
}

function post(asked, headers = {}) {
  return { method: "POST", headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(asked) };
}

let priced = 0;

async function ask_price() {
  const turn = ++priced;
  const asked = request();
  if (!asked.prompt) asked.prompt = "…";
  try {
    const quote = await call("api/v1/quote", post(asked));
    if (turn !== priced) return;
    const credits = quote.credits === 1 ? "1 credit" : `${quote.credits} credits`;
    const changes = quote.adjustments.map(({ field, used, asked }) => ` ${field}: ${used} instead of ${asked}.`).join("");
    price.replaceChildren(element("b", { textContent: quote.credits === 0 ? "Free" : credits }), ` of your ${quote.available}.${changes}`);
    price.classList.toggle("short", quote.credits > quote.available);
  } catch (refusal) {
    if (turn !== priced) return;
    price.classList.add("short");
    price.textContent = refusal.message;
  }
}

let timer;
function ask_price_soon() {
  clearTimeout(timer);
  timer = setTimeout(ask_price, PRICE_PAUSE_MS);
}

/** Fits the form to the model: the server writes the fields, and what was chosen stays where it can. */
async function fit() {
  const chosen = new Map(new FormData(form));
  const written = (await page(`generate?model=${encodeURIComponent(form.elements.model.value)}`)).getElementById("fits");
  const fits = document.adoptNode(written);
  for (const field of fits.querySelectorAll("select, input[name], textarea")) {
    const value = chosen.get(field.name);
    if (value === undefined || value === "") continue;
    const isOffered = field.tagName !== "SELECT" || [...field.options].some((option) => option.value === value);
    if (isOffered) field.value = value;
  }
  document.getElementById("fits").replaceWith(fits);
  pictures();
  ask_price_soon();
}

async function run(button) {
  problem.replaceChildren();
  if (!form.reportValidity()) return;
  if (uploading > 0) return say(new Refusal(0, { msg: "A picture is still on its way. Wait for it, or take it out." }));
  button.disabled = true;
  // One key for each press: a call that is repeated because no answer came makes nothing twice.
  const key = crypto.randomUUID?.() ?? form.elements.idempotency_key.value + Date.now();
  const options = post(request(), { "idempotency-key": key });
  try {
    const task = await call("api/v1/generate", options).catch((refusal) => {
      if (refusal.status !== 0) throw refusal;
      return call("api/v1/generate", options);
    });
    document.getElementById("nothing").hidden = true;
    await renew(task.taskId);
    ask_price_soon();
  } catch (refusal) {
    say(refusal);
  } finally {
    button.disabled = false;
  }
}

// Pictures to work from.

function lines() {
  return form.elements.reference_images.value.split("\n").map((line) => line.trim()).filter(Boolean);
}

async function add(file) {
  const field = form.elements.reference_images;
  const list = form.querySelector(".pictures");
  const view = element("img", { src: URL.createObjectURL(file), alt: file.name, width: 72, height: 72 });
  const remove = element("button", { type: "button", className: "quiet", textContent: "Take out" });
  remove.setAttribute("aria-label", `Take out ${file.name}`);
  const item = element("li", {}, view, remove);
  let reference;
  remove.addEventListener("click", () => {
    field.value = lines().filter((line) => line !== reference).join("\n");
    URL.revokeObjectURL(view.src);
    item.remove();
    list.hidden = list.children.length === 0;
    ask_price_soon();
  });
  list.append(item);
  list.hidden = false;
  item.classList.add("sending");
  uploading += 1;
  try {
    if (file.size > PICTURE_BYTES_MAX) throw new Refusal(413, { msg: `${file.name} is larger than 32 MiB.` });
    const upload = await call("api/v1/uploads", { method: "POST", headers: { "content-type": file.type || "application/octet-stream" }, body: file });
    reference = upload.reference;
    if (item.isConnected) field.value = [...lines(), reference].join("\n");
    ask_price_soon();
  } catch (refusal) {
    remove.click();
    say(refusal);
  } finally {
    uploading -= 1;
    item.classList.remove("sending");
  }
}

/** Lets pictures be dropped, pasted and chosen, where the model takes any. */
function pictures() {
  const drop = form.querySelector(".drop");
  if (!drop) return;
  const files = drop.querySelector("input[type=file]");
  files.addEventListener("change", () => {
    for (const file of files.files) add(file);
    files.value = "";
  });
}

if (form) {
  form.elements.model.addEventListener("change", () => fit().catch(say));
  form.addEventListener("input", ask_price_soon);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    run(event.submitter ?? form.querySelector("button[value=run]"));
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit(form.querySelector("button[value=run]"));
  });
  const images = (list) => [...(list ?? [])].filter((file) => file.type.startsWith("image/"));
  const takes = () => form.querySelector(".drop") !== null;
  form.addEventListener("paste", (event) => takes() && images(event.clipboardData?.files).forEach(add));
  form.addEventListener("dragover", (event) => {
    if (!takes()) return;
    event.preventDefault();
    form.classList.add("over");
  });
  form.addEventListener("dragleave", () => form.classList.remove("over"));
  form.addEventListener("drop", (event) => {
    form.classList.remove("over");
    if (!takes()) return;
    event.preventDefault();
    images(event.dataTransfer.files).forEach(add);
  });
  pictures();
  if (!price.textContent) ask_price();
}
