function start() {
  const { system } = report;
  document.getElementById("title").textContent = `${report.tasks.length} tasks in one network`;
  document.title = `mu2net: ${report.tasks.length} tasks`;
  document.getElementById("facts").textContent = `root ${system.root} (${amount(system.root_params)} parameters); ${amount(system.total_params)} parameters in all, ${amount(system.live_bytes)}B on disk, ${duration(system.seconds)} of evolution; made ${report.made_at} by mu2net ${report.made_by}`;
  startNetwork();
  drawLeaderboard();
  drawSharing();
  drawGrowth();
  const chosen = document.getElementById("searched");
  for (const one of report.searches) chosen.append(make("option", { value: one.task }, one.task));
  chosen.addEventListener("change", () => drawSearch(chosen.value));
  if (report.left_out.length) document.getElementById("left-out").textContent = `Not in this page, for want of room: ${report.left_out.join(", ")}.`;
  if (report.searches.length) { chosen.value = report.searches.at(-1).task; drawSearch(chosen.value); }
  const judged = document.getElementById("judged");
  for (const one of report.quality) judged.append(make("option", { value: one.task }, one.task));
  judged.addEventListener("change", () => drawQuality(judged.value));
  if (report.quality.length) drawQuality(report.quality[0].task);
  document.getElementById("quality-title").parentElement.hidden = report.quality.length === 0;
  document.getElementById("download").addEventListener("click", () => {
    const link = make("a", { href: `data:text/csv;charset=utf-8,${encodeURIComponent(asCsv())}`, download: "leaderboard.csv" });
    link.click();
  });
}

start();
