function startQuality() {
  const judged = document.getElementById("judged");
  for (const one of report.quality) judged.append(make("option", { value: one.task }, one.task));
  judged.addEventListener("change", () => drawQuality(judged.value));
  const first = report.quality.find((one) => !one.problem) ?? report.quality[0];
  document.getElementById("quality-title").parentElement.hidden = first === undefined;
  if (first === undefined) return;
  judged.value = first.task;
  drawQuality(first.task);
}

function drawQuality(name) {
  const found = report.quality.find((one) => one.task === name), said = document.getElementById("judgement");
  const [plots, mistakes, confusion, classes] = ["quality", "mistakes", "confusion", "classes"].map((id) => document.getElementById(id));
  document.querySelector("#quality-title .of").textContent = `: ${name}`;
  for (const place of [plots, mistakes, confusion, classes]) place.replaceChildren();
  if (found.problem) { said.textContent = `Nothing was measured: ${found.problem}`; return; }
  said.textContent = `${plural(found.images, "image")}, ${percent(found.accuracy)} right; expected calibration error ${percent(found.calibration_error)}.`;
  plots.append(drawCalibration(found), drawBalance(found), drawRecall(found));
  for (const mistake of found.mistakes) {
    mistakes.append(make("figure", {}, make("img", { src: `data:image/jpeg;base64,${mistake.thumbnail}`, width: 64, height: 64, alt: `test image ${mistake.index}` }), make("figcaption", {}, `${mistake.label}, taken for ${mistake.answer} (${percent(mistake.confidence, 0)})`)));
  }
  if (found.confusion.length) drawMatrix(confusion, found);
  else drawPairs(confusion, found);
  const recall = (one) => one.test ? one.correct / one.test : 0;
  fill(classes, "classes, the worst first", ["class", "train", "test", "recall", "precision"], [...found.classes].sort((a, b) => recall(a) - recall(b)).map((one) => [one.name, one.train, one.test, one.test ? percent(recall(one)) : "–", one.answered ? percent(one.correct / one.answered) : "–"]));
}

function drawCalibration(found) {
  const short = (value) => percent(value, 0);
  return plot("calibration: on the line, accuracy equals confidence; size: number of images", { title: "confidence", values: [0, 1], text: short }, { title: "accuracy", values: [0, 1], text: short }, (picture, x, y) => {
    picture.append(make("line", { x1: x(0), y1: y(0), x2: x(1), y2: y(1), class: "edge" }));
    picture.append(make("path", { d: chain(found.bins.map((bin) => [x(bin.confidence), y(bin.accuracy)])), class: "path", stroke: BLUE }));
    for (const bin of found.bins) picture.append(make("circle", { cx: x(bin.confidence), cy: y(bin.accuracy), r: 2 + 6 * Math.sqrt(bin.count / found.images), fill: BLUE, class: "bin" }, make("title", {}, `${plural(bin.count, "image")}: confidence ${percent(bin.confidence)}, accuracy ${percent(bin.accuracy)}`)));
  });
}

/** Draw how many training images every class has, the most frequent first; test images are the darker bars before them. */
function drawBalance(found) {
  const classes = [...found.classes].sort((a, b) => b.train - a.train), most = Math.max(...classes.map((one) => Math.max(one.train, one.test)), 1);
  return plot("class balance: training images of every class, in front of them its test images", { title: "classes, the most frequent first", values: [0, classes.length], text: whole }, { title: "images", values: [0, most], text: amount }, (picture, x, y) => {
    const width = 0.8 * (x(1) - x(0));
    classes.forEach((one, number) => {
      const said = make("title", {}, `${one.name}: ${plural(one.train, "training image")}, ${plural(one.test, "test image")}`);
      const bar = (count, share, fill) => make("rect", { x: x(number + 0.5) - width * share / 2, width: width * share, y: y(count), height: y(0) - y(count), fill });
      picture.append(make("g", { class: "class" }, said, bar(one.train, 1, "#56b4e9"), bar(one.test, 0.5, BLUE)));
    });
  });
}

function drawRecall(found) {
  return plot("accuracy of a class against its training images", { title: "training images", values: [0, ...found.classes.map((one) => one.train)], text: amount }, { title: "accuracy", values: [0, 1], text: (value) => percent(value, 0) }, (picture, x, y) => {
    for (const one of found.classes) if (one.test) picture.append(make("circle", { cx: x(one.train), cy: y(one.correct / one.test), r: 4, fill: ORANGE }, make("title", {}, `${one.name}: ${one.correct} of ${one.test} right, ${plural(one.train, "training image")}`)));
  });
}

function drawMatrix(place, found) {
  const head = make("tr", {}, make("th"), ...found.classes.map((one) => make("th", { scope: "col" }, one.name))), body = make("tbody");
  found.confusion.forEach((row, index) => {
    const line = make("tr", {}, make("th", { scope: "row" }, found.classes[index].name)), total = Math.max(1, found.classes[index].test);
    row.forEach((count, column) => {
      const cell = make("td", { title: `${found.classes[index].name} taken for ${found.classes[column].name}: ${count}` }, count ? String(count) : "");
      cell.style.background = `color-mix(in oklab, ${index === column ? BLUE : RED} ${Math.round(80 * count / total)}%, transparent)`;
      line.append(cell);
    });
    body.append(line);
  });
  place.append(make("caption", {}, "rows: the class; columns: the answer"), make("thead", {}, head), body);
}

function drawPairs(place, found) {
  fill(place, "the most frequent mistakes", ["class", "taken for", "images"], found.confusions.map((one) => [one.label, one.answer, one.count]));
}
