// What scripts add to the settings: buttons that copy.
"use strict";

for (const button of document.querySelectorAll(".snippet button.copy")) {
  // Without encryption browsers offer no clipboard; the text can still be selected.
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    const code = button.closest(".snippet").querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
  });
}
