/** Return what is only known of a path; nothing of a task that was never evolved. */
const ofPath = (value) => (task) => task.path === null ? null : value(task);
const COLUMNS = [
  ["task", (task) => task.name, (value) => value],
  ["classes", (task) => task.classes, String],
  ["train", (task) => task.num_train, String],
  ["test", (task) => task.num_test, String],
  ["test accuracy", (task) => task.test?.value ?? null, (value) => percent(value)],
  ["from", (task) => task.test?.low ?? null, (value) => percent(value, 1)],
  ["to", (task) => task.test?.high ?? null, (value) => percent(value, 1)],
  ["validation", (task) => task.validation?.value ?? null, (value) => percent(value)],
  ["validation from", (task) => task.validation?.low ?? null, (value) => percent(value, 1)],
  ["validation to", (task) => task.validation?.high ?? null, (value) => percent(value, 1)],
  ["added", ofPath((task) => task.added_params), amount],
  ["accounted", ofPath((task) => task.accounted_params), amount],
  ["FLOPs", ofPath((task) => task.flops), amount],
  ["time", (task) => task.seconds, duration],
  ["children", (task) => task.children, String],
  ["reused", ofPath((task) => 1 - (task.reuse[task.name] ?? 0)), (value) => percent(value, 0)],
  ["from whom", (task) => Object.entries(task.reuse).filter(([owner]) => owner !== task.name).map(([owner, share]) => `${owner} ${percent(share, 0)}`).join(", "), (value) => value],
];
const sorting = { column: null, isDown: false, text: "" };

/** Return the tasks whose name holds what is searched for, in the order that was asked for: what the table and its CSV show. */
function shownTasks() {
  const found = report.tasks.filter((task) => task.name.toLowerCase().includes(sorting.text));
  if (sorting.column === null) return found;
  const value = COLUMNS[sorting.column][1];
  return found.sort((one, other) => {
    const [a, b] = [value(one), value(other)];
    if (a === null || b === null) return (a === null) - (b === null);
    const found = typeof a === "string" ? a.localeCompare(b) : a - b;
    return sorting.isDown ? -found : found;
  });
}

function drawLeaderboard() {
  const head = make("tr");
  COLUMNS.forEach(([title], number) => {
    const state = sorting.column !== number ? "none" : sorting.isDown ? "descending" : "ascending";
    head.append(make("th", { scope: "col", "aria-sort": state }, make("button", { type: "button", onclick: () => {
      sorting.isDown = sorting.column === number ? !sorting.isDown : number > 0;
      sorting.column = number;
      drawLeaderboard();
      document.querySelectorAll("#leaderboard th button")[number].focus();
    } }, title + (state === "none" ? "" : sorting.isDown ? " ↓" : " ↑"))));
  });
  const body = make("tbody");
  for (const task of shownTasks()) {
    const show = () => { pin({ task: task.name }); document.getElementById("network-title").scrollIntoView(); };
    const row = make("tr", { "data-task": task.name }, make("td", {}, make("button", { type: "button", onclick: show }, swatch(task.name), task.name)));
    for (const [, value, text] of COLUMNS.slice(1)) row.append(make("td", {}, value(task) === null ? "–" : text(value(task))));
    body.append(row);
  }
  if (!body.children.length) body.append(make("tr", {}, make("td", { colspan: COLUMNS.length }, "no task has this in its name")));
  document.getElementById("leaderboard").replaceChildren(make("thead", {}, head), body);
}

/** Return the table as CSV; a cell that a spreadsheet would take for a formula is quoted with an apostrophe. */
function asCsv() {
  const cell = (value) => {
    const text = value === null ? "" : String(value);
    const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
    return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  const rows = [COLUMNS.map(([title]) => title), ...shownTasks().map((task) => COLUMNS.map(([, value]) => value(task)))];
  return rows.map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

function drawSharing() {
  const { users, owners, params } = report.sharing, head = make("tr", {}, make("th"));
  document.getElementById("sharing").classList.toggle("narrow", owners.length > 10);
  for (const owner of owners) head.append(make("th", { scope: "col" }, owner));
  const body = make("tbody");
  users.forEach((user, row) => {
    const total = params[row].reduce((sum, one) => sum + one, 0), line = make("tr", {}, make("th", { scope: "row" }, user));
    owners.forEach((owner, column) => {
      const share = params[row][column] / total;
      const cell = make("td", { title: `${user} uses ${amount(params[row][column])} parameters of ${owner}` }, share === 0 ? "" : percent(share, 0));
      cell.style.background = `color-mix(in oklab, ${colour(owner)} ${Math.round(70 * share)}%, transparent)`;
      line.append(cell);
    });
    body.append(line);
  });
  document.getElementById("sharing").replaceChildren(make("thead", {}, head), body);
}
