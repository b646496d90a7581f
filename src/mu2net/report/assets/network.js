const COLUMN = 26, WIDE_COLUMN = 64, RADIUS = 8, MANY = 40;
const view = { x: 0, y: 0, scale: 1, step: report.growth.length, generation: null, pinned: null, found: null, isGrouped: report.tasks.length > MANY };

/** Return the live path of every task after some publications, in the order in which tasks became live. */
function liveAfter(step) {
  const live = new Map();
  for (const one of report.growth.slice(0, step)) live.set(one.task, one);
  if (step === report.growth.length) {
    for (const name of [...live.keys()]) if (!byName.get(name)?.path) live.delete(name);
    for (const task of report.tasks) if (task.path) live.set(task.name, { task: task.name, components: task.components, test: task.test?.value ?? null, validation: task.validation?.value ?? 0 });
  }
  return live;
}

/** Return how often every component is used by the tasks that are live at the end, or were when they were live last. */
const uses = (() => {
  const last = new Map(), found = new Map();
  for (const one of report.growth) last.set(one.task, one.components);
  for (const task of report.tasks) if (task.path) last.set(task.name, task.components);
  for (const indices of last.values()) for (const index of indices) found.set(index, (found.get(index) ?? 0) + 1);
  return found;
})();
let layout = null;

/**
 * Return where every component lies; versions keep their places through the whole replay. Grouped, what no two tasks
 * share, and the root does not have, lies in one place of its row.
 */
function arrange() {
  const rows = new Map(report.slots.map((slot, number) => [slot, number])), next = new Map(), root = new Set(report.root);
  const own = report.components.map((component, index) => view.isGrouped && !root.has(index) && (uses.get(index) ?? 0) < 2);
  const columns = report.components.map((component, index) => {
    if (own[index]) return null;
    const column = next.get(component.slot) ?? 0;
    next.set(component.slot, column + 1);
    return column;
  });
  const most = Math.max(...next.values(), 1), isWide = most > 30;
  const width = isWide ? COLUMN : Math.min(WIDE_COLUMN, 780 / most);
  const size = isWide ? most * COLUMN / 780 : 1, left = 120 * size, top = 40 * size;
  const row = Math.max(46, isWide ? most * COLUMN / 2.2 / report.slots.length : 46);
  const ownX = left + width * most + COLUMN;
  const places = report.components.map((component, index) => ({ x: own[index] ? ownX : left + width * columns[index], y: top + row * rows.get(component.slot) }));
  const counts = new Map();
  report.components.forEach((component, index) => { if (own[index]) counts.set(component.slot, (counts.get(component.slot) ?? 0) + 1); });
  const ghostX = ownX + 60 * size, ghosts = view.generation === null ? [] : ghostPlaces(ghostX, (slot) => top + row * rows.get(slot));
  const whole = Math.max(ownX + 60 * size, 600, ...ghosts.map((place) => place.x + COLUMN));
  return { places: [...places, ...ghosts], own, counts, ownX, row, left, top, size, width: whole, bottom: top + row * report.slots.length };
}

function drawNetwork() {
  const live = liveAfter(view.step), users = new Map();
  for (const one of live.values()) for (const index of one.components) users.set(index, [...(users.get(index) ?? []), one.task]);
  layout = arrange();
  const { places, row: ROW, left, top: TOP, size, bottom } = layout;
  const shown = new Set([...report.root, ...users.keys()]);
  const lines = make("g"), marks = make("g"), labels = make("g");
  const text = (attributes, value) => { const made = make("text", attributes, value); made.style.fontSize = `${12 * size}px`; return made; };
  report.slots.forEach((slot, row) => labels.append(text({ x: left - 24, y: TOP + ROW * row + 4, "text-anchor": "end", class: "soft" }, slot)));
  if (view.isGrouped) {
    labels.append(text({ x: layout.ownX, y: TOP - 20 * size, "text-anchor": "middle", class: "soft" }, "own"));
    report.slots.forEach((slot, row) => { if (layout.counts.has(slot)) labels.append(text({ x: layout.ownX + 16 * size, y: TOP + ROW * row + 4, class: "soft" }, `${layout.counts.get(slot)}`)); });
  }
  const ends = [];
  for (const one of live.values()) {
    const points = one.components.map((index) => places[index]), last = points.at(-1);
    const shift = lanes(live, one.task);
    const isPrivate = byName.get(one.task)?.is_private;
    lines.append(make("path", { d: trail(points, shift), class: `path${isPrivate ? " private" : ""}`, stroke: colour(one.task), "data-task": one.task, onclick: () => pin({ task: one.task }), onmouseenter: () => hint({ task: one.task }), onmouseleave: () => hint(null) }));
    ends.push({ task: one.task, x: last.x, text: `${one.task} ${percent(one.test ?? one.validation, 1)}` });
  }
  ends.sort((a, b) => a.x - b.x);
  const isCrowded = view.isGrouped || ends.length > MANY;
  for (const one of ends) {
    const y = bottom - ROW + 24 * size;
    const label = text({ x: one.x, y, transform: isCrowded ? null : `rotate(40 ${one.x} ${y})`, "text-anchor": isCrowded ? "middle" : null, "data-task": one.task, class: isCrowded ? "crowded" : null, onclick: () => pin({ task: one.task }) }, one.text);
    label.style.cursor = "pointer";
    labels.append(label);
  }
  report.components.forEach((component, index) => {
    if (!shown.has(index)) return;
    const place = places[index];
    const name = `${component.slot}, trained by ${component.trained_by}, used by ${list(users.get(index) ?? [])}`;
    marks.append(make("circle", {
      cx: place.x, cy: place.y, r: RADIUS, fill: layout.own[index] && layout.counts.get(component.slot) > 1 ? "#8a8a94" : colour(component.trained_by), class: `version${component.is_private ? " private" : ""}`, role: "button",
      tabindex: marks.childNodes.length ? -1 : 0, "aria-label": name, "data-component": index,
      onclick: () => pin({ component: index }), onmouseenter: () => hint({ component: index }), onmouseleave: () => hint(null), onfocus: () => hint({ component: index }),
    }, make("title", {}, name)));
  });
  if (view.generation !== null) drawRivals(lines, marks, shown);
  const picture = make("svg", { role: "img", "aria-label": "the network", viewBox: `0 0 ${layout.width} ${bottom + 110 * size}`, preserveAspectRatio: "xMidYMin meet" });
  const moved = make("g", { transform: `translate(${view.x} ${view.y}) scale(${view.scale})` }, lines, marks, labels);
  picture.append(moved);
  document.getElementById("network").replaceChildren(picture);
  view.users = users;
  view.live = live;
  emphasise(view.pinned);
}

