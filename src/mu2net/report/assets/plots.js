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

/** Return a plot with axes; ``draw`` puts marks into it with the two scales. */
function plot(caption, xs, ys, xText, yText, draw) {
  const [xLow, xHigh] = [Math.min(...xs), Math.max(...xs)], [yLow, yHigh] = [Math.min(...ys), Math.max(...ys)];
  const x = (value) => SIZE.left + (SIZE.width - SIZE.left - SIZE.right) * (xHigh === xLow ? 0.5 : (value - xLow) / (xHigh - xLow));
  const y = (value) => SIZE.height - SIZE.bottom - (SIZE.height - SIZE.top - SIZE.bottom) * (yHigh === yLow ? 0.5 : (value - yLow) / (yHigh - yLow));
  const picture = make("svg", { width: SIZE.width, height: SIZE.height, role: "img", "aria-label": caption });
  for (const value of ticks(xLow, xHigh)) picture.append(make("text", { x: x(value), y: SIZE.height - 18, "text-anchor": "middle", class: "soft" }, xText(value)));
  for (const value of ticks(yLow, yHigh)) {
    picture.append(make("line", { x1: SIZE.left, x2: SIZE.width - SIZE.right, y1: y(value), y2: y(value), class: "axis" }));
    picture.append(make("text", { x: SIZE.left - 6, y: y(value) + 4, "text-anchor": "end", class: "soft" }, yText(value)));
  }
  draw(picture, x, y);
  return make("figure", {}, picture, make("figcaption", {}, caption));
}

function curve(caption, points, text) {
  return plot(caption, points.map(([x]) => x), [0, ...points.map(([, y]) => y)], String, text, (picture, x, y) => {
    picture.append(make("path", { d: points.map(([a, b], number) => `${number ? "L" : "M"}${x(a)},${y(b)}`).join(" "), class: "path", stroke: COLOURS[0] }));
    for (const [a, b] of points) picture.append(make("circle", { cx: x(a), cy: y(b), r: 3, fill: COLOURS[0] }, make("title", {}, text(b))));
  });
}

function drawGrowth() {
  const steps = report.growth.map((one, number) => ({ ...one, number: number + 1 }));
  if (!steps.length) return;
  let seconds = 0;
  const spent = new Map();
  const time = steps.map((one) => { seconds += one.seconds - (spent.get(one.task) ?? 0); spent.set(one.task, one.seconds); return [one.number, seconds]; });
  const tasks = report.tasks.filter((task) => task.path);
  const front = (caption, size, text) => plot(caption, tasks.map(size), tasks.map((task) => task.test?.value ?? task.validation.value), text, (value) => percent(value, 0), (picture, x, y) => {
    for (const task of tasks) picture.append(make("circle", { cx: x(size(task)), cy: y(task.test?.value ?? task.validation.value), r: 5, fill: colour(task.name) }, make("title", {}, task.name)));
  });
  document.getElementById("growth").replaceChildren(
    curve("parameters in all, by publication", [[0, report.system.root_params], ...steps.map((one) => [one.number, one.total_params])], amount),
    curve("parameters added, by publication", steps.map((one) => [one.number, one.added_params]), amount),
    curve("time spent, by publication", time, duration),
    front("accuracy against accounted parameters, by task", (task) => task.accounted_params, amount),
    front("accuracy against FLOPs, by task", (task) => task.flops, amount),
  );
}

function drawSearch(name) {
  const found = report.searches.find((one) => one.task === name);
  if (!found) return;
  const children = new Map(found.children.map((child) => [child.id, child])), best = new Set(found.lineage);
  const draw = (caption, at, text) => plot(caption, found.children.map(at), found.children.map((child) => child.quality), text, (value) => percent(value, 0), (picture, x, y) => {
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
  });
  const curves = plot("learning curves: validation accuracy after each interval", [1, ...found.children.map((child) => child.validations.length)], found.children.flatMap((child) => child.validations), String, (value) => percent(value, 0), (picture, x, y) => {
    for (const child of found.children) picture.append(make("path", { d: child.validations.map((value, number) => `${number ? "L" : "M"}${x(number + 1)},${y(value)}`).join(" "), fill: "none", class: best.has(child.id) ? "bold" : "edge" }));
  });
  document.getElementById("children").replaceChildren(draw("accuracy against time of the cycle; size: parameters trained; colour: generation", (child) => child.end, duration), draw("accuracy against parameters trained", (child) => child.trained_params, amount), curves);
  const body = make("tbody");
  for (const effect of found.effects) body.append(make("tr", {}, ...[effect.kind, effect.count, percent(effect.mean), percent(effect.low), percent(effect.high)].map((value) => make("td", {}, String(value)))));
  document.getElementById("effects").replaceChildren(make("caption", {}, "mean change of accuracy from parent to child, by what was drawn"), make("thead", {}, make("tr", {}, ...["drawn", "children", "mean", "from", "to"].map((title) => make("th", { scope: "col" }, title)))), body);
}
