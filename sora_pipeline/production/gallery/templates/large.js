// The large view: one clip with all that is known of it, and its neighbours a key away.

const large = { place: null, clip: null };

async function look(place) {
  large.place = place;
  const position = positionAt(place);
  const number = lists.fileAt(position);
  let columns;
  try {
    columns = await lists.get(number);
  } catch {
    tellOfMissing();
    return;
  }
  if (large.place !== place) return; // somebody went on
  const clip = clipAt(columns, position - lists.starts[number], position);
  large.clip = clip;
  showClip(clip);
  if (!byId("large").open) {
    byId("large").showModal();
    byId("large-id").focus();
  }
  nameInAddress(clip.id);
  await showDetails(clip);
}

function showClip(clip) {
  byId("large-id").textContent = clip.id;
  showPlace();
  byId("said").textContent = `${clip.id}, ${statusWords(clip.status)}`;
  showVideo(clip);
  byId("first-frame").hidden = true;
  byId("input").removeAttribute("src");
  showTexts(clip, clip.prompt, clip.reason);
  showPick(clip);
  byId("facts").replaceChildren();
}

function showVideo(clip) {
  const video = byId("video");
  video.hidden = clip.video === null;
  byId("no-video").hidden = clip.video !== null;
  byId("no-video").textContent = "There is no video of this clip.";
  if (clip.video === null) {
    video.removeAttribute("src");
    video.removeAttribute("poster");
    video.load();
    return;
  }
  if (typeof clip.poster === "string") video.poster = pathOf(clip.poster); else video.removeAttribute("poster");
  video.ariaLabel = `Video of ${clip.id}`;
  video.src = pathOf(clip.video);
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) video.play().catch(() => {});
}

function showTexts(clip, prompt, reason) {
  byId("prompt").textContent = prompt || "";
  byId("standing").replaceChildren(element("span", { className: `chip ${clip.status}` }, statusWords(clip.status)),
    ` ${[clip.kind, reason].filter(Boolean).join(": ")}`);
}

function showPlace() {
  byId("place").textContent = `${(large.place + 1).toLocaleString("en")} of ${grid.count.toLocaleString("en")}`;
  byId("previous").disabled = large.place === 0;
  byId("next").disabled = large.place >= grid.count - 1;
}

function showPick(clip) {
  const pick = pickOf(clip);
  for (const name of ["good", "bad"]) byId(name).ariaPressed = String(pick?.pick === name);
  byId("note").value = pick?.note || "";
}

/** The cells of a clip's details by name; none where they cannot be had. */
async function detailsOf(clip) {
  try {
    const number = details.fileAt(clip.position);
    const columns = await details.get(number);
    const row = clip.position - details.starts[number];
    return Object.fromEntries(Object.entries(columns).map(([name, column]) => [name, cell(column, row)]));
  } catch {
    tellOfMissing();
    byId("said").textContent = byId("notice").textContent;
    return null;
  }
}

