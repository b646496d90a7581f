const COLUMN = 26, WIDE_COLUMN = 90, ROW = 46, LOW_ROW = 28, RADIUS = 8, MANY = 40, LONGEST = 26, BELOW = 130, BESIDE = 110;
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
 * share, and the root does not have, lies in one place of its row. A unit is a pixel of the screen, unless there are so
 * many versions that all is drawn smaller to fit.
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
  const room = document.getElementById("network").clientWidth || 1000, most = Math.max(...next.values(), 1);
  const gutter = 7 * Math.max(...report.slots.map((slot) => slot.length), 4) + 30, beside = (view.isGrouped ? 60 : 0) + BESIDE;
  const free = (room - gutter - beside) / most;
  const size = Math.max(1, (gutter + beside + COLUMN * most) / room), width = size > 1 ? COLUMN * Math.min(size, 1.6) : Math.min(WIDE_COLUMN, free);
  const left = gutter * size, top = 40 * size;
  const row = Math.max(LOW_ROW, Math.min(ROW, 640 / report.slots.length)) * Math.min(size, 1.6);
  const y = (slot) => top + row * rows.get(slot), ownX = left + width * (most - 1) + 1.5 * COLUMN * size;
  const places = report.components.map((component, index) => ({ x: own[index] ? ownX : left + width * columns[index], y: y(component.slot) }));
  const groups = new Map();
  report.components.forEach((component, index) => { if (own[index]) groups.set(component.slot, [...(groups.get(component.slot) ?? []), index]); });
  const end = (view.isGrouped ? ownX : left + width * (most - 1)) + 30 * size;
  const ghosts = view.generation === null ? [] : ghostPlaces(end + 10, y, Math.max(room * size - end - 2 * COLUMN, 0.3 * room));
  const whole = Math.max(end + (BESIDE - 30) * size, room, ...ghosts.map((place) => place.x + COLUMN));
  return { places: [...places, ...ghosts], groups, ownX, row, left, top, size: Math.max(size, whole / room), width: whole, bottom: top + row * report.slots.length, height: top + row * report.slots.length + (view.isGrouped ? 0.3 : 1) * BELOW * size };
}

function drawNetwork() {
  const live = liveAfter(view.step), users = new Map();
  for (const one of live.values()) for (const index of one.components) users.set(index, [...(users.get(index) ?? []), one.task]);
  layout = arrange();
  const { left, top, size, row } = layout, shown = new Set([...report.root, ...users.keys()]);
  const lines = make("g"), marks = make("g"), labels = make("g");
  view.users = users;
  view.live = live;
  report.slots.forEach((slot, number) => labels.append(write(slot, { x: left - 18 * size, y: top + row * number + 4 * size, "text-anchor": "end", class: "soft" })));
  for (const one of live.values()) drawPath(one, lines);
  drawEnds(live, labels);
  drawMarks(shown, marks, labels);
  if (view.generation !== null) drawRivals(lines, marks, shown);
  const picture = make("svg", { role: "group", "aria-label": "the network: arrow keys walk from mark to mark", viewBox: `0 0 ${layout.width} ${layout.height}`, preserveAspectRatio: "xMidYMin meet" });
  picture.append(make("g", {}, lines, marks, labels));
  document.getElementById("network").replaceChildren(picture);
  move();
  drawLegend();
  hint(null);
}

/** Return text of the same size on the screen, however small the rest is drawn. */
function write(text, attributes) {
  const made = make("text", attributes, text);
  made.style.fontSize = `${12 * layout.size}px`;
  return made;
}

function drawPath(one, lines) {
  const points = one.components.map((index) => layout.places[index]), isPrivate = byName.get(one.task)?.is_private;
  lines.append(make("path", { d: trail(points, lanes(view.live, one.task)), class: `path${isPrivate ? " private" : ""}`, stroke: colour(one.task), "data-task": one.task, ...acting({ task: one.task }) }, make("title", {}, one.task)));
}

/** Return what a mark or a line does when it is pointed at or clicked. */
function acting(target) {
  return { onclick: () => pin(target), onmouseenter: () => hint(target), onmouseleave: () => hint(null) };
}

/** Write the tasks below their heads; where there are too many, only the one that is pointed at. */
function drawEnds(live, labels) {
  const { size } = layout, y = layout.bottom - layout.row + 24 * size, isCrowded = view.isGrouped || live.size > MANY;
  const ends = [...live.values()].map((one) => ({ ...one, x: layout.places[one.components.at(-1)].x })).sort((a, b) => a.x - b.x);
  for (const one of ends) {
    const label = write(`${shorten(one.task, LONGEST)} ${percent(one.test ?? one.validation, 1)}`, { x: one.x, y, transform: isCrowded ? null : `rotate(40 ${one.x} ${y})`, "text-anchor": isCrowded ? "middle" : null, "data-task": one.task, class: isCrowded ? "crowded" : null, onclick: () => pin({ task: one.task }) });
    label.style.cursor = "pointer";
    labels.append(label);
  }
}

