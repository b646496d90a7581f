const SIZE = { width: 420, height: 260, left: 62, right: 16, top: 14, bottom: 38 };

/** Return round numbers between two bounds. */
function ticks(low, high) {
  const isFlat = high - low <= 1e-9 * Math.max(Math.abs(low), Math.abs(high));
  if (isFlat) return [low];
  const span = high - low, rough = span / 4, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough);
  const found = [];
  for (let number = Math.ceil(low / step); number * step <= high + step * 1e-9 && found.length < 20; number += 1) found.push(number * step);
  return found;
}

/** Write whole numbers only: between them there is nothing. */
function whole(value) { return Number.isInteger(value) ? String(value) : ""; }

/** Return how shares are written on an axis that shows some of them: no two ticks alike. */
function shares(values) {
  const span = Math.max(...values) - Math.min(...values);
  return (value) => percent(value, span > 0.08 || span === 0 ? 0 : span > 0.008 ? 1 : 2);
}

/** Return a plot with axes; ``draw`` puts marks into it with the two scales. */
function plot(caption, xs, ys, xText, yText, draw, size = SIZE) {
  const [xLow, xHigh] = [Math.min(...xs), Math.max(...xs)], [yLow, yHigh] = [Math.min(...ys), Math.max(...ys)];
  const x = (value) => size.left + (size.width - size.left - size.right) * (xHigh === xLow ? 0.5 : (value - xLow) / (xHigh - xLow));
  const y = (value) => size.height - size.bottom - (size.height - size.top - size.bottom) * (yHigh === yLow ? 0.5 : (value - yLow) / (yHigh - yLow));
  const picture = make("svg", { width: size.width, height: size.height, role: "img", "aria-label": caption });
  for (const value of ticks(xLow, xHigh)) picture.append(make("text", { x: x(value), y: size.height - 18, "text-anchor": "middle", class: "soft" }, xText(value)));
  for (const value of ticks(yLow, yHigh)) {
    picture.append(make("line", { x1: size.left, x2: size.width - size.right, y1: y(value), y2: y(value), class: "axis" }));
    picture.append(make("text", { x: size.left - 6, y: y(value) + 4, "text-anchor": "end", class: "soft" }, yText(value)));
  }
  draw(picture, x, y);
  return make("figure", {}, picture, make("figcaption", {}, caption));
}

function curve(caption, points, text) {
  return plot(caption, points.map(([x]) => x), [0, ...points.map(([, y]) => y)], whole, text, (picture, x, y) => {
    picture.append(make("path", { d: points.map(([a, b], number) => `${number ? "L" : "M"}${x(a)},${y(b)}`).join(" "), class: "path", stroke: COLOURS[0] }));
    for (const [a, b] of points) picture.append(make("circle", { cx: x(a), cy: y(b), r: 3, fill: COLOURS[0] }, make("title", {}, text(b))));
  });
}

function drawGrowth() {
  const steps = report.growth.map((one, number) => ({ ...one, number: number + 1 }));
  if (!steps.length) return;
  let seconds = 0;
  const spent = new Map();
  const time = steps.map((one) => { seconds += one.seconds - (spent.get(one.task) ?? 0); spent.set(one.task, one.seconds); return [one.live_tasks, seconds]; });
  const tasks = report.tasks.filter((task) => task.path);
  const quality = (task) => task.test?.value ?? task.validation.value;
  const front = (caption, size, text) => plot(caption, tasks.map(size), tasks.map(quality), text, shares(tasks.map(quality)), (picture, x, y) => {
    for (const task of tasks) picture.append(make("circle", { cx: x(size(task)), cy: y(quality(task)), r: 5, fill: colour(task.name) }, make("title", {}, task.name)));
  });
  document.getElementById("growth").replaceChildren(
    curve("parameters in all, by number of tasks", [[0, report.system.root_params], ...steps.map((one) => [one.live_tasks, one.total_params])], amount),
    curve("disk of live paths in bytes, by number of tasks", steps.map((one) => [one.live_tasks, one.total_bytes]), amount),
    curve("time spent, by number of tasks", time, duration),
    curve("parameters added, by publication", steps.map((one) => [one.number, one.added_params]), amount),
    front("accuracy against accounted parameters, by task", (task) => task.accounted_params, amount),
    front("accuracy against FLOPs, by task", (task) => task.flops, amount),
  );
}

