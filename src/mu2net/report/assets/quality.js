function drawQuality(name) {
  const found = report.quality.find((one) => one.task === name), said = document.getElementById("judgement");
  const [plots, mistakes, confusion, classes] = ["quality", "mistakes", "confusion", "classes"].map((id) => document.getElementById(id));
  for (const place of [plots, mistakes, confusion, classes]) place.replaceChildren();
  if (found.problem) { said.textContent = `Nothing was measured: ${found.problem}`; return; }
  said.textContent = `${found.images} images, ${percent(found.accuracy)} right; expected calibration error ${percent(found.calibration_error)}.`;
  plots.append(
    plot("calibration: accuracy against confidence; on the line they are equal", [0, 1], [0, 1], (value) => percent(value, 0), (value) => percent(value, 0), (picture, x, y) => {
      picture.append(make("line", { x1: x(0), y1: y(0), x2: x(1), y2: y(1), class: "edge" }));
      picture.append(make("path", { d: found.bins.map((bin, number) => `${number ? "L" : "M"}${x(bin.confidence)},${y(bin.accuracy)}`).join(" "), class: "path", stroke: COLOURS[0] }));
      for (const bin of found.bins) picture.append(make("circle", { cx: x(bin.confidence), cy: y(bin.accuracy), r: 2 + 6 * Math.sqrt(bin.count / found.images), fill: COLOURS[0] }, make("title", {}, `${bin.count} images: confidence ${percent(bin.confidence)}, accuracy ${percent(bin.accuracy)}`)));
    }),
    plot("class balance: accuracy of a class against its training images", [0, ...found.classes.map((one) => one.train)], [0, 1], amount, (value) => percent(value, 0), (picture, x, y) => {
      for (const one of found.classes) if (one.test) picture.append(make("circle", { cx: x(one.train), cy: y(one.correct / one.test), r: 4, fill: COLOURS[1] }, make("title", {}, `${one.name}: ${one.correct} of ${one.test} right, ${one.train} training images`)));
    }),
  );
  for (const mistake of found.mistakes) {
    mistakes.append(make("figure", {}, make("img", { src: `data:image/jpeg;base64,${mistake.thumbnail}`, width: 64, height: 64, alt: `test image ${mistake.index}` }), make("figcaption", {}, `${mistake.label}, taken for ${mistake.answer} (${percent(mistake.confidence, 0)})`)));
  }
  if (found.confusion.length) drawMatrix(confusion, found);
  else drawPairs(confusion, found);
  const body = make("tbody");
  for (const one of [...found.classes].sort((a, b) => a.correct / (a.test || 1) - b.correct / (b.test || 1))) {
    body.append(make("tr", {}, ...[one.name, one.train, one.test, one.test ? percent(one.correct / one.test) : "–", one.answered ? percent(one.correct / one.answered) : "–"].map((value) => make("td", {}, String(value)))));
  }
  classes.append(make("caption", {}, "classes, the worst first"), make("thead", {}, make("tr", {}, ...["class", "train", "test", "recall", "precision"].map((title) => make("th", { scope: "col" }, title)))), body);
}

function drawMatrix(place, found) {
  const head = make("tr", {}, make("th"), ...found.classes.map((one) => make("th", { scope: "col" }, one.name))), body = make("tbody");
  found.confusion.forEach((row, index) => {
    const line = make("tr", {}, make("th", { scope: "row" }, found.classes[index].name)), total = Math.max(1, found.classes[index].test);
    row.forEach((count, column) => {
      const cell = make("td", { title: `${found.classes[index].name} taken for ${found.classes[column].name}: ${count}` }, count ? String(count) : "");
      cell.style.background = `color-mix(in oklab, ${index === column ? COLOURS[0] : COLOURS[5]} ${Math.round(80 * count / total)}%, transparent)`;
      line.append(cell);
    });
    body.append(line);
  });
  place.append(make("caption", {}, "rows: the class; columns: the answer"), make("thead", {}, head), body);
}

function drawPairs(place, found) {
  const body = make("tbody");
  for (const one of found.confusions) body.append(make("tr", {}, ...[one.label, one.answer, one.count].map((value) => make("td", {}, String(value)))));
  place.append(make("caption", {}, "the most frequent mistakes"), make("thead", {}, make("tr", {}, ...["class", "taken for", "images"].map((title) => make("th", { scope: "col" }, title)))), body);
}