/** Return a line through some points, from row to row. */
function trail(points, shift) {
  return points.map((point, number) => number === 0 ? `M${point.x + shift},${point.y}` : `C${points[number - 1].x + shift},${points[number - 1].y + layout.row / 2} ${point.x + shift},${point.y - layout.row / 2} ${point.x + shift},${point.y}`).join(" ");
}

/** Return a small sideways shift, so that paths through the same components lie beside each other. */
function lanes(live, task) {
  const names = [...live.keys()], number = names.indexOf(task);
  return Math.min(2.5, 14 / names.length) * (number - (names.length - 1) / 2);
}

function related(target) {
  if (target === null) return null;
  const rivals = new Set();
  if (target.rival !== undefined) return { tasks: new Set(), components: new Set(report.replay.children[target.rival].components), rivals: rivals.add(target.rival) };
  if (target.task !== undefined) return { tasks: new Set([target.task]), components: new Set(view.live.get(target.task)?.components ?? []), rivals };
  return { tasks: new Set(view.users.get(target.component) ?? []), components: new Set([target.component]), rivals };
}

function emphasise(target) {
  const kept = related(target);
  for (const element of document.querySelectorAll("#network [data-task]")) {
    element.classList.toggle("dim", kept !== null && !kept.tasks.has(element.dataset.task));
    element.classList.toggle("alone", kept !== null && kept.tasks.size === 1 && kept.tasks.has(element.dataset.task));
  }
  for (const element of document.querySelectorAll("#network [data-component]")) {
    const index = Number(element.dataset.component);
    element.classList.toggle("dim", kept !== null && !kept.components.has(index));
    element.classList.toggle("found", view.found !== null && view.found(report.components[index]));
  }
  for (const element of document.querySelectorAll("#network [data-rival]")) {
    element.classList.toggle("dim", kept !== null && !kept.rivals.has(Number(element.dataset.rival)));
  }
}

function hint(target) {
  const wanted = target ?? view.pinned;
  emphasise(wanted);
  describe(wanted);
}

function pin(target) {
  view.pinned = target;
  hint(null);
}

function describe(target) {
  const details = document.getElementById("details");
  if (target === null) { details.replaceChildren(make("p", { class: "help" }, "Point at a mark or a line; click to keep it here.")); return; }
  if (target.rival !== undefined) details.replaceChildren(...describeRival(target.rival));
  else details.replaceChildren(...(target.task === undefined ? describeComponent(target.component) : describeTask(target.task)));
}

function describeComponent(index) {
  const component = report.components[index], source = component.source === null ? null : report.components[component.source];
  return [make("h3", {}, component.slot), definitions([
    ["trained by", component.trained_by], ["used by", list(view.users.get(index) ?? [])], ["parameters", amount(component.num_params)],
    ["cloned from", source === null ? (component.trained_by === "root" ? "–" : "nothing: new") : `${source.slot} of ${source.trained_by} (${source.digest.slice(0, 8)})`], ["kind", component.kind], ["digest", component.digest],
  ])];
}

function describeTask(name) {
  const task = byName.get(name);
  if (!task) return [make("h3", {}, name)];
  const reuse = Object.entries(task.reuse).map(([owner, share]) => `${owner} ${percent(share, 0)}`);
  const hparams = Object.entries(task.hparams).map(([key, value]) => `${key} = ${value}`).join("; ");
  return [make("h3", {}, name + (task.is_private ? " (private)" : "")), definitions([
    ["test accuracy", task.test ? `${percent(task.test.value)} (${percent(task.test.low, 1)} to ${percent(task.test.high, 1)})` : "–"],
    ["validation accuracy", task.validation ? percent(task.validation.value) : "–"], ["path", task.path ?? "never evolved"], ["agent", task.agent ?? "–"],
    ["parameters added", amount(task.added_params)], ["parameters from", list(reuse)], ["shaped by data of", list(task.influence)], ["hyperparameters", hparams || "–"],
  ])];
}

