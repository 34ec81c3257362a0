// The viewer: two layers of a scene with a divider between them, zoom and pan. The pictures are
// those of the contact sheet below it, so that they stand in the page once and without scripts too.
"use strict";

(() => {
  const root = document.getElementById("viewer");
  if (!root) return;
  const byId = (id) => document.getElementById(id);
  const stage = byId("stage");
  const divider = byId("divider");
  const selects = { left: byId("left"), right: byId("right") };
  const sides = { left: byId("side-left"), right: byId("side-right") };
  const tags = { left: byId("tag-left"), right: byId("tag-right") };
  const strength = byId("strength");
  const readout = byId("readout");
  const names = JSON.parse(byId("colors").textContent);
  const hint = readout.textContent;
  const MOST = 12;

  const scenes = [...document.querySelectorAll("#sheet .scene")].map((element) => ({
    name: element.dataset.name,
    layers: new Map([...element.querySelectorAll("img")].map((img) => [img.dataset.key, img])),
    pixels: new Map(),
  }));
  const state = { scene: 0, split: 50, zoom: 1, x: 0, y: 0 };

  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
  const layer = (side) => scenes[state.scene].layers.get(selects[side].value);

  // --- what is shown ---------------------------------------------------------------------------

  function showLayers() {
    const photo = scenes[state.scene].layers.get("image");
    for (const side of ["left", "right"]) {
      const [below, above] = sides[side].querySelectorAll("img");
      const shown = layer(side);
      below.src = photo.src;
      above.src = shown.src;
      above.classList.toggle("crisp", shown.dataset.kind === "label");
      above.style.opacity = shown.dataset.kind === "photo" ? 1 : strength.value / 100;
      tags[side].textContent = shown.dataset.title;
    }
    place();
  }

  function showScene(number) {
    state.scene = (number + scenes.length) % scenes.length;
    const photo = scenes[state.scene].layers.get("image");
    stage.style.aspectRatio = `${photo.getAttribute("width")} / ${photo.getAttribute("height")}`;
    byId("scene-name").textContent =
      `${state.scene + 1} of ${scenes.length}: ${scenes[state.scene].name}`;
    film.forEach((button, index) => {
      button.setAttribute("aria-pressed", String(index === state.scene));
    });
    const chosen = film[state.scene];
    const strip = chosen.parentElement;
    // not scrollIntoView: the page itself must stay where it is
    strip.scrollLeft = chosen.offsetLeft - (strip.clientWidth - chosen.clientWidth) / 2;
    readout.textContent = hint;
    reset();
    showLayers();
  }

  function place() {
    sides.right.style.clipPath = `inset(0 0 0 ${state.split}%)`;
    divider.style.left = `${state.split}%`;
    divider.setAttribute("aria-valuenow", String(Math.round(state.split)));
    const [left, right] = ["left", "right"].map((side) => layer(side).dataset.title);
    const share = Math.round(state.split);
    divider.setAttribute("aria-valuetext", `${share} % ${left}, ${100 - share} % ${right}`);
    const transform = `translate(${state.x}px, ${state.y}px) scale(${state.zoom})`;
    for (const img of stage.querySelectorAll(".side img")) img.style.transform = transform;
    stage.classList.toggle("zoomed", state.zoom > 1);
    byId("zoom-out").disabled = byId("zoom-reset").disabled = state.zoom <= 1;
    byId("zoom-in").disabled = state.zoom >= MOST;
  }

  function setSplit(percent) {
    state.split = clamp(percent, 0, 100);
    place();
  }

  function pan(x, y) {
    const box = stage.getBoundingClientRect();
    state.x = clamp(x, box.width * (1 - state.zoom), 0);
    state.y = clamp(y, box.height * (1 - state.zoom), 0);
    place();
  }

  // the point of the picture under (px, py) of the stage stays under it
  function zoom(factor, px, py) {
    const next = clamp(state.zoom * factor, 1, MOST);
    const ratio = next / state.zoom;
    state.zoom = next;
    pan(px - (px - state.x) * ratio, py - (py - state.y) * ratio);
  }

  function zoomMiddle(factor) {
    zoom(factor, stage.clientWidth / 2, stage.clientHeight / 2);
  }

  function reset() {
    state.zoom = 1;
    state.x = state.y = 0;
    place();
  }

  // --- the class under the pointer -------------------------------------------------------------

  function pixelsOf(scene, key) {
    if (!scene.pixels.has(key)) {
      const img = scene.layers.get(key);
      if (!img.complete || !img.naturalWidth) return null;
      const canvas = document.createElement("canvas");
      canvas.width = img.naturalWidth;
      canvas.height = img.naturalHeight;
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(img, 0, 0);
      scene.pixels.set(key, context);
    }
    return scene.pixels.get(key);
  }

  function say(px, py) {
    const scene = scenes[state.scene];
    const u = (px - state.x) / state.zoom / stage.clientWidth;
    const v = (py - state.y) / state.zoom / stage.clientHeight;
    if (u < 0 || u >= 1 || v < 0 || v >= 1) return;
    readout.textContent = "";
    for (const [key, img] of scene.layers) {
      const context = img.dataset.kind === "photo" ? null : pixelsOf(scene, key);
      if (!context) continue;
      const { width, height } = context.canvas;
      const at = [Math.floor(u * width), Math.floor(v * height)];
      const color = context.getImageData(...at, 1, 1).data.slice(0, 3).join();
      const value = document.createElement("b");
      value.textContent = names[img.dataset.kind][color] ?? "?";
      readout.append(readout.childNodes.length ? " · " : "", `${img.dataset.title}: `, value);
    }
  }

  // --- mouse, touch, pen -----------------------------------------------------------------------

  const pointers = new Map();
  let onDivider = false;
  const at = (event) => {
    const box = stage.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };

  stage.addEventListener("pointerdown", (event) => {
    if (event.button > 0) return;
    stage.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, at(event));
    // unzoomed there is nothing to pan: the whole picture is the divider's handle
    onDivider = pointers.size === 1 && (state.zoom === 1 || divider.contains(event.target));
    stage.classList.toggle("moving", !onDivider);
    if (onDivider) {
      setSplit((100 * at(event).x) / stage.clientWidth);
      divider.focus({ preventScroll: true });
      event.preventDefault();
    }
    say(at(event).x, at(event).y);
  });

  stage.addEventListener("pointermove", (event) => {
    const now = at(event);
    const before = pointers.get(event.pointerId);
    say(now.x, now.y);
    if (!before) return;
    if (pointers.size === 2) {
      const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
      const span = (point) => Math.hypot(point.x - other.x, point.y - other.y) || 1;
      zoom(span(now) / span(before), (now.x + other.x) / 2, (now.y + other.y) / 2);
    } else if (onDivider) {
      setSplit((100 * now.x) / stage.clientWidth);
    } else {
      pan(state.x + now.x - before.x, state.y + now.y - before.y);
    }
    pointers.set(event.pointerId, now);
  });

  for (const kind of ["pointerup", "pointercancel"]) {
    stage.addEventListener(kind, (event) => {
      pointers.delete(event.pointerId);
      if (!pointers.size) stage.classList.remove("moving");
      onDivider = false;
    });
  }

  stage.addEventListener("dblclick", (event) => {
    if (state.zoom > 1) reset();
    else zoom(3, at(event).x, at(event).y);
  });

  // a plain wheel scrolls the page; with Ctrl, which a touch pad's pinch also sends, it zooms
  stage.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 200), at(event).x, at(event).y);
  }, { passive: false });

  // --- keyboard --------------------------------------------------------------------------------

  divider.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 10 : 1;
    const moves = {
      ArrowLeft: state.split - step, ArrowDown: state.split - step,
      ArrowRight: state.split + step, ArrowUp: state.split + step,
      PageDown: state.split - 10, PageUp: state.split + 10, Home: 0, End: 100,
    };
    if (!(event.key in moves)) return;
    event.preventDefault();
    event.stopPropagation();
    setSplit(moves[event.key]);
  });

  stage.addEventListener("keydown", (event) => {
    const step = stage.clientWidth / 10;
    const moves = {
      "+": () => zoomMiddle(1.5), "=": () => zoomMiddle(1.5), "-": () => zoomMiddle(1 / 1.5),
      0: reset,
      ArrowLeft: () => pan(state.x + step, state.y), ArrowRight: () => pan(state.x - step, state.y),
      ArrowUp: () => pan(state.x, state.y + step), ArrowDown: () => pan(state.x, state.y - step),
    };
    if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in moves)) return;
    if (event.key.startsWith("Arrow") && state.zoom === 1) return;
    event.preventDefault();
    moves[event.key]();
  });

  // --- controls --------------------------------------------------------------------------------

  const film = scenes.map((scene, index) => {
    const button = document.createElement("button");
    const img = document.createElement("img");
    img.src = scene.layers.get("image").src;
    img.alt = `Image ${index + 1}, ${scene.name}`;
    button.type = "button";
    button.append(img);
    button.addEventListener("click", () => showScene(index));
    byId("film").append(button);
    return button;
  });
  byId("previous").addEventListener("click", () => showScene(state.scene - 1));
  byId("next").addEventListener("click", () => showScene(state.scene + 1));
  byId("zoom-in").addEventListener("click", () => zoomMiddle(1.5));
  byId("zoom-out").addEventListener("click", () => zoomMiddle(1 / 1.5));
  byId("zoom-reset").addEventListener("click", reset);
  byId("swap").addEventListener("click", () => {
    [selects.left.value, selects.right.value] = [selects.right.value, selects.left.value];
    showLayers();
  });
  for (const control of [selects.left, selects.right]) control.addEventListener("change", showLayers);
  strength.addEventListener("input", showLayers);
  // a pan is in pixels of the stage, and the stage follows the window
  window.addEventListener("resize", () => pan(state.x, state.y));

  byId("sheet").open = false;
  root.hidden = false;
  showScene(0);
})();
