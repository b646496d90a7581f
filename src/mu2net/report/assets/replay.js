/** Return where the components lie that only children of the replayed search have: beside the network, row by row. */
function ghostPlaces(left, y) {
  const next = new Map();
  return report.replay.components.map((component) => {
    const column = next.get(component.slot) ?? 0;
    next.set(component.slot, column + 1);
    return { x: left + 0.7 * COLUMN * column, y: y(component.slot) };
  });
}

function componentOf(index) { return report.components[index] ?? report.replay.components[index - report.components.length]; }

/** Return the children up to the generation that is shown, with the best of the population so far. */
function rivalsSoFar() {
  const rivals = report.replay.children.map((child, number) => ({ ...child, number })).filter((child) => child.generation < view.generation);
  const kept = rivals.filter((child) => child.is_kept);
  return { rivals, best: kept.length ? kept.reduce((best, child) => child.quality > best.quality ? child : best) : null };
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
      marks.append(make("path", { d: outline(report.replay.task, place.x, place.y, 0.6 * RADIUS), fill: stroke, class: "version", role: "button", tabindex: -1, "aria-label": `${component.slot}, trained by child ${child.id}`, ...act }, make("title", {}, `${component.slot}, trained by child ${child.id}`)));
    }
  }
}

function describeRival(number) {
  const rival = report.replay.children[number];
  const child = report.searches.find((one) => one.task === report.replay.task)?.children.find((one) => one.id === rival.id);
  const trained = rival.components.filter((index) => index >= report.components.length).map((index) => componentOf(index).slot);
  const drawn = child?.mutations.map((one) => one.before === null ? one.name : `${one.name} ${one.before} → ${one.after}`) ?? [];
  return [make("h3", {}, rival.id), definitions([
    ["generation", rival.generation + 1], ["validation accuracy", percent(rival.quality)], ["joined the population", rival.is_kept ? "yes" : "no"], ["parent", child?.parent ?? "–"],
    ["components of no published path", list(trained)], ["drawn", drawn.join("; ") || "nothing"],
  ])];
}

function setGeneration(generation) {
  view.generation = generation;
  const { rivals, best } = rivalsSoFar(), all = Number(document.getElementById("slider").max);
  const found = best === null ? "none kept yet" : `the best has ${percent(best.quality, 1)}`;
  document.getElementById("step").textContent = generation === 0 ? `before the search for ${report.replay.task}` : `generation ${generation} of ${all}: ${plural(rivals.length, "child")}, ${found}`;
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
    view.pinned = null;
    if (isSearch) view.step = report.replay.step;
    slider.max = isSearch ? Math.max(...report.replay.children.map((child) => child.generation)) + 1 : report.growth.length;
    setStep(Number(slider.max));
    describe(null);
  });
}
