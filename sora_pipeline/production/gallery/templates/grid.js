// The cards: only the rows on the screen, and one above and below, are in the page; empty space stands for the others.
// All cards have one height, so which rows those are is known without having seen the clips between.

const MAX_IN_SECTION = 10_000; // browsers draw no page that is endlessly high
const OUTSIDE_ROWS = 1;
const shownCards = new Map(); // place in the section -> its li
const grid = { found: null, count: 0, section: 0, rowHeight: 0, columns: 1 };

/** Say how many clips there are, while a search goes on. */
function showCount(count, done) {
  const of = `${set.total.toLocaleString("en")} ${set.total === 1 ? "clip" : "clips"}`;
  byId("found").textContent = `${done ? "" : "Searching … "}${count.toLocaleString("en")} of ${of}`;
  byId("clips").ariaBusy = String(!done);
}

/** Show the clips at these positions of the manifest; null: all of them. */
function showFound(found) {
  grid.found = found;
  grid.count = found ? found.length : set.total;
  grid.section = Math.min(grid.section, Math.max(0, Math.ceil(grid.count / MAX_IN_SECTION) - 1));
  drawAnew();
  largeFollows();
}

/** The position in the manifest of what stands at a place of what was found. */
function positionAt(place) {
  return grid.found ? grid.found[place] : place;
}

/** Where a position of the manifest stands in what was found; -1: it was not. */
function placeOf(position) {
  return grid.found ? grid.found.indexOf(position) : position;
}

function sectionStart() {
  return grid.section * MAX_IN_SECTION;
}

function sectionCount() {
  return Math.min(MAX_IN_SECTION, grid.count - sectionStart());
}

function showSection(section) {
  grid.section = section;
  drawAnew();
  byId("filters").scrollIntoView();
  byId("clips").focus({ preventScroll: true });
}

function drawAnew() {
  for (const [place, card] of shownCards) {
    if (place < sectionCount() && Number(card.dataset.position) === positionAt(sectionStart() + place)) {
      card.ariaSetSize = String(grid.count);
    } else {
      removeCard(place, card);
    }
  }
  document.querySelectorAll(".sections").forEach(showSectionButtons);
  draw();
}

function showSectionButtons(nav) {
  nav.hidden = grid.count <= MAX_IN_SECTION;
  const end = sectionStart() + sectionCount();
  const earlier = element("button", { type: "button", disabled: grid.section === 0 }, "Earlier");
  const later = element("button", { type: "button", disabled: end >= grid.count }, "Later");
  earlier.onclick = () => showSection(grid.section - 1);
  later.onclick = () => showSection(grid.section + 1);
  nav.replaceChildren(earlier, `${(sectionStart() + 1).toLocaleString("en")} to ${end.toLocaleString("en")}`, later);
}

/** How high a row is, and how many cards it has, as the style sheet and the reader's font size make it. */
function measure() {
  const list = byId("clips");
  if (!list.firstElementChild) {
    if (!sectionCount()) return;
    addCard(0);
  }
  const style = getComputedStyle(list);
  grid.columns = style.gridTemplateColumns.split(" ").length;
  grid.rowHeight = list.querySelector("li").getBoundingClientRect().height + parseFloat(style.rowGap);
}

function draw() {
  const list = byId("clips");
  measure();
  const count = sectionCount();
  if (!count || !grid.rowHeight) {
    list.style.paddingTop = list.style.paddingBottom = "0";
    return;
  }
  const rows = Math.ceil(count / grid.columns);
  const above = -list.getBoundingClientRect().top;
  const first = Math.min(Math.max(0, Math.floor(above / grid.rowHeight) - OUTSIDE_ROWS), rows - 1);
  const last = Math.max(first, Math.min(rows, Math.ceil((above + innerHeight) / grid.rowHeight) + OUTSIDE_ROWS) - 1);
  const [from, to] = [first * grid.columns, Math.min(count, (last + 1) * grid.columns)];
  for (const [place, card] of shownCards) if (place < from || place >= to) removeCard(place, card);
  for (let place = from; place < to; place += 1) if (!shownCards.has(place)) addCard(place);
  list.style.paddingTop = `${first * grid.rowHeight}px`;
  list.style.paddingBottom = `${(rows - last - 1) * grid.rowHeight}px`;
}

function addCard(place) {
  const card = element("li");
  shownCards.set(place, card);
  fillCard(card, place);
  const next = [...shownCards.keys()].filter((other) => other > place).reduce((one, other) => Math.min(one, other), Infinity);
  byId("clips").insertBefore(card, shownCards.get(next) || null);
}

function removeCard(place, card) {
  if (card.contains(document.activeElement)) byId("clips").focus({ preventScroll: true });
  stopHover(card);
  card.querySelector("img")?.removeAttribute("src"); // what it was about to load is loaded no more
  card.remove();
  shownCards.delete(place);
}