function drawSearch(name) {
  const found = report.searches.find((one) => one.task === name);
  if (!found) return;
  const children = new Map(found.children.map((child) => [child.id, child])), best = new Set(found.lineage);
  const draw = (caption, at, text, hasFront) => plot(caption, found.children.map(at), found.children.map((child) => child.quality), text, shares(found.children.map((child) => child.quality)), (picture, x, y) => {
    for (const child of found.children) {
      const parent = children.get(child.parent);
      if (parent) picture.append(make("line", { x1: x(at(parent)), y1: y(parent.quality), x2: x(at(child)), y2: y(child.quality), class: best.has(child.id) && best.has(parent.id) ? "bold" : "edge" }));
    }
    for (const child of found.children) {
      const drawn = child.mutations.map((one) => one.before === null ? one.name : `${one.name} ${one.before} → ${one.after}`).join("; ");
      const mark = make("circle", { cx: x(at(child)), cy: y(child.quality), r: 2.5 + 5 * Math.sqrt(child.trained_params / report.system.root_params), fill: COLOURS[child.generation % COLOURS.length], "data-child": child.id, class: child.is_live ? "found" : "" },
        make("title", {}, `${child.id}: ${percent(child.quality)}; ${drawn || "nothing drawn"}`));
      picture.append(mark);
    }
    if (hasFront) picture.append(make("path", { d: paretoFront(found.children.filter((child) => child.is_kept), at).map((child, number) => `${number ? "L" : "M"}${x(at(child))},${y(child.quality)}`).join(" "), class: "front" }));
  });
  const curves = plot("learning curves: validation accuracy after each interval", [1, ...found.children.map((child) => child.validations.length)], found.children.flatMap((child) => child.validations), whole, shares(found.children.flatMap((child) => child.validations)), (picture, x, y) => {
    for (const child of found.children) {
      const isBest = best.has(child.id);
      picture.append(make("path", { d: child.validations.map((value, number) => `${number ? "L" : "M"}${x(number + 1)},${y(value)}`).join(" "), fill: "none", class: isBest ? "bold" : "edge" }));
      child.validations.forEach((value, number) => picture.append(make("circle", { cx: x(number + 1), cy: y(value), r: isBest ? 3.5 : 2.5, class: isBest ? "point best" : "point", "data-curve": child.id }, make("title", {}, `${child.id}: ${percent(value)}`))));
    }
  });
  document.getElementById("children").replaceChildren(draw("accuracy against time of the cycle; size: parameters trained; colour: generation", (child) => child.end, duration), draw("accuracy against parameters trained; dashed: the front of what was kept", (child) => child.trained_params, amount, true), draw("accuracy against FLOPs; dashed: the front of what was kept", (child) => child.flops, amount, true), curves);
  document.getElementById("lineage").replaceChildren(...drawLineage(found, children));
  const body = make("tbody");
  for (const effect of found.effects) body.append(make("tr", {}, ...[effect.kind, effect.count, points(effect.mean), points(effect.low), points(effect.high)].map((value) => make("td", {}, String(value)))));
  document.getElementById("effects").replaceChildren(make("caption", {}, "mean change of accuracy from parent to child in percentage points, with its 95 % interval, by what was drawn"), make("thead", {}, make("tr", {}, ...["drawn", "children", "mean", "from", "to"].map((title) => make("th", { scope: "col" }, title)))), body);
}

/** Return the children that no other beats in both, the cheapest first. */
function paretoFront(children, cost) {
  const front = [];
  for (const child of [...children].sort((a, b) => cost(a) - cost(b) || b.quality - a.quality)) {
    if (!front.length || child.quality > front.at(-1).quality) front.push(child);
  }
  return front;
}

const SMALL = { width: 230, height: 130, left: 66, right: 12, top: 10, bottom: 30 };

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
  const say = text ?? String, back = (at) => isWide ? Number((10 ** at).toPrecision(2)) : isNumber ? Number(at.toPrecision(4)) : levels[at] ?? "";
  const made = plot(name, line.map((_, number) => number + 1), height, whole, (at) => say(back(at)), (picture, x, y) => {
    picture.append(make("path", { d: height.map((at, number) => `${number ? "L" : "M"}${x(number + 1)},${y(at)}`).join(" "), class: "path", stroke: COLOURS[0] }));
    height.forEach((at, number) => picture.append(make("circle", { cx: x(number + 1), cy: y(at), r: 3, fill: COLOURS[0] }, make("title", {}, `${line[number].id}: ${say(raw[number])}`))));
  }, SMALL);
  made.dataset.name = name;
  return made;
}
