"use strict";
// What a page does by itself: it keeps quiet while nobody looks or somebody writes, says aloud what has changed, leaves
// the focus and what was opened where they were, sends a form once and says when the answer takes long, goes on to the
// gateway, copies a link, and installs itself. Pages work without it.
(() => {
  const SLOW_MS = 3000;
  const announcer = document.getElementById("announcer");
  const each = (selector, act) => document.querySelectorAll(selector).forEach(act);

  document.addEventListener("htmx:beforeRequest", (event) => {
    const fields = [...event.target.querySelectorAll("input, select, textarea")];
    const writing = fields.some((field) => field === document.activeElement || begun(field));
    if (document.hidden || !navigator.onLine || writing) event.preventDefault();
  });

  function begun(field) {
    return field.type === "radio" || field.type === "checkbox" ? field.checked !== field.defaultChecked
      : field.type !== "hidden" && field.value !== (field.defaultValue ?? field.value);
  }

  let held;
  const called = (part) => `${part.tagName} ${part.id} ${part.getAttribute("href")} ${part.textContent.trim()}`;
  document.addEventListener("htmx:beforeSwap", (event) => {
    const live = event.detail.target, focus = document.activeElement;
    if (live.id === "kept") {
      const fresh = new DOMParser().parseFromString(event.detail.serverResponse, "text/html").getElementById("kept");
      event.detail.shouldSwap = fresh !== null && fresh.textContent !== live.textContent;
    }
    held = {
      id: live.id,
      focus: live.contains(focus) ? called(focus) : "",
      open: [...live.querySelectorAll("details[open] > summary")].map(called),
    };
  });

  function restore() {
    const live = held && document.getElementById(held.id);
    if (!live) return;
    live.querySelectorAll("details > summary").forEach((one) => {
      if (held.open.includes(called(one))) one.parentElement.open = true;
    });
    if (!held.focus || live.contains(document.activeElement)) return;
    const again = [...live.querySelectorAll("a, button, summary, [tabindex]")].find((one) => called(one) === held.focus);
    if (!again) live.tabIndex = -1;
    (again ?? live).focus({ preventScroll: true });
  }

  let said = document.querySelector("[data-announce]")?.dataset.announce;
  document.addEventListener("htmx:afterSwap", () => {
    const told = document.querySelector("[data-announce]");
    if (told && told.dataset.announce !== said) {
      said = told.dataset.announce;
      announcer.textContent = said;
      told.classList.add("update");
    }
    restore();
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
    setTimeout(() => sayItGoesOn(form), SLOW_MS);
  });

  function sayItGoesOn(form) {
    const line = document.createElement("p");
    line.className = "quiet";
    line.textContent = announcer.textContent = announcer.dataset.slow;
    form.append(line);
  }

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
