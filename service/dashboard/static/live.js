// Lets the live parts of a page ask for themselves every two seconds, but not while nobody sees the page.
// What changed is said to screen readers once, in the words that the part gives in data-say; focus stays where it is.
"use strict";
(() => {
  const PERIOD_MS = 2000;
  const said = () => document.querySelector("[data-say]")?.dataset.say ?? "";
  let before = said();

  function tick() {
    if (document.hidden) return;
    for (const part of document.querySelectorAll("[data-follow]")) part.dispatchEvent(new Event("tick"));
  }

  document.addEventListener("htmx:after:request", (event) => {
    // The session has ended: the answer is the page on which one signs in, not a part of this one.
    const raw = event.detail?.ctx?.response?.raw;
    if (raw && (raw.redirected || raw.status === 401)) {
      event.preventDefault();
      location.reload();
    }
  });
  document.addEventListener("htmx:after:swap", () => {
    const now = said();
    if (now !== before) document.getElementById("announced").textContent = now;
    before = now;
  });
  document.addEventListener("visibilitychange", tick);
  setInterval(tick, PERIOD_MS);
})();
