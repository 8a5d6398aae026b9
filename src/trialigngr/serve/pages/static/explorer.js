// What pages have besides where scripts run: buttons that copy, and a map that comes closer. Without it all can be read.
"use strict";

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const text = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(text.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(text); // no clipboard here: what is to be copied is marked
      button.textContent = "Marked: copy it";
    }
  });
}

const map = document.querySelector("svg[data-size]");
if (map) {
  const size = Number(map.dataset.size);
  let view = { x: 0, y: 0, width: size };

  const show = (x, y, width) => {
    width = Math.min(size, Math.max(size / 40, width));
    const clamp = (value) => Math.min(size - width, Math.max(0, value));
    view = { x: clamp(x), y: clamp(y), width };
    map.setAttribute("viewBox", `${view.x} ${view.y} ${width} ${width}`);
    map.style.setProperty("--dot", `${Math.max(1, (5 * width) / size)}px`);
  };
  const zoom = (factor, share_x = 0.5, share_y = 0.5) => {
    const width = Math.min(size, Math.max(size / 40, view.width * factor));
    show(view.x + (view.width - width) * share_x, view.y + (view.width - width) * share_y, width);
  };

  const buttons = map.parentElement.querySelector(".zoom");
  buttons.hidden = false;
  buttons.addEventListener("click", (event) => {
    const factor = Number(event.target.dataset.zoom);
    if (event.target.dataset.zoom) factor ? zoom(factor) : show(0, 0, size);
  });
  map.addEventListener("wheel", (event) => {
    event.preventDefault();
    const box = map.getBoundingClientRect();
    const share_x = (event.clientX - box.left) / box.width;
    zoom(event.deltaY < 0 ? 0.8 : 1.25, share_x, (event.clientY - box.top) / box.height);
  }, { passive: false });

  let held = null;
  let moved = false;
  map.addEventListener("pointerdown", (event) => {
    held = { x: event.clientX, y: event.clientY, view };
    moved = false;
  });
  addEventListener("pointermove", (event) => {
    if (!held) return;
    const scale = held.view.width / map.getBoundingClientRect().width;
    const [x, y] = [event.clientX - held.x, event.clientY - held.y];
    moved ||= Math.hypot(x, y) > 4;
    if (moved) show(held.view.x - x * scale, held.view.y - y * scale, held.view.width);
  });
  addEventListener("pointerup", () => { held = null; });
  map.addEventListener("dragstart", (event) => event.preventDefault());
  map.addEventListener("click", (event) => { if (moved) event.preventDefault(); }, true);
}