function drawMarks(shown, marks, labels) {
  const { places, groups, size, ownX } = layout;
  const add = (index, owner, indices, name) => marks.append(make("path", {
    d: outline(owner, places[index].x, places[index].y, RADIUS), fill: owner === null ? "var(--paper)" : colour(owner), class: `version${owner === null ? " group" : report.components[index].is_private ? " private" : ""}`, role: "button",
    tabindex: marks.childNodes.length ? -1 : 0, "aria-label": name, "data-component": index, "data-group": indices.length > 1 ? indices.join(" ") : null, ...acting({ component: index, group: indices }), onfocus: () => hint({ component: index, group: indices }),
  }, make("title", {}, name)));
  const inGroups = new Set([...groups.values()].flat());
  report.components.forEach((component, index) => {
    if (shown.has(index) && !inGroups.has(index)) add(index, component.trained_by, [index], `${component.slot}, trained by ${component.trained_by}, used by ${list(view.users.get(index) ?? [])}`);
  });
  if (!groups.size) return;
  labels.append(write("used by one task", { x: ownX, y: layout.top - 20 * size, "text-anchor": "middle", class: "soft" }));
  for (const [slot, all] of groups) {
    const here = all.filter((index) => shown.has(index));
    if (!here.length) continue;
    const owner = here.length === 1 ? report.components[here[0]].trained_by : null;
    add(here[0], owner, here, `${slot}: ${plural(here.length, "version")} that one task alone uses`);
    labels.append(write(String(here.length), { x: ownX + 14 * size, y: places[here[0]].y + 4 * size, class: "soft" }));
  }
}

/** List the tasks that are live at the moment: names for all, whatever the picture has room for. */
function drawLegend() {
  const legend = document.getElementById("legend");
  legend.replaceChildren(...[...view.live.values()].filter((one) => one.task.toLowerCase().includes(sorting.text)).map((one) => make("li", {}, make("button", {
    type: "button", "data-task": one.task, ...acting({ task: one.task }), onfocus: () => hint({ task: one.task }), onblur: () => hint(null),
  }, swatch(one.task), ` ${one.task} `, make("span", { class: "soft" }, percent(one.test ?? one.validation, 1))))));
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
  if (target.task === report.replay?.task && view.generation !== null) {
    const all = rivalsSoFar().rivals;
    return { tasks: new Set([target.task]), components: new Set(all.flatMap((child) => child.components)), rivals: new Set(all.map((child) => child.number)) };
  }
  if (target.task !== undefined) return { tasks: new Set([target.task]), components: new Set(view.live.get(target.task)?.components ?? []), rivals };
  return { tasks: new Set(target.group.flatMap((index) => view.users.get(index) ?? [])), components: new Set(target.group), rivals };
}

/** Return the components that a mark stands for. */
function standsFor(mark) { return (mark.dataset.group ?? mark.dataset.component).split(" ").map(Number); }

