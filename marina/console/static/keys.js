// Keys on pages of reviews: 1 to 9 choose a verdict of the chosen item, j and k move, u undoes. Forms work without.
// Where a part of a page is sent again, what was opened in it stays open, and what had the focus keeps it.
"use strict";
(() => {
  const items = () => [...document.querySelectorAll("[data-item]")];
  let at = 0;
  const choose = (to) => {
    const all = items();
    if (!all.length) return;
    at = Math.max(0, Math.min(all.length - 1, to));
    all.forEach((one, place) => one.classList.toggle("chosen", place === at));
    all[at].scrollIntoView({ block: "nearest" });
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
    const one = items()[at];
    if (event.key === "j") choose(at + 1);
    else if (event.key === "k") choose(at - 1);
    else if (event.key === "u") document.querySelector("[data-key=u]")?.click();
    else if (/^[1-9]$/.test(event.key)) one?.querySelector(`[data-key="${event.key}"]`)?.click();
    else return;
    event.preventDefault();
  });
  document.addEventListener("DOMContentLoaded", () => choose(0));
  document.addEventListener("htmx:afterSettle", () => choose(at));
  // A moving skeleton: the frames of a drawing, one after another.
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) {
    let tick = 0;
    setInterval(() => {
      tick += 1;
      document.querySelectorAll("svg.skeleton").forEach((drawing) => {
        const frames = drawing.querySelectorAll(".frame");
        frames.forEach((frame, place) => frame.setAttribute("visibility", place === tick % frames.length ? "visible" : "hidden"));
      });
    }, 80);
  }
  let kept = null;
  const parts = (of, what) => [...of.querySelectorAll(what)];
  document.addEventListener("htmx:sseBeforeMessage", ({ target }) => {
    const focused = target.contains(document.activeElement) ? document.activeElement : null;
    kept = {
      open: parts(target, "details").map((one) => one.open),
      link: focused?.getAttribute("href"),
      summary: parts(target, "summary").indexOf(focused),
    };
  });
  document.addEventListener("htmx:sseMessage", ({ target }) => {
    if (!kept) return;
    parts(target, "details").forEach((one, at) => { one.open = kept.open[at] ?? false; });
    const again = parts(target, "a").find((one) => one.getAttribute("href") === kept.link) ?? parts(target, "summary")[kept.summary];
    again?.focus({ preventScroll: true });
    kept = null;
  });
})();
