const SIZE = { width: 420, height: 280, left: 76, right: 16, top: 14, bottom: 52 };
const SMALL = { width: 230, height: 130, left: 66, right: 12, top: 10, bottom: 30 };

/** Return round numbers between two bounds, and the step from one to the next; they are round in a unit. */
function ticks(low, high, unit = 1) {
  const { values, step } = roundTicks(low / unit, high / unit);
  return { values: values.map((value) => value * unit), step: step * unit };
}

function roundTicks(low, high) {
  const isFlat = high - low <= 1e-9 * Math.max(Math.abs(low), Math.abs(high));
  if (isFlat) return { values: [low], step: undefined };
  const span = high - low, rough = span / 4, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough);
  const found = [];
  for (let number = Math.ceil(low / step); number * step <= high + step * 1e-9 && found.length < 20; number += 1) found.push(number * step);
  return { values: found, step };
}

/** Return the ends of an axis: what it must show with a little room, none below 0. */
function ends(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)], room = 0.05 * (high - low);
  return [low === 0 ? 0 : low - room, high + room];
}

/** Write whole numbers only: between them there is nothing. */
function whole(value) { return Number.isInteger(value) ? String(value) : ""; }

/** Return how shares are written on an axis that shows some of them: no two ticks alike. */
function shares(values) {
  const span = Math.max(...values) - Math.min(...values);
  return (value) => percent(value, span > 0.08 || span === 0 ? 0 : span > 0.008 ? 1 : 2);
}

/** Return a line through points. */
function chain(points) { return points.map(([x, y], number) => `${number ? "L" : "M"}${x},${y}`).join(" "); }

/** Return an axis that shows some shares. */
function shareAxis(title, values) { return { title, values, text: shares(values) }; }

/**
 * Return a plot; ``draw`` puts marks into it with the two scales. An axis has a title, the values that must fit, and
 * how they are written.
 */
function plot(caption, xAxis, yAxis, draw, size = SIZE) {
  const [xLow, xHigh] = ends(xAxis.values), [yLow, yHigh] = ends(yAxis.values), xTicks = ticks(xLow, xHigh, xAxis.unit), yTicks = ticks(yLow, yHigh, yAxis.unit);
  const x = (value) => size.left + (size.width - size.left - size.right) * (xHigh === xLow ? 0.5 : (value - xLow) / (xHigh - xLow));
  const y = (value) => size.height - size.bottom - (size.height - size.top - size.bottom) * (yHigh === yLow ? 0.5 : (value - yLow) / (yHigh - yLow));
  const picture = make("svg", { width: size.width, height: size.height, viewBox: `0 0 ${size.width} ${size.height}`, role: "group", "aria-label": caption });
  for (const value of xTicks.values) picture.append(make("text", { x: x(value), y: size.height - size.bottom + 18, "text-anchor": "middle", class: "soft" }, xAxis.text(value, xTicks.step)));
  for (const value of yTicks.values) {
    picture.append(make("line", { x1: size.left, x2: size.width - size.right, y1: y(value), y2: y(value), class: "axis" }));
    picture.append(make("text", { x: size.left - 6, y: y(value) + 4, "text-anchor": "end", class: "soft" }, yAxis.text(value, yTicks.step)));
  }
  const [middle, half] = [(size.left + size.width - size.right) / 2, (size.top + size.height - size.bottom) / 2];
  if (xAxis.title) picture.append(make("text", { x: middle, y: size.height - 6, "text-anchor": "middle", class: "title" }, xAxis.title));
  if (yAxis.title) picture.append(make("text", { x: 12, y: half, transform: `rotate(-90 12 ${half})`, "text-anchor": "middle", class: "title" }, yAxis.title));
  draw(picture, x, y);
  return make("figure", {}, picture, make("figcaption", {}, caption));
}

function curve(caption, xTitle, yAxis, points) {
  return plot(caption, { title: xTitle, values: points.map(([x]) => x), text: whole }, yAxis([0, ...points.map(([, y]) => y)]), (picture, x, y) => {
    picture.append(make("path", { d: chain(points.map(([a, b]) => [x(a), y(b)])), class: "path", stroke: BLUE }));
    for (const [a, b] of points) picture.append(make("circle", { cx: x(a), cy: y(b), r: 3, fill: BLUE }, make("title", {}, yAxis([b]).text(b))));
  });
}

