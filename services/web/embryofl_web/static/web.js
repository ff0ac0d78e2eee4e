"use strict";
// Every page can be read without this script, and its forms work; it makes them more comfortable.
const own = document.currentScript.dataset, spoken = document.getElementById("spoken");

// Times in the browser's own zone, counts of time left, bars that grow.
const write = () => {
  for (const time of document.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime), left = Math.max(0, Math.round((at - Date.now()) / 1000));
    const words = time.className === "left"
      ? own.left.replace("{time}", left < 120 ? `${left} s` : `${Math.round(left / 60)} min`)
      : at.toLocaleString(undefined, at.toDateString() === new Date().toDateString() ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" });
    if (time.textContent !== words) time.textContent = words;
  }
  for (const bar of document.querySelectorAll("[data-since]")) {
    const { since, from, to } = bar.dataset, width = (Math.min(Date.now() / 1000, to) - since) / (to - from);
    bar.setAttribute("width", `${(100 * Math.max(0, width)).toFixed(2)}%`);
  }
};

// Parts of a page that follow the program's state: replaced when they have changed, with what is focused, open or
// scrolled kept. A part in which somebody types, or whose dialog is open, waits.
const shown = new Map([...document.querySelectorAll("[data-live]")].map((part) => [part.id, part.innerHTML]));
const busy = (part) => part.querySelector("dialog[open]") || [...part.querySelectorAll("input, textarea, select")]
  .some((field) => field === document.activeElement || ("defaultValue" in field && field.value !== field.defaultValue));
const replace = (part, fresh) => {
  const kept = document.activeElement, inside = part.contains(kept);
  const mark = inside && (kept.id ? `#${CSS.escape(kept.id)}` : kept.getAttribute("href") && `[href="${CSS.escape(kept.getAttribute("href"))}"]`);
  const places = [...part.querySelectorAll(".scroll")].map((box) => [box.scrollLeft, box.scrollTop]);
  const open = [...part.querySelectorAll("details")].map((fold) => fold.open);
  part.replaceChildren(...fresh.childNodes);
  part.querySelectorAll(".scroll").forEach((box, n) => places[n] && box.scrollTo(...places[n]));
  part.querySelectorAll("details").forEach((fold, n) => { fold.open = open[n] ?? fold.open; });
  if (mark) part.querySelector(mark)?.focus();
};
const apply = (page) => {  // whether every part is up to date
  let whole = true;
  for (const fresh of page.querySelectorAll("[data-live]")) {
    const part = document.getElementById(fresh.id), html = fresh.innerHTML;
    if (!part || shown.get(part.id) === html) continue;
    if (busy(part)) { whole = false; continue; }
    shown.set(part.id, html);
    replace(part, fresh);
  }
  const next = page.querySelector(".next h2")?.textContent;
  if (next && spoken.textContent !== next) spoken.textContent = next;
  write();
  return whole;
};
const parsed = async (response) => new DOMParser().parseFromString(await response.text(), "text/html");

// Whether the program is there: a page whose session is over asks to log in, one that is cut off says so.
if (own.here) {
  const away = document.createElement("div"), ask = (address, more) => fetch(address, { cache: "no-store", signal: AbortSignal.timeout(5000), ...more });
  away.setAttribute("role", "alert");
  away.className = "away";
  let version = null, waiting = null;
  const look = async () => {
    try {
      const here = await ask(own.here);
      if (here.status === 401) return location.assign("/login?again");
      if (here.status !== 204) throw new Error(here.status);
      away.remove();
      document.getElementById("live")?.classList.remove("old");
      const now = here.headers.get("x-version");
      if (own.live && now !== version) {
        const page = await ask(own.live, { headers: { "X-Live": "1" } });
        if (page.ok) [version, waiting] = [now, await parsed(page)];
      }
      if (waiting && apply(waiting)) waiting = null;
    } catch {
      if (!away.isConnected) {
        away.textContent = own.away;
        document.body.prepend(away);
        document.getElementById("live")?.classList.add("old");
      }
    }
    setTimeout(look, 500);
  };
  look();
}
write();
setInterval(write, 500);

// Dialogs, lines to copy, printing.
document.addEventListener("click", async (event) => {
  const link = event.target.closest?.('a[role="button"]'), button = event.target.closest?.("button");
  if (link?.matches("[data-close]")) {
    event.preventDefault();
    if (location.hash) history.replaceState(null, "", location.pathname + location.search);
    link.closest("dialog").close();
  } else if (link) {
    event.preventDefault();
    document.getElementById(link.hash.slice(1)).showModal();
  } else if (button?.id === "print") {
    window.print();
  } else if (button?.dataset.copy) {
    const line = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(line.textContent);
      button.textContent = button.dataset.copied;
    } catch {
      getSelection().selectAllChildren(line);
    }
  }
});

// What takes a while says so, and a form that has been sent is not sent twice.
const sent = new Set();
const busyWhile = (part) => {
  const later = setTimeout(() => { part.ariaBusy = "true"; spoken.textContent = own.busy; }, 300);
  return () => { clearTimeout(later); part.ariaBusy = null; };
};
document.addEventListener("submit", (event) => {
  const { target, submitter } = event, again = () => { sent.delete(target); done(); };
  if (sent.has(target)) return event.preventDefault();
  if (target.method === "post") sent.add(target);
  const done = busyWhile(submitter ?? target);
  setTimeout(again, 30000);
  addEventListener("pageshow", again, { once: true });
});

const fields = (part) => [...part.querySelectorAll("[name]")], names = (part) => fields(part).map((field) => field.name);

// Forms whose page follows what is chosen: one that only reads is sent, of the other the parts that depend on it are fetched,
// one change after the other. What has been typed meanwhile stays.
for (const form of document.querySelectorAll("form[data-follow]")) {
  const follow = async () => {
    const before = new FormData(form), parts = [...document.querySelectorAll("[data-part]")].map(busyWhile);
    const page = await parsed(await fetch(form.dataset.follow, { method: "POST", body: new URLSearchParams(before) }))
      .finally(() => parts.forEach((done) => done()));
    const typed = [...new FormData(form)].filter(([name, value]) => before.get(name) !== value);
    for (const fresh of page.querySelectorAll("[data-part]")) {
      const part = document.getElementById(fresh.id), here = document.activeElement;
      if (!part || part.isEqualNode(fresh)) continue;
      if (part.contains(here) && String(names(part)) === String(names(fresh))) {  // somebody is at one of its fields
        for (const { name, value } of fields(fresh)) if (form.elements[name] !== here) form.elements[name].value = value;
      } else replace(part, fresh);
    }
    for (const [name, value] of typed) if (form.elements[name]) form.elements[name].value = value;
    write();
  };
  let last = Promise.resolve();
  form.addEventListener("change", () => {
    if (form.method === "get") form.requestSubmit();
    else last = last.then(follow, follow);
  });
}

for (const button of document.querySelectorAll("#print")) button.hidden = false;
