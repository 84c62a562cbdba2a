// What the theme leaves out for screen readers and keyboards: the level of the contents' captions, which of the two side bars is which, and
// that code which is too wide can be scrolled without a mouse.
document.addEventListener("DOMContentLoaded", () => {
  for (const caption of document.querySelectorAll("p.caption[role=heading]")) caption.setAttribute("aria-level", "2");
  document.querySelector(".sidebar-drawer")?.setAttribute("aria-label", "All pages");
  document.querySelector(".toc-drawer")?.setAttribute("aria-label", "On this page");
  for (const code of document.querySelectorAll("pre")) code.setAttribute("tabindex", "0");
});
