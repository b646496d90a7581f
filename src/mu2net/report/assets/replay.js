/** Return where the components lie that only children of the replayed search have: beside the network, row by row. */
function ghostPlaces(left, y, room) {
  const next = new Map(), counts = new Map();
  for (const component of report.replay.components) counts.set(component.slot, (counts.get(component.slot) ?? 0) + 1);
  const pitch = Math.min(0.7 * COLUMN, room / Math.max(...counts.values(), 1));
  return report.replay.components.map((component) => {
    const column = next.get(component.slot) ?? 0;
    next.set(component.slot, column + 1);
    return { x: left + pitch * column, y: y(component.slot) };
  });
}

function componentOf(index) { return report.components[index] ?? report.replay.components[index - report.components.length]; }

/** Return the children up to the generation that is shown, with the best of the population so far. */
function rivalsSoFar() {
  const rivals = report.replay.children.map((child, number) => ({ ...child, number })).filter((child) => child.generation < view.generation);
  // The score decides, and of equal ones the newest; what was live before counts too.
  const before = report.replay.before ?? -Infinity;
  const best = rivals.filter((child) => child.is_kept && child.score >= before).reduce((found, child) => found === null || child.score >= found.score ? child : found, null);
  return { rivals, best };
}

/** Draw the children of the replayed search over the network that it began with. */
function drawRivals(lines, marks, shown) {
  const { rivals, best } = rivalsSoFar(), stroke = colour(report.replay.task), drawn = new Set();
  for (const child of rivals) {
    const state = child.number === best?.number ? "best" : child.is_kept ? "kept" : "lost";
    const act = { onclick: () => pin({ rival: child.number }), onmouseenter: () => hint({ rival: child.number }), onmouseleave: () => hint(null), "data-rival": child.number };
    lines.append(make("path", { d: trail(child.components.map((index) => layout.places[index]), 0), class: `path rival ${state}`, stroke, ...act }));
    for (const index of child.components) {
      if (shown.has(index) || drawn.has(index)) continue;
      drawn.add(index);
      const place = layout.places[index], component = componentOf(index);
      marks.append(make("path", { d: outline(report.replay.task, place.x, place.y, 0.6 * RADIUS), fill: stroke, class: "version", role: "button", tabindex: -1, "aria-label": `${component.slot}, trained by child ${child.id}`, "data-component": index, onfocus: () => hint({ rival: child.number }), ...act }, make("title", {}, `${component.slot}, trained by child ${child.id}`)));
    }
  }
}

function describeRival(number) {
  const rival = report.replay.children[number];
  const child = report.searches.find((one) => one.task === report.replay.task)?.children.find((one) => one.id === rival.id);
  const trained = rival.components.filter((index) => index >= report.components.length).map((index) => componentOf(index).slot);
  return [make("h3", {}, rival.id), definitions([
    ["generation", rival.generation], ["validation accuracy", percent(rival.quality)], ["joined the population", rival.is_kept ? "yes" : "no"], ["parent", child?.parent ?? "–"],
    ["components of no published path", list(trained)], ["drawn", child === undefined ? "not in this page" : drawnBy(child)],
  ])];
}

function setGeneration(generation) {
  view.generation = generation;
  const { rivals, best } = rivalsSoFar(), all = Number(document.getElementById("slider").max);
  const found = best === null ? (report.replay.before === null ? "none kept yet" : "the path of before is still the best") : `the best has ${percent(best.quality, 1)}`;
  document.getElementById("step").textContent = generation === 0 ? `before the search for ${report.replay.task}` : `generation ${generation - 1} (the last is ${all - 1}): ${plural(rivals.length, "child")}, ${found}`;
  drawNetwork();
}

/** Let people choose what the slider replays: the system, or the search that published last. */
function startReplay(stop) {
  const chosen = document.getElementById("replayed"), slider = document.getElementById("slider");
  chosen.append(make("option", { value: "system" }, "growth of the system"));
  if (report.replay !== null) chosen.append(make("option", { value: "search" }, `search for ${report.replay.task}`));
  chosen.addEventListener("change", () => {
    stop();
    const isSearch = chosen.value === "search";
    view.generation = isSearch ? 0 : null;
    document.getElementById("search").value = "";
    search("");
    if (isSearch) view.step = report.replay.step;
    slider.max = isSearch ? Math.max(...report.replay.children.map((child) => child.generation)) + 1 : report.growth.length;
    setStep(Number(slider.max));
    describe(null);
  });
}
