"use strict";
// What a page does by itself: it keeps quiet while nobody looks or somebody writes, says aloud what has changed, sends
// a form once, goes on to the gateway, copies a link, and installs itself. Pages work without it.
(() => {
  const announcer = document.getElementById("announcer");
  const each = (selector, act) => document.querySelectorAll(selector).forEach(act);

  document.addEventListener("htmx:beforeRequest", (event) => {
    const writing = document.activeElement?.matches("input, select, textarea") && event.target.contains(document.activeElement);
    if (document.hidden || !navigator.onLine || writing) event.preventDefault();
  });

  let said = document.querySelector("[data-announce]")?.dataset.announce;
  document.addEventListener("htmx:afterSwap", () => {
    const told = document.querySelector("[data-announce]");
    if (told && told.dataset.announce !== said) {
      said = told.dataset.announce;
      announcer.textContent = said;
      told.classList.add("update");
    }
    prepare();
  });

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.dataset.sent) {
      event.preventDefault();
      return;
    }
    form.dataset.sent = "yes";
    form.querySelectorAll("button").forEach((button) => button.setAttribute("aria-disabled", "true"));
  });

  window.addEventListener("pageshow", (event) => {
    if (event.persisted) window.location.reload();
  });

  document.addEventListener("click", async (event) => {
    const copier = event.target.closest("[data-copy]");
    if (copier) {
      await navigator.clipboard.writeText(copier.dataset.copy);
      announcer.textContent = copier.dataset.copied;
      copier.querySelector("span").textContent = copier.dataset.copied;
    }
    each("details.who[open]", (menu) => {
      if (!menu.contains(event.target)) menu.open = false;
    });
  });

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") each("details.who[open]", (menu) => {
      menu.open = false;
      menu.querySelector("summary").focus();
    });
  });

  let install;
  window.addEventListener("beforeinstallprompt", (event) => {
    event.preventDefault();
    install = event;
    each("[data-install]", (button) => { button.hidden = false; });
  });

  function prepare() {
    each("[data-install]", (button) => { button.onclick = () => install?.prompt(); });
    each("[data-copy]", (button) => { button.hidden = !navigator.clipboard; });
  }
  prepare();

  document.querySelector(".first-wrong")?.focus();
  const onwards = document.querySelector("a[data-onwards]");
  if (onwards) window.location.replace(onwards.href);
  if (document.body.dataset.app && "serviceWorker" in navigator) {
    navigator.serviceWorker.register("/sw.js");
  }
})();
