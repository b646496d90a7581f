const POLL_SECONDS = 20;

function start() {
  const { system } = report, disk = system.disk_bytes === null ? `${bytes(system.live_bytes)} of components` : `${bytes(system.live_bytes)} of components that serve, ${bytes(system.disk_bytes)} on disk with the history`;
  document.getElementById("title").textContent = `${plural(report.tasks.length, "task")} in one network`;
  document.title = `mu2net: ${plural(report.tasks.length, "task")}`;
  document.getElementById("facts").textContent = `root ${system.root} (${amount(system.root_params)} parameters); ${amount(system.total_params)} parameters in all, ${disk}; ${duration(system.seconds)} of evolution; made ${report.made_at} by mu2net ${report.made_by}`;
  startNetwork();
  drawLeaderboard();
  drawSharing();
  drawGrowth();
  startSearch();
  startQuality();
  document.getElementById("download").addEventListener("click", () => {
    const link = make("a", { href: `data:text/csv;charset=utf-8,${encodeURIComponent(asCsv())}`, download: "leaderboard.csv" });
    link.click();
  });
  if (location.protocol.startsWith("http")) watch();
}

/** Ask the server now and then whether there is a newer page, and offer it; what is being looked at stays. */
async function watch() {
  const ask = async (headers) => { const answer = await fetch(location.href, { headers, cache: "no-store" }); await answer.body?.cancel(); return answer; };
  let tag = null;
  const look = async () => {
    try {
      const answer = await ask(tag === null ? {} : { "If-None-Match": tag });
      if (tag === null) tag = answer.headers.get("etag");
      else if (answer.ok) { document.getElementById("stale").hidden = false; return; }
    } catch { /* the server is gone; the page stays as it is, and it is asked again */ }
    setTimeout(look, 1000 * POLL_SECONDS);
  };
  document.getElementById("reload").addEventListener("click", () => location.reload());
  await look();
}

start();