function setStep(step) {
  document.getElementById("slider").value = step;
  if (view.generation !== null) { setGeneration(step); return; }
  view.step = step;
  const one = report.growth[step - 1];
  document.getElementById("step").textContent = one === undefined ? "the root alone" : `${step} of ${report.growth.length}: ${one.task}, ${percent(one.test ?? one.validation, 1)}, ${amount(one.total_params)} parameters in all`;
  drawNetwork();
}

function zoom(factor, x, y) {
  const scale = Math.min(20, Math.max(0.2, view.scale * factor));
  view.x = x - (x - view.x) * scale / view.scale;
  view.y = y - (y - view.y) * scale / view.scale;
  view.scale = scale;
  move();
}

function move() {
  document.querySelector("#network svg > g").setAttribute("transform", `translate(${view.x} ${view.y}) scale(${view.scale})`);
}

/** Return a point of the window in the picture's own units. */
function inPicture(event) {
  const picture = document.querySelector("#network svg");
  return new DOMPoint(event.clientX, event.clientY).matrixTransform(picture.getScreenCTM().inverse());
}

function walk(key, from) {
  const here = report.components[from], marks = [...document.querySelectorAll("#network [data-component]")].map((mark) => Number(mark.dataset.component));
  const row = report.slots.indexOf(here.slot);
  if (key === "ArrowLeft" || key === "ArrowRight") {
    const same = marks.filter((index) => report.components[index].slot === here.slot);
    return same[same.indexOf(from) + (key === "ArrowRight" ? 1 : -1)];
  }
  for (let other = row + (key === "ArrowDown" ? 1 : -1); other >= 0 && other < report.slots.length; other += key === "ArrowDown" ? 1 : -1) {
    const there = marks.filter((index) => report.components[index].slot === report.slots[other]);
    if (there.length) return there.reduce((best, index) => Math.abs(layout.places[index].x - layout.places[from].x) < Math.abs(layout.places[best].x - layout.places[from].x) ? index : best);
  }
  return undefined;
}

function startNetwork() {
  const stage = document.getElementById("network"), slider = document.getElementById("slider"), play = document.getElementById("play");
  slider.max = report.growth.length;
  slider.addEventListener("input", () => setStep(Number(slider.value)));
  stage.addEventListener("wheel", (event) => { event.preventDefault(); const at = inPicture(event); zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15, at.x, at.y); }, { passive: false });
  let held = null;
  stage.addEventListener("pointerdown", (event) => { held = inPicture(event); });
  window.addEventListener("pointerup", () => { held = null; });
  stage.addEventListener("pointermove", (event) => {
    if (held === null) return;
    const at = inPicture(event);
    view.x += at.x - held.x; view.y += at.y - held.y; held = at;
    move();
  });
  document.addEventListener("keydown", (event) => {
    if (event.target.matches("input, select")) return;
    if (event.key === "Escape") pin(null);
    if (event.key === "+" || event.key === "-") zoom(event.key === "+" ? 1.25 : 0.8, layout.width / 2, layout.bottom / 2);
    const mark = event.target.dataset?.component;
    if (mark === undefined) return;
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); pin({ component: Number(mark) }); }
    if (event.key.startsWith("Arrow")) {
      event.preventDefault();
      const next = walk(event.key, Number(mark));
      if (next !== undefined) document.querySelector(`#network [data-component="${next}"]`).focus();
    }
  });
  let timer = null;
  const stop = () => { clearInterval(timer); timer = null; play.textContent = "▶"; };
  play.addEventListener("click", () => {
    if (timer !== null) { stop(); return; }
    play.textContent = "⏸";
    if (Number(slider.value) >= Number(slider.max)) setStep(0);
    timer = setInterval(() => {
      if (Number(slider.value) >= Number(slider.max)) stop();
      else setStep(Number(slider.value) + 1);
    }, 700);
  });
  startReplay(stop);
  const grouped = document.getElementById("grouped");
  grouped.checked = view.isGrouped;
  grouped.addEventListener("change", () => { view.isGrouped = grouped.checked; drawNetwork(); });
  document.getElementById("search").addEventListener("input", (event) => search(event.target.value.trim().toLowerCase()));
  setStep(report.growth.length);
  describe(null);
}

function search(text) {
  const task = text === "" ? undefined : report.tasks.find((one) => one.name.toLowerCase() === text) ?? report.tasks.find((one) => one.name.toLowerCase().includes(text));
  view.found = text === "" ? null : (component) => component.digest.startsWith(text) || component.slot.includes(text);
  pin(task === undefined ? null : { task: task.name });
  sorting.text = task === undefined && view.found !== null && report.components.some(view.found) ? "" : text;
  drawLeaderboard();
}