function fillCard(card, place) {
  const position = positionAt(sectionStart() + place);
  const number = lists.fileAt(position);
  const columns = lists.atHand(number);
  card.dataset.position = String(position);
  card.ariaSetSize = String(grid.count);
  card.ariaPosInSet = String(sectionStart() + place + 1);
  if (columns) {
    card.replaceChildren(...cardParts(clipAt(columns, position - lists.starts[number], position), sectionStart() + place));
    return;
  }
  card.replaceChildren(element("div", { className: "media" }), element("div", { className: "about" },
    element("h3", {}, "…"), element("p", { className: "prompt" }), element("p", { className: "facts" })));
  lists.get(number).then(() => { if (card.isConnected) fillCard(card, place); }, tellOfMissing);
}

function cardParts(clip, place) {
  const delivered = clip.video !== null;
  const media = element("button", { type: "button", className: "media" });
  media.dataset.place = place;
  media.append(element("span", { className: "unseen" }, delivered ? `${clip.id}, delivered` : `${clip.id}, `));
  if (typeof clip.poster === "string") {
    const poster = element("img", { alt: "", decoding: "async", src: pathOf(clip.poster) });
    poster.onerror = () => poster.remove();
    media.append(poster);
  }
  if (!delivered) {
    media.append(element("span", { className: `chip ${clip.status}` }, statusWords(clip.status)));
    media.append(element("span", { className: "why" }, [clip.kind, clip.reason].filter(Boolean).join(": ")));
  } else {
    if (typeof clip.poster !== "string") media.append(element("span", { className: "why" }, "no preview"));
    if (clip.seconds) media.append(element("span", { className: "seconds" }, `${clip.seconds} s`));
    hoverPlays(media, clip);
  }
  const heading = element("h3", {}, element("span", { title: clip.id }, clip.id));
  const pick = pickOf(clip);
  if (pick) heading.append(element("span", { className: `mark ${pick.pick}` }, pick.pick || "note"));
  return [media, element("div", { className: "about" }, heading,
    element("p", { className: "prompt" }, clip.prompt || ""), element("p", { className: "facts" }, factsLine(clip)))];
}

function factsLine(clip) {
  const parts = [dollars(clip.cost), clip.attempts > 1 ? `${clip.attempts} attempts` : "", clip.size, clip.model];
  if (clip.status === "invalid") parts.unshift(`row ${clip.row}`);
  return [...parts, ...clip.carried].filter(Boolean).join(" · ");
}

/** Write the card of a clip anew, where it is on the screen: something was said of it. */
function redrawCard(place) {
  const card = shownCards.get(place - sectionStart());
  if (card) fillCard(card, place - sectionStart());
}

/** Bring the card of a place onto the screen and give it the focus. */
function goToCard(place) {
  const section = Math.floor(place / MAX_IN_SECTION);
  if (section !== grid.section) {
    grid.section = section;
    drawAnew();
  }
  const inSection = place - sectionStart();
  if (!shownCards.get(inSection)) {
    const top = byId("clips").getBoundingClientRect().top + scrollY;
    scrollTo({ top: top + Math.floor(inSection / grid.columns) * grid.rowHeight - innerHeight / 3, behavior: "instant" });
    draw();
  }
  const card = shownCards.get(inSection);
  const button = card?.querySelector("button");
  if (!button) { byId("clips").focus({ preventScroll: true }); return; }
  button.focus();
  card.scrollIntoView({ block: "nearest", behavior: "instant" }); // its name as well, which is below the picture
}

/** Arrow keys go from card to card. */
function moveAmongCards(event) {
  const button = event.target.closest(".media[data-place]");
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -grid.columns, ArrowDown: grid.columns };
  if (!button || !(event.key in steps) || event.altKey || event.ctrlKey || event.metaKey) return;
  const place = Number(button.dataset.place) + steps[event.key];
  if (place < 0 || place >= grid.count) return;
  event.preventDefault();
  goToCard(place);
}

// ---- a video plays while the mouse rests on its poster

function hoverPlays(media, clip) {
  media.addEventListener("pointerenter", (event) => {
    if (event.pointerType !== "mouse" || matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    media.timer = setTimeout(() => {
      const video = element("video", { muted: true, loop: true, playsInline: true, src: pathOf(clip.video) });
      video.ariaHidden = "true";
      video.tabIndex = -1;
      video.play().catch(() => {});
      media.prepend(video);
    }, 150);
  });
  media.addEventListener("pointerleave", () => stopHover(media));
}

function stopHover(within) {
  const media = within.matches(".media") ? within : within.querySelector(".media");
  clearTimeout(media?.timer);
  const video = media?.querySelector("video");
  if (!video) return;
  video.removeAttribute("src");
  video.load(); // lets go of the file
  video.remove();
}