function drawGrowth() {
  const steps = report.growth.map((one, number) => ({ ...one, number: number + 1 }));
  document.getElementById("growth-title").parentElement.hidden = !steps.length;
  if (!steps.length) return;
  let seconds = 0;
  const spent = new Map();
  const time = steps.map((one) => { seconds += one.seconds - (spent.get(one.task) ?? 0); spent.set(one.task, one.seconds); return [one.live_tasks, seconds]; });
  const tasks = "number of tasks", parameters = (values) => ({ title: "parameters", values, text: amount });
  document.getElementById("growth").replaceChildren(
    curve("parameters in all", tasks, parameters, [[0, report.system.root_params], ...steps.map((one) => [one.live_tasks, one.total_params])]),
    curve("disk: components of the root and all live paths", tasks, (values) => ({ title: "bytes", values, text: bytes }), steps.map((one) => [one.live_tasks, one.total_bytes])),
    curve("time spent", tasks, (values) => timeAxis("time", values), time),
    curve("parameters added, by publication", "publication", parameters, steps.map((one) => [one.number, one.added_params])),
    drawTasksFront("accuracy against accounted parameters, by task; dashed: the front that no task beats in both", "accounted parameters", (task) => task.accounted_params),
    drawTasksFront("accuracy against FLOPs, by task; dashed: the front that no task beats in both", "FLOPs of a prediction", (task) => task.flops),
  );
}

function drawTasksFront(caption, title, cost) {
  const tasks = report.tasks.filter((task) => task.path !== null), quality = (task) => task.test?.value ?? task.validation?.value ?? 0;
  return plot(caption, { title, values: tasks.map(cost), text: amount }, shareAxis("test accuracy", tasks.map(quality)), (picture, x, y) => {
    picture.append(make("path", { d: chain(paretoFront(tasks, cost, quality).map((task) => [x(cost(task)), y(quality(task))])), class: "front" }));
    for (const task of tasks) picture.append(make("path", { d: outline(task.name, x(cost(task)), y(quality(task)), 5), fill: colour(task.name), "data-front": task.name }, make("title", {}, `${task.name}: ${percent(quality(task))}, ${amount(cost(task))}`)));
    if (tasks.length <= 12) nameMarks(picture, tasks.map((task) => ({ name: task.name, x: x(cost(task)), y: y(quality(task)) })));
  });
}

/** Write names beside marks, towards the middle; one that would lie on another goes below it. */
function nameMarks(picture, marks) {
  let last = { true: -99, false: -99 };
  for (const mark of marks.sort((a, b) => a.y - b.y)) {
    const isRight = mark.x > SIZE.width / 2, y = Math.max(mark.y + 4, last[isRight] + 12);
    last = { ...last, [isRight]: y };
    picture.append(make("text", { x: mark.x + (isRight ? -9 : 9), y, "text-anchor": isRight ? "end" : null, class: "title" }, shorten(mark.name, 16)));
  }
}

/** Return what no other beats in both, the cheapest first. */
function paretoFront(all, cost, quality) {
  const front = [];
  for (const one of [...all].sort((a, b) => cost(a) - cost(b) || quality(b) - quality(a))) {
    if (!front.length || quality(one) > quality(front.at(-1))) front.push(one);
  }
  return front;
}

function startSearch() {
  const chosen = document.getElementById("searched"), measure = document.getElementById("measure"), draw = () => drawSearch(chosen.value, measure.value);
  for (const one of report.searches) chosen.append(make("option", { value: one.task }, one.task));
  for (const select of [chosen, measure]) select.addEventListener("change", draw);
  if (report.left_out.length) document.getElementById("left-out").textContent = `Not in this page, for want of room: ${report.left_out.join(", ")}.`;
  document.getElementById("search-title").parentElement.hidden = !report.searches.length && !report.left_out.length;
  if (report.searches.length) { chosen.value = report.searches.at(-1).task; draw(); }
}

const SHADES = ["#00224e", "#41506b", "#7d7c78", "#bcae6c", "#f4d93c"];

/** Return the colour of a generation, from dark to light: it can be read without seeing hues. */
function shade(number, count) {
  const at = count < 2 ? 0 : (SHADES.length - 1) * number / (count - 1), low = Math.min(Math.floor(at), SHADES.length - 2);
  return `color-mix(in oklab, ${SHADES[low]} ${Math.round(100 * (low + 1 - at))}%, ${SHADES[low + 1]})`;
}

/** Return the generations of a search in order, over all of its cycles. */
function generationsOf(children) {
  const found = [...new Map(children.map((child) => [`${child.cycle}/${child.generation}`, child])).values()];
  return found.map((child) => ({ key: `${child.cycle}/${child.generation}`, cycle: child.cycle, generation: child.generation }));
}

