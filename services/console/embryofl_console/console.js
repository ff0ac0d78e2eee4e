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
})();
