// What scripts add to the pages: buttons that copy, and the list of sections that follows the reader.
"use strict";

const COPIED_MS = 1600;

/** Puts the text of `element` on the clipboard. Without encryption browsers offer only the old way. */
async function copy(element) {
  if (navigator.clipboard) {
    return navigator.clipboard.writeText(element.textContent);
  }
  const selection = getSelection();
  selection.selectAllChildren(element);
  const done = document.execCommand("copy");
  selection.removeAllRanges();
  if (!done) {
    throw new Error("the browser refuses to copy");
  }
}

for (const button of document.querySelectorAll("button.copy")) {
  const code = button.closest(".snippet").querySelector("code");
  let timer;
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await copy(code);
      button.textContent = "Copied";
      button.classList.add("done");
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
    clearTimeout(timer);
    timer = setTimeout(() => {
      button.textContent = "Copy";
      button.classList.remove("done");
    }, COPIED_MS);
  });
}

const links = new Map([...document.querySelectorAll("nav.sections a")].map((link) => [link.hash.slice(1), link]));
const sections = [...links.keys()].map((id) => document.getElementById(id));

/** Brings a link to the middle of the list, where the list is a line that scrolls. */
function centre(link) {
  const list = link.parentElement;
  if (list.scrollWidth > list.clientWidth) {
    list.scrollTo({ left: link.offsetLeft - (list.clientWidth - link.offsetWidth) / 2 });
  }
}

/** Marks the last section that begins above the upper third of the window. */
function follow() {
  const line = innerHeight / 3;
  const passed = sections.filter((section) => section.getBoundingClientRect().top < line);
  const current = passed.at(-1) ?? sections[0];
  for (const [id, link] of links) {
    if (id === current.id) {
      if (!link.hasAttribute("aria-current")) {
        link.setAttribute("aria-current", "true");
        centre(link);
      }
    } else {
      link.removeAttribute("aria-current");
    }
  }
}

if (sections.length > 0) {
  addEventListener("scroll", () => requestAnimationFrame(follow), { passive: true });
  follow();
}
