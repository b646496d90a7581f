"use strict";
const report = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";
const BLUE = "#0072b2", ORANGE = "#e69f00", RED = "#d55e00";
const owners = new Map(report.owners.map((owner) => [owner.name, owner]));
const byName = new Map(report.tasks.map((task) => [task.name, task]));

/** Return an element; text is set as text, never as markup. */
function make(tag, attributes = {}, ...children) {
  const element = ["svg", "g", "path", "circle", "rect", "line", "text", "title"].includes(tag)
    ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  for (const child of children) element.append(child);
  return element;
}

/** Return the colour of an owner; the root's depends on the ground, light or dark. */
function colour(owner) { return owner === "root" ? "var(--root)" : owners.get(owner)?.colour ?? "var(--soft)"; }

/** Return the corners of a shape of radius 1 about the origin; none for a circle. */
const CORNERS = {
  square: [[-0.85, -0.85], [0.85, -0.85], [0.85, 0.85], [-0.85, 0.85]],
  diamond: [[0, -1.15], [1.15, 0], [0, 1.15], [-1.15, 0]],
  triangle: [[0, -1.15], [1.1, 0.85], [-1.1, 0.85]],
  hexagon: [[-0.55, -0.95], [0.55, -0.95], [1.1, 0], [0.55, 0.95], [-0.55, 0.95], [-1.1, 0]],
  cross: [[-0.4, -1.1], [0.4, -1.1], [0.4, -0.4], [1.1, -0.4], [1.1, 0.4], [0.4, 0.4], [0.4, 1.1], [-0.4, 1.1], [-0.4, 0.4], [-1.1, 0.4], [-1.1, -0.4], [-0.4, -0.4]],
};

/** Return the mark of an owner as the outline of a path. */
function outline(owner, x, y, radius) {
  const corners = CORNERS[owners.get(owner)?.shape];
  if (corners === undefined) return `M${x - radius},${y}a${radius},${radius} 0 1 0 ${2 * radius},0a${radius},${radius} 0 1 0 ${-2 * radius},0z`;
  return corners.map(([a, b], number) => `${number ? "L" : "M"}${(x + a * radius).toFixed(2)},${(y + b * radius).toFixed(2)}`).join("") + "z";
}

/** Return a small picture of an owner's mark, for lists and legends. */
function swatch(owner) {
  return make("svg", { width: 14, height: 14, viewBox: "-7 -7 14 14", "aria-hidden": "true" }, make("path", { d: outline(owner, 0, 0, 5), fill: colour(owner) }));
}

function percent(share, digits = 2) { return share === null ? "–" : `${(100 * share).toFixed(digits)} %`; }

function points(share) { return `${share < 0 ? "−" : "+"}${Math.abs(100 * share).toFixed(2)}`; }

/** Return a number with its unit; where the step from one to the next is given, with as many digits as tell them apart. */
function amount(value, step) {
  for (const [size, unit] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (Math.abs(value) < size) continue;
    const digits = step === undefined ? (value / size < 10 ? 2 : 1) : Math.min(6, Math.max(0, -Math.floor(Math.log10(step / size) + 1e-9)));
    return `${(value / size).toFixed(digits)} ${unit}`;
  }
  return `${Math.round(value * 100) / 100}`;
}

/** Return bytes in decimal units, as the command line writes them. */
function bytes(value, step) { return value < 1e3 ? `${value} B` : `${amount(value, step)}B`; }

function plural(count, noun) { return `${count} ${count === 1 ? noun : noun === "child" ? "children" : `${noun}s`}`; }

/** Return the unit in which a time is written, in seconds. */
function unitOf(seconds) { return seconds < 90 ? 1 : seconds < 5400 ? 60 : 3600; }

function duration(seconds) {
  const unit = unitOf(seconds);
  return unit === 1 ? `${seconds.toFixed(0)} s` : `${(seconds / unit).toFixed(1)} ${unit === 60 ? "min" : "h"}`;
}

/** Return an axis of time, all of it in one unit. */
function timeAxis(title, values) {
  const unit = unitOf(Math.max(...values));
  return { title: `${title}, in ${{ 1: "seconds", 60: "minutes", 3600: "hours" }[unit]}`, values, text: (value) => String(Number((value / unit).toFixed(2))), unit };
}

function list(names) { return names.length ? names.join(", ") : "–"; }

function shorten(text, most) { return text.length > most ? `${text.slice(0, most - 1)}…` : text; }

function definitions(pairs) {
  const element = make("dl");
  for (const [term, value] of pairs) element.append(make("dt", {}, term), make("dd", {}, String(value)));
  return element;
}

/** Fill a table; rows are lists of texts. */
function fill(table, caption, titles, rows) {
  const body = make("tbody");
  for (const row of rows) body.append(make("tr", {}, ...row.map((value) => make("td", {}, String(value)))));
  table.replaceChildren(make("caption", {}, caption), make("thead", {}, make("tr", {}, ...titles.map((title) => make("th", { scope: "col" }, title)))), body);
}
