"use strict";
// Times in the browser's own zone, and counts of seconds left.
(() => {
  const write = () => {
    for (const t of document.querySelectorAll("time[data-t]"))
      if (!t.textContent) t.textContent = new Date(1000 * t.dataset.t).toLocaleString();
    for (const s of document.querySelectorAll("span.left[data-t]")) {
      const left = Math.max(0, Math.round(s.dataset.t - Date.now() / 1000));
      const words = left < 120 ? `${left} s left` : `${Math.round(left / 60)} min left`;
      if (s.textContent !== words) s.textContent = words;
    }
  };
  setInterval(write, 500);
  new MutationObserver(write).observe(document.body, { childList: true, subtree: true });  // before it is painted
})();

// Lines for a terminal: copied where the browser allows it, else selected for the person to copy.
document.addEventListener("click", async (event) => {
  const button = event.target.closest?.("button[data-copy]");
  const line = button && document.getElementById(button.dataset.copy);
  if (!line) return;
  try {
    await navigator.clipboard.writeText(line.textContent);
    button.textContent = button.dataset.copied;
  } catch {
    getSelection().selectAllChildren(line);
  }
});

// Whether the console is still there: a page whose session is over asks to log in, one that is cut off says so.
(() => {
  const away = document.createElement("div");
  away.setAttribute("role", "alert");
  away.style.cssText = "position:fixed;inset:0 0 auto;padding:.8rem 1rem;background:#9c3d00;color:#fff;z-index:10000";
  const look = async () => {
    let status = 0;
    try {
      status = (await fetch("/here", { cache: "no-store", signal: AbortSignal.timeout(5000) })).status;
    } catch { /* no answer: status stays 0 */ }
    if (status === 401) return location.assign("/login?again");
    if (status === 204 && away.isConnected) return location.reload();
    if (status !== 204 && !away.isConnected) {
      away.textContent = document.querySelector("script[data-away]").dataset.away;
      document.body.prepend(away);
    }
    setTimeout(look, 2000);
  };
  setTimeout(look, 2000);
})();