function emphasise(target) {
  const kept = related(target);
  for (const element of document.querySelectorAll("#network [data-task], #legend [data-task]")) {
    element.classList.toggle("dim", kept !== null && !kept.tasks.has(element.dataset.task));
    element.classList.toggle("alone", kept !== null && kept.tasks.size === 1 && kept.tasks.has(element.dataset.task));
  }
  for (const element of document.querySelectorAll("#network [data-component]")) {
    const indices = standsFor(element);
    element.classList.toggle("dim", kept !== null && !indices.some((index) => kept.components.has(index)));
    element.classList.toggle("found", view.found !== null && indices.some((index) => view.found(componentOf(index))));
  }
  for (const element of document.querySelectorAll("#network .rival[data-rival]")) {
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
  if (target === null) { details.replaceChildren(make("p", { class: "help" }, "Point at a mark, a line or a name; click to keep it here.")); return; }
  const said = target.rival !== undefined ? describeRival(target.rival) : target.task !== undefined ? describeTask(target.task) : target.group.length > 1 ? describeGroup(target.group) : describeComponent(target.component);
  if (view.pinned !== null) said.unshift(make("button", { type: "button", id: "unpin", onclick: () => { pin(null); details.focus(); } }, "let go"));
  details.replaceChildren(...said);
}

function describeGroup(indices) {
  const slot = report.components[indices[0]].slot, here = indices.filter((index) => view.users.has(index));
  return [make("h3", {}, `${slot}: ${plural(here.length, "version")}, each used by one task`), definitions(here.map((index) => [list(view.users.get(index) ?? []), `trained by ${report.components[index].trained_by}, ${plural(report.components[index].num_params, "parameter")}, ${report.components[index].digest.slice(0, 8)}`]))];
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
    ["parameters added", task.path ? amount(task.added_params) : "–"], ["parameters from", list(reuse)], ["shaped by data of", list(task.influence)], ["hyperparameters", hparams || "–"],
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

function fit() {
  [view.x, view.y, view.scale] = [0, 0, 1];
  move();
}

function move() {
  const picture = document.querySelector("#network svg");
  picture.firstChild.setAttribute("transform", `translate(${view.x} ${view.y}) scale(${view.scale})`);
  // A finger scrolls the page until the picture was enlarged.
  picture.style.touchAction = view.scale === 1 && !view.x && !view.y ? "auto" : "none";
}

/** Return a point of the window in the picture's own units. */
function inPicture(event) {
  const picture = document.querySelector("#network svg");
  return new DOMPoint(event.clientX, event.clientY).matrixTransform(picture.getScreenCTM().inverse());
}

function walk(key, from) {
  const here = componentOf(from), marks = [...document.querySelectorAll("#network [data-component]")].map((mark) => Number(mark.dataset.component));
  const row = report.slots.indexOf(here.slot);
  if (key === "ArrowLeft" || key === "ArrowRight") {
    const same = marks.filter((index) => componentOf(index).slot === here.slot);
    return same[same.indexOf(from) + (key === "ArrowRight" ? 1 : -1)];
  }
  for (let other = row + (key === "ArrowDown" ? 1 : -1); other >= 0 && other < report.slots.length; other += key === "ArrowDown" ? 1 : -1) {
    const there = marks.filter((index) => componentOf(index).slot === report.slots[other]);
    if (there.length) return there.reduce((best, index) => Math.abs(layout.places[index].x - layout.places[from].x) < Math.abs(layout.places[best].x - layout.places[from].x) ? index : best);
  }
  return undefined;
}

function startNetwork() {
  const slider = document.getElementById("slider");
  slider.max = report.growth.length;
  slider.addEventListener("input", () => setStep(Number(slider.value)));
  startMoving(document.getElementById("network"));
  document.addEventListener("keydown", press);
  startReplay(startPlaying(slider));
  const grouped = document.getElementById("grouped");
  grouped.checked = view.isGrouped;
  grouped.addEventListener("change", () => { view.isGrouped = grouped.checked; drawNetwork(); });
  document.getElementById("search").addEventListener("input", (event) => search(event.target.value.trim().toLowerCase()));
  let room = document.getElementById("network").clientWidth;
  new ResizeObserver(() => {
    const now = document.getElementById("network").clientWidth;
    if (Math.abs(now - room) > 1) { room = now; drawNetwork(); }
  }).observe(document.getElementById("network"));
  setStep(report.growth.length);
  describe(null);
}

/** Let people enlarge and move the picture; the wheel alone scrolls the page. */
function startMoving(stage) {
  const middle = (factor) => () => zoom(factor, layout.width / 2, layout.bottom / 2);
  for (const [id, act] of [["larger", middle(1.25)], ["smaller", middle(0.8)], ["fit", fit]]) document.getElementById(id).addEventListener("click", act);
  stage.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const at = inPicture(event);
    zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15, at.x, at.y);
  }, { passive: false });
  let held = null, moved = 0;
  stage.addEventListener("pointerdown", (event) => { if (event.pointerType !== "touch" || view.scale !== 1) held = inPicture(event); moved = 0; });
  stage.addEventListener("click", (event) => { if (moved > 4) event.stopPropagation(); }, true);
  for (const end of ["pointerup", "pointercancel"]) window.addEventListener(end, () => { held = null; });
  stage.addEventListener("pointermove", (event) => {
    if (held === null) return;
    const at = inPicture(event);
    moved += Math.abs(at.x - held.x) + Math.abs(at.y - held.y);
    view.x += at.x - held.x; view.y += at.y - held.y; held = at;
    move();
  });
}

function press(event) {
  if (event.target.matches("input, select") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") pin(null);
  if (event.key === "+" || event.key === "-") zoom(event.key === "+" ? 1.25 : 0.8, layout.width / 2, layout.bottom / 2);
  if (event.key === "0") fit();
  const mark = event.target.closest("#network [data-component]");
  if (mark === null) return;
  if (event.key === "Enter" || event.key === " ") { event.preventDefault(); pin(mark.dataset.rival === undefined ? { component: Number(mark.dataset.component), group: standsFor(mark) } : { rival: Number(mark.dataset.rival) }); }
  if (event.key.startsWith("Arrow")) {
    event.preventDefault();
    const next = walk(event.key, Number(mark.dataset.component));
    if (next !== undefined) document.querySelector(`#network [data-component="${next}"]`).focus();
  }
}

/** Let the slider run by itself; return what stops it. */
function startPlaying(slider) {
  const play = document.getElementById("play");
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
  return stop;
}

function search(text) {
  const task = text === "" ? undefined : report.tasks.find((one) => one.name.toLowerCase() === text) ?? report.tasks.find((one) => one.name.toLowerCase().includes(text));
  view.found = text === "" ? null : (component) => component.digest.startsWith(text) || component.slot.includes(text);
  pin(task === undefined ? null : { task: task.name });
  sorting.text = task === undefined && view.found !== null && report.components.some(view.found) ? "" : text;
  drawLeaderboard();
  drawLegend();
  emphasise(view.pinned);
}