function drawSearch(name, measure) {
  const found = report.searches.find((one) => one.task === name);
  if (!found) return;
  const children = new Map(found.children.map((child) => [child.id, child])), best = new Set(found.lineage), generations = generationsOf(found.children), cycles = new Set(generations.map((one) => one.cycle));
  const shades = new Map(generations.map((one, number) => [one.key, shade(number, generations.length)]));
  document.querySelector("#search-title .of").textContent = `: ${name}`;
  const isPlain = found.children.every((child) => child.score === child.quality), isScore = measure === "score" && !isPlain;
  document.getElementById("measured").hidden = isPlain;
  const state = { found, children, best, shades, cycles, value: isScore ? (child) => child.score : (child) => child.quality, title: isScore ? "score" : "validation accuracy" };
  drawGenerations(generations, cycles, shades);
  document.getElementById("children").replaceChildren(
    drawChildren("time: earlier cycles, and this one's up to the child; size: parameters trained", { at: (child) => child.end, of: (values) => timeAxis("time", values), hasCycles: true }, state),
    drawChildren("accounted parameters; dashed: the front of what was kept", { at: (child) => child.accounted_params, of: (values) => ({ title: "accounted parameters", values, text: amount }), hasFront: true }, state),
    drawChildren("FLOPs; dashed: the front of what was kept", { at: (child) => child.flops, of: (values) => ({ title: "FLOPs of a prediction", values, text: amount }), hasFront: true }, state),
    drawCurves(found, best, shades),
  );
  document.getElementById("child").textContent = "";
  drawTable(found);
  document.getElementById("lineage").replaceChildren(...drawLineage(found, children));
  if (!found.effects.length) document.getElementById("effects").replaceChildren(make("caption", {}, "What mutations did is told of those that three children or more drew, and whose parents were measured on this task: there are none yet."));
  else fill(document.getElementById("effects"), "mean change of accuracy from parent to child in percentage points, with its 95 % interval, by what was drawn", ["drawn", "children", "mean", "from", "to"], found.effects.map((effect) => [effect.kind, effect.count, points(effect.mean), points(effect.low), points(effect.high)]));
}

function drawGenerations(generations, cycles, shades) {
  const legend = document.getElementById("generations");
  legend.replaceChildren("generations, from the first to the last: ");
  for (const one of generations) {
    const said = cycles.size > 1 ? `cycle ${one.cycle}, generation ${one.generation}` : `generation ${one.generation}`;
    legend.append(make("svg", { width: 14, height: 14, role: "img", "aria-label": said }, make("circle", { cx: 7, cy: 7, r: 5, fill: shades.get(one.key), class: "child" }, make("title", {}, said))));
  }
}

function drawnBy(child) { return child.mutations.map((one) => one.before === null ? one.name : `${one.name} ${one.before} → ${one.after}`).join("; ") || "nothing"; }

/** Say what a child is; the same for those who point at it, and for those who come by keyboard. */
function saidOf(child) {
  const score = child.score === child.quality ? "" : `, score ${child.score.toFixed(4)}`;
  return `${child.id}: ${percent(child.quality)}${score}, cycle ${child.cycle}, generation ${child.generation}, ${child.is_kept ? "kept" : "not kept"}, ${amount(child.trained_params)} parameters trained in ${duration(child.seconds)}; drawn: ${drawnBy(child)}`;
}

function drawChildren(caption, axis, { found, children, best, shades, cycles, value, title }) {
  return plot(`${title} against ${caption}`, axis.of(found.children.map(axis.at)), shareAxis(title, found.children.map(value)), (picture, x, y) => {
    if (axis.hasCycles) {
      for (const number of [...cycles].slice(1)) {
        const before = Math.max(...found.children.filter((child) => child.cycle < number).map(axis.at));
        picture.append(make("line", { x1: x(before), x2: x(before), y1: SIZE.top, y2: SIZE.height - SIZE.bottom, class: "begin" }), make("text", { x: x(before) + 4, y: SIZE.top + 8, class: "title" }, `cycle ${number}`));
      }
    }
    for (const child of found.children) {
      const parent = children.get(child.parent);
      if (parent) picture.append(make("line", { x1: x(axis.at(parent)), y1: y(value(parent)), x2: x(axis.at(child)), y2: y(value(child)), class: best.has(child.id) && best.has(parent.id) ? "bold" : "edge" }));
    }
    const marks = found.children.map((child, number) => {
      const say = () => { document.getElementById("child").textContent = saidOf(child); };
      return make("circle", {
        cx: x(axis.at(child)), cy: y(value(child)), r: 2.5 + 5 * Math.sqrt(child.trained_params / report.system.root_params), fill: shades.get(`${child.cycle}/${child.generation}`), "data-child": child.id, class: child.is_live ? "child found" : "child",
        tabindex: number ? -1 : 0, role: "img", "aria-label": saidOf(child), onmouseenter: say, onfocus: say, onclick: say,
        onkeydown: (event) => {
          const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
          if (step === undefined) return;
          event.preventDefault();
          marks[number + step]?.focus();
        },
      }, make("title", {}, saidOf(child)));
    });
    picture.append(...marks);
    if (axis.hasFront) picture.append(make("path", { d: chain(paretoFront(found.children.filter((child) => child.is_kept), axis.at, value).map((child) => [x(axis.at(child)), y(value(child))])), class: "front" }));
  });
}

