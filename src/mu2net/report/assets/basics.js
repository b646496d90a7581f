"use strict";
const report = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";
// Okabe and Ito's colours, which colour-blind people tell apart; black stands for the root.
const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c7a00", "#6a51a3"];
const order = new Map(report.tasks.map((task, number) => [task.name, number]));
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

function colour(owner) {
  if (owner === "root") return "#8a8a94";
  const number = order.get(owner) ?? report.tasks.length;
  if (number < COLOURS.length) return COLOURS[number];
  // Later ones go round the circle by the golden angle, on three levels of lightness.
  const later = number - COLOURS.length;
  return `oklch(${[0.62, 0.48, 0.76][later % 3]} 0.13 ${((later * 137.508) % 360).toFixed(1)})`;
}

function percent(share, digits = 2) { return share === null ? "–" : `${(100 * share).toFixed(digits)} %`; }

function points(share) { return `${share < 0 ? "−" : "+"}${Math.abs(100 * share).toFixed(2)}`; }

function amount(value) {
  for (const [size, unit] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (Math.abs(value) >= size) return `${(value / size).toFixed(value / size < 10 ? 2 : 1)} ${unit}`;
  }
  return `${Math.round(value * 100) / 100}`;
}

function duration(seconds) {
  if (seconds < 90) return `${seconds.toFixed(0)} s`;
  return seconds < 5400 ? `${(seconds / 60).toFixed(1)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

function list(names) { return names.length ? names.join(", ") : "–"; }

function definitions(pairs) {
  const element = make("dl");
  for (const [term, value] of pairs) element.append(make("dt", {}, term), make("dd", {}, String(value)));
  return element;
}
