// Begins: reads the set of files that this page names, and connects what can be pressed with what it does.

let set;
let lists;
let details;

function showAbout() {
  const billed = `${dollars(set.cost)} ${set.simulated ? "billed, simulated" : "billed"}`;
  byId("about").textContent = [set.manifest, set.changed && `as of ${set.changed}`, billed].filter(Boolean).join(" · ");
}

function showStatuses() {
  byId("statuses").replaceChildren(...[...TROUBLES].reverse().filter((status) => set.statuses[status]).map((status) => {
    const button = element("button", { type: "button", className: status, ariaPressed: "false" },
      `${set.statuses[status].toLocaleString("en")} ${statusWords(status)}`);
    button.onclick = () => {
      const chosen = !wanted.statuses.delete(status);
      if (chosen) wanted.statuses.add(status);
      button.ariaPressed = String(chosen);
      findFromTop();
    };
    return button;
  }));
}

function showChoices() {
  set.choices.forEach((values, column) => {
    if (!values || values.length < 2) return;
    const select = element("select", {}, element("option", { value: "" }, "all"),
      ...values.map(([value, count], i) => element("option", { value: String(i) }, `${value} (${count.toLocaleString("en")})`)));
    select.onchange = () => {
      if (select.value) wanted.choices.set(column, values[Number(select.value)][0]); else wanted.choices.delete(column);
      findFromTop();
    };
    byId("choices").append(element("label", {}, set.columns[column], " ", select));
  });
}

/** All cards have the form that most clips have, so that rows have no holes; where forms differ, a square. */
function shapeCards() {
  const counts = { tall: 0, wide: 0, even: 0 };
  for (const [size, count] of set.sizes) {
    const [width, height] = (size || "").split("x").map(Number);
    if (width && height) counts[width < height ? "tall" : width > height ? "wide" : "even"] += count;
  }
  const total = counts.tall + counts.wide + counts.even;
  byId("clips").className = Object.keys(counts).find((form) => counts[form] > 0.7 * total) || "even";
}

function findFromTop() {
  grid.section = 0;
  if (scrollY > byId("filters").offsetTop) byId("filters").scrollIntoView();
  find();
}

function connect() {
  let timer;
  byId("words").oninput = () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      wanted.words = byId("words").value.toLowerCase().split(/\s+/).filter(Boolean);
      findFromTop();
    }, 150);
  };
  byId("order").onchange = () => { wanted.order = byId("order").value; findFromTop(); };
  byId("picked").onchange = () => { wanted.picked = byId("picked").value; findFromTop(); };
  byId("filters").onsubmit = (event) => event.preventDefault();
  byId("download").onclick = downloadPicks;
  byId("clips").onclick = (event) => {
    const media = event.target.closest(".media[data-place]");
    if (media) { stopHover(media); look(Number(media.dataset.place)); }
  };
  byId("clips").onkeydown = moveAmongCards;
  byId("large").addEventListener("keydown", largeKeys, { capture: true });
  byId("large").onclose = closed;
  byId("close").onclick = () => byId("large").close();
  byId("previous").onclick = () => step(-1);
  byId("next").onclick = () => step(1);
  byId("copy").onclick = copyId;
  byId("good").onclick = () => mark("good");
  byId("bad").onclick = () => mark("bad");
  byId("note").oninput = keepNote;
  let waits = false;
  const soon = () => {
    if (waits) return;
    waits = true;
    requestAnimationFrame(() => { waits = false; draw(); });
  };
  addEventListener("scroll", soon, { passive: true });
  addEventListener("resize", soon);
  addEventListener("hashchange", lookAtAddress);
  addEventListener("storage", () => {
    readPicks();
    showPickCount();
    for (const place of shownCards.keys()) redrawCard(sectionStart() + place);
  });
}

async function begin() {
  byId("about").textContent = "";
  try {
    set = await load(document.body.dataset.set);
  } catch {
    tellOfMissing();
    return;
  }
  lists = new Rows(set.lists);
  details = new Rows(set.details);
  readPicks();
  showPickCount();
  showAbout();
  showStatuses();
  showChoices();
  shapeCards();
  connect();
  find();
  lookAtAddress();
}

begin();