function drawCurves(found, best, shades) {
  const values = found.children.flatMap((child) => child.validations);
  return plot("learning curves: validation accuracy after each interval of training", { title: "interval", values: [1, ...found.children.map((child) => child.validations.length)], text: whole }, shareAxis("validation accuracy", values.length ? values : [0]), (picture, x, y) => {
    for (const child of found.children) {
      const isBest = best.has(child.id), tint = shades.get(`${child.cycle}/${child.generation}`);
      const line = make("path", { d: chain(child.validations.map((value, number) => [x(number + 1), y(value)])), fill: "none", class: isBest ? "bold" : "edge" });
      picture.append(line, ...child.validations.map((value, number) => make("circle", { cx: x(number + 1), cy: y(value), r: isBest ? 4 : 2.5, fill: tint, class: "child", "data-curve": child.id }, make("title", {}, `${child.id}: ${percent(value)}`))));
    }
  });
}

function drawTable(found) {
  const titles = ["child", "cycle", "generation", "parent", "accuracy", "score", "trained", "accounted", "FLOPs", "took", "kept", "drawn"];
  fill(document.getElementById("every-child"), "in the order of sampling", titles, found.children.map((child) => [
    child.id, child.cycle, child.generation, child.parent, percent(child.quality), child.score.toFixed(4), amount(child.trained_params), amount(child.accounted_params), amount(child.flops), duration(child.seconds), child.is_live ? "live" : child.is_kept ? "yes" : "no", drawnBy(child),
  ]));
}

/** Return a small plot for everything that changed from one ancestor of the live path to the next. */
function drawLineage(found, children) {
  const line = found.lineage.map((id) => children.get(id)).filter((child) => child !== undefined);
  if (!line.length) return [];
  const names = Object.keys(line.at(-1).hparams).filter((name) => new Set(line.map((child) => child.hparams[name])).size > 1).sort();
  const clones = (child) => child.mutations.filter((one) => one.name.startsWith("clone:")).length;
  return [
    multiple("validation accuracy", line, (child) => child.quality, (value) => percent(value, 1)),
    multiple("parameters trained", line, (child) => child.trained_params, amount),
    multiple("slots cloned", line, clones, String),
    ...names.map((name) => multiple(name, line, (child) => child.hparams[name], null)),
  ];
}

function multiple(name, line, value, text) {
  const raw = line.map(value), isNumber = raw.every((one) => typeof one === "number");
  const isWide = isNumber && Math.min(...raw) > 0 && Math.max(...raw) / Math.min(...raw) > 10;
  const levels = [...new Set(raw)];
  const height = raw.map((one) => isWide ? Math.log10(one) : isNumber ? one : levels.indexOf(one));
  const isCount = isNumber && raw.every(Number.isInteger) && Math.max(...raw) < 100, say = isCount ? whole : text ?? String, back = (at) => isWide ? Number((10 ** at).toPrecision(2)) : isNumber ? Number(at.toPrecision(4)) : levels[at] ?? "";
  const made = plot(name, { values: line.map((_, number) => number + 1), text: whole }, { values: height, text: (at) => say(back(at)) }, (picture, x, y) => {
    picture.append(make("path", { d: height.map((at, number) => `${number ? "L" : "M"}${x(number + 1)},${y(at)}`).join(" "), class: "path", stroke: BLUE }));
    height.forEach((at, number) => picture.append(make("circle", { cx: x(number + 1), cy: y(at), r: 3, fill: BLUE }, make("title", {}, `${line[number].id}: ${say(raw[number])}`))));
  }, SMALL);
  made.dataset.name = name;
  return made;
}
