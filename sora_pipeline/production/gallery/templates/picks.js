// Which clips a person found good or bad. Kept in this browser, and downloaded as a CSV file that commands take.
// A pick is about one video: when a clip has been made anew, it has none until somebody looks again.

const PICKS_KEY = `sora-pipeline picks ${document.body.dataset.key}`;
const picks = new Map();
let picksAreKept = true;

/** Read what this browser keeps: another tab may have added to it. */
function readPicks() {
  if (!picksAreKept) return;
  try {
    const kept = Object.entries(JSON.parse(localStorage.getItem(PICKS_KEY)) || {});
    picks.clear();
    for (const [id, pick] of kept) if (pick && typeof pick === "object") picks.set(id, pick);
  } catch {
    // Nothing can be read, or somebody has changed it: what this page knows is all there is.
  }
}

function keepPicks() {
  try {
    localStorage.setItem(PICKS_KEY, JSON.stringify(Object.fromEntries(picks)));
  } catch {
    picksAreKept = false;
    tell("This browser keeps nothing for this page: download picks.csv before you close it.");
  }
}

/** What was said of the video that a clip has now; null: nothing. */
function pickOf(clip) {
  const pick = picks.get(clip.id);
  return pick && pick.file === clip.video ? pick : null;
}

/** Say something of a clip, in place of what was said before; an empty pick without a note forgets it. */
function setPick(clip, { pick = pickOf(clip)?.pick || "", note = pickOf(clip)?.note || "" }) {
  readPicks();
  if (pick || note) picks.set(clip.id, { pick, note, file: clip.video }); else picks.delete(clip.id);
  keepPicks();
  showPickCount();
}

function showPickCount() {
  byId("download").textContent = picks.size ? `Download picks.csv (${picks.size.toLocaleString("en")})` : "Download picks.csv";
  byId("download").disabled = !picks.size;
}

function isPicked(clip, wanted) {
  const pick = pickOf(clip);
  if (wanted === "none") return !pick && clip.video !== null;
  if (wanted === "note") return Boolean(pick && pick.note);
  return Boolean(pick && pick.pick === wanted);
}

/** A cell that no spreadsheet runs, and that every CSV reader gives back as one. */
function csvCell(text) {
  const harmless = /^\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|^[\t\r\n]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
}

/** The picks of the clips as they are now, in the manifest's order. */
async function picksAsCsv() {
  const lines = ["production,clip_id,pick,note,file_name"];
  let left = picks.size;
  await lists.each(lists.files.map((_, number) => number), (columns) => {
    for (let row = 0; row < columns.id.length && left > 0; row += 1) {
      if (!picks.has(columns.id[row])) continue;
      left -= 1;
      const pick = pickOf(clipAt(columns, row, 0));
      if (!pick) continue;
      const cells = [document.body.dataset.production, columns.id[row], pick.pick, pick.note, pick.file || ""];
      lines.push(cells.map(csvCell).join(","));
    }
    return left > 0;
  });
  return `\ufeff${lines.join("\r\n")}\r\n`;
}

async function downloadPicks() {
  let csv;
  try {
    csv = await picksAsCsv();
  } catch {
    tellOfMissing();
    return;
  }
  const link = element("a", { href: URL.createObjectURL(new Blob([csv], { type: "text/csv" })), download: "picks.csv" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
