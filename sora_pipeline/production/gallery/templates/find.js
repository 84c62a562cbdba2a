// Which clips are shown, and in which order. Without a filter that is the manifest itself, and nothing is loaded for it;
// with one, the files of the list are gone through one after the other, and what is found is shown as it comes.

const wanted = { statuses: new Set(), words: [], choices: new Map(), picked: "", order: "manifest" };
let searches = 0;

const TROUBLES = ["failed", "ambiguous", "invalid", "in_flight", "pending", "delivered"];
const ORDERS = {
  manifest: () => 0,
  troubles: (clip) => TROUBLES.indexOf(clip.status),
  newest: (clip) => (clip.stored === null ? Infinity : -clip.stored),
  cost: (clip) => -(clip.cost || 0),
  attempts: (clip) => -clip.attempts,
  id: (clip) => clip.id,
};

function isNarrowed() {
  return wanted.statuses.size + wanted.words.length + wanted.choices.size > 0 || Boolean(wanted.picked);
}

function hasWords(texts, words) {
  const text = texts.filter(Boolean).join("\n").toLowerCase();
  return words.every((word) => text.includes(word));
}

/** Whether a clip is wanted: true, false, or null where only its whole texts can tell. */
function isWanted(clip) {
  if (wanted.statuses.size && !wanted.statuses.has(clip.status)) return false;
  for (const [column, value] of wanted.choices) if (clip.carried[column] !== value) return false;
  if (wanted.picked && !isPicked(clip, wanted.picked)) return false;
  if (!wanted.words.length) return true;
  if (hasWords([clip.id, clip.prompt, clip.kind, clip.reason, clip.model, clip.size, ...clip.carried], wanted.words)) return true;
  return clip.cut ? null : false;
}

/** Find the clips that are wanted now, and show them; an earlier search that is still going on ends. */
async function find() {
  searches += 1;
  const search = searches;
  if (!isNarrowed() && wanted.order === "manifest") {
    showCount(set.total, true);
    showFound(null);
    return;
  }
  const found = []; // [position, what it is sorted by]
  const unsure = [];
  const key = ORDERS[wanted.order];
  const possible = lists.files.flatMap((file, number) => (
    !wanted.statuses.size || [...wanted.statuses].some((status) => file.counts[status]) ? [number] : []));
  let shown = performance.now();
  try {
    await lists.each(possible, (columns, number) => {
      if (search !== searches) return false;
      for (let row = 0; row < columns.id.length; row += 1) {
        const clip = clipAt(columns, row, lists.starts[number] + row);
        const is = isWanted(clip);
        if (is) found.push([clip.position, key(clip)]);
        else if (is === null) unsure.push([clip, key(clip)]);
      }
      if (performance.now() - shown > 250) {
        showCount(found.length, false);
        if (wanted.order === "manifest") showFound(found.map(([position]) => position));
        shown = performance.now();
      }
      return true;
    });
    if (search === searches && unsure.length) await findInWholeTexts(unsure, found, search);
  } catch {
    tellOfMissing();
  }
  if (search !== searches) return;
  showCount(found.length, true);
  showFound(sorted(found));
}

/** Look through the texts that are too long for the list. */
async function findInWholeTexts(unsure, found, search) {
  const byFile = new Map();
  for (const entry of unsure) {
    const number = details.fileAt(entry[0].position);
    if (!byFile.has(number)) byFile.set(number, []);
    byFile.get(number).push(entry);
  }
  await details.each([...byFile.keys()], (columns, number) => {
    if (search !== searches) return false;
    for (const [clip, key] of byFile.get(number)) {
      const [prompt, reason, carried] = cell(columns.whole, clip.position - details.starts[number]);
      if (hasWords([clip.id, prompt, clip.kind, reason, clip.model, clip.size, ...carried], wanted.words)) {
        found.push([clip.position, key]);
      }
    }
    return true;
  });
}

function sorted(found) {
  const compare = wanted.order === "id" ? new Intl.Collator("en", { numeric: true }).compare : (one, other) => one - other;
  found.sort((one, other) => (one[1] === other[1] ? 0 : compare(one[1], other[1])) || one[0] - other[0]);
  return found.map(([position]) => position);
}

/** The position of a clip, by its id; null: there is none. */
async function positionOf(id) {
  let position = null;
  await lists.each(lists.files.map((_, number) => number), (columns, number) => {
    const row = columns.id.indexOf(id);
    if (row >= 0) position = lists.starts[number] + row;
    return position === null;
  });
  return position;
}