async function showDetails(clip) {
  const known = await detailsOf(clip);
  if (!known || large.clip !== clip) return;
  let carried = clip.carried;
  if (known.whole) {
    const [prompt, reason, all] = known.whole;
    showTexts(clip, prompt, reason);
    carried = all;
  }
  showInput(clip, known);
  const facts = [
    ["Cost", clip.cost === null ? "nothing billed" : `${dollars(clip.cost)}${set.simulated ? " (simulated)" : ""}`],
    ["Attempts", clip.attempts],
    ["Asked for", [clip.seconds && `${clip.seconds} s`, clip.size, clip.model].filter(Boolean).join(", ")],
    ["Take", known.take > 1 ? known.take : null],
    ["Image", known.image],
    ["Made by", known.model_returned === clip.model ? null : known.model_returned],
    ["Account", [...new Set([known.account, known.provider].filter(Boolean))].join(", ")],
    ["Prediction", known.prediction_id],
    ["Provider says", known.provider_status],
    ["Submitted", moment(known.submitted)],
    ["Completed", moment(known.completed)],
    ["Stored", moment(clip.stored)],
    ["Waited", span(known.queue_s)],
    ["Rendered", span(known.render_s)],
    ["File", clip.video],
    ["Video", known.bytes === null ? null : [`${known.width}x${known.height}`, `${known.duration_s} s`, `${known.fps} frames/s`,
      known.video_codec, known.has_audio ? "with sound" : "no sound", `${(known.bytes / 1e6).toFixed(1)} MB`].join(", ")],
    ["Provenance", known.c2pa ? "C2PA attached" : null],
    ["Row", clip.row],
    ["Run", known.run_id],
    ...set.columns.map((name, i) => [name, carried[i]]),
  ];
  byId("facts").replaceChildren(...facts.filter(([, value]) => value !== null && value !== undefined && value !== "").flatMap(
    ([name, value]) => [element("dt", {}, name), element("dd", {}, String(value))]));
}

/** The image that the clip begins with, if a small copy of it lies beside the videos. */
function showInput(clip, known) {
  if (!known.image_sha256) return;
  const image = byId("input");
  image.onload = () => { if (large.clip === clip) byId("first-frame").hidden = false; };
  image.src = pathOf(`.images/${known.image_sha256}.jpg`);
}

function step(by) {
  const place = large.place + by;
  if (place >= 0 && place < grid.count) look(place);
}

function mark(name) {
  const pick = pickOf(large.clip);
  setPick(large.clip, { pick: pick?.pick === name ? "" : name });
  showPick(large.clip);
  redrawCard(placeOf(large.clip.position));
  byId("said").textContent = pickOf(large.clip)?.pick ? `marked ${name}` : "no longer marked";
}

function keepNote() {
  setPick(large.clip, { note: byId("note").value.trim() });
  redrawCard(placeOf(large.clip.position));
}

async function copyId() {
  const { id } = large.clip;
  try {
    await navigator.clipboard.writeText(id);
  } catch {
    copyOldFashioned(id); // a page that came over plain HTTP may not use the clipboard
  }
  byId("copy").textContent = "Copied";
  byId("said").textContent = `copied ${id}`;
  setTimeout(() => { byId("copy").textContent = "Copy id"; }, 1500);
}

function copyOldFashioned(text) {
  const field = element("textarea", { value: text, className: "unseen" });
  byId("large").append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
  byId("copy").focus();
}

function largeKeys(event) {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const writes = event.target.id === "note";
  const presses = event.target.tagName === "BUTTON";
  const does = {
    ArrowLeft: () => step(-1),
    ArrowRight: () => step(1),
    g: () => mark("good"),
    b: () => mark("bad"),
    " ": presses ? null : playOrPause,
  }[event.key];
  if (!does || writes) return;
  event.preventDefault();
  event.stopPropagation(); // the video's own controls would seek
  does();
}

function playOrPause() {
  const video = byId("video");
  if (video.paused) video.play().catch(() => {}); else video.pause();
}

function closed() {
  const { place } = large;
  large.place = large.clip = null;
  showVideo({ video: null });
  nameInAddress("");
  if (place !== null) goToCard(place);
}

/** A search that goes on may find clips before the one that is shown large. */
function largeFollows() {
  const place = large.clip ? placeOf(large.clip.position) : -1;
  if (place < 0) return;
  large.place = place;
  showPlace();
}

function nameInAddress(id) {
  history.replaceState(null, "", id ? `#${id}` : location.pathname + location.search);
}

/** Open the clip that the address names, as in gallery.html#clip-001. */
async function lookAtAddress() {
  const id = location.hash.slice(1);
  if (!id || large.clip?.id === id) return;
  try {
    const position = await positionOf(id);
    if (position !== null && placeOf(position) >= 0) look(placeOf(position));
  } catch {
    tellOfMissing();
  }
}
