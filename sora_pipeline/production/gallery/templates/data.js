"use strict";
// What the page knows of the clips: files beside it, loaded as scripts when they are needed. A page that was opened from
// disk may load nothing else. Cells become text nodes, and paths are encoded part by part: nothing of them is ever markup.

const KEPT_FILES = 150;
const AT_ONCE = 6;

/** What a data file calls with its content. */
window.galleryData = (content) => { document.currentScript.content = content; };

function loadOnce(name) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = pathOf(name);
    script.onload = () => {
      script.remove();
      if (script.content) resolve(script.content); else reject(new Error(name));
    };
    script.onerror = () => { script.remove(); reject(new Error(name)); };
    document.head.append(script);
  });
}

async function load(name) {
  try {
    return await loadOnce(name);
  } catch {
    await new Promise((done) => setTimeout(done, 500));
    return loadOnce(name);
  }
}

/** Rows that lie in several files, by their position over all of them. */
class Rows {
  constructor(files) {
    this.files = files.map(([name, count, counts]) => ({ name, count, counts }));
    this.starts = [];
    let start = 0;
    for (const file of this.files) {
      this.starts.push(start);
      start += file.count;
    }
    this.loaded = new Map();
    this.loading = new Map();
  }

  /** The number of the file that has this position. */
  fileAt(position) {
    let low = 0;
    let high = this.files.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.starts[middle] <= position) low = middle; else high = middle - 1;
    }
    return low;
  }

  /** The columns of a file, if they are at hand. */
  atHand(number) {
    const columns = this.loaded.get(number);
    if (columns) {
      this.loaded.delete(number);
      this.loaded.set(number, columns); // the one used longest ago stands first
    }
    return columns;
  }

  /** The columns of a file. */
  get(number) {
    const columns = this.atHand(number);
    if (columns) return Promise.resolve(columns);
    if (!this.loading.has(number)) {
      this.loading.set(number, load(this.files[number].name).then((content) => {
        this.loaded.set(number, content);
        if (this.loaded.size > KEPT_FILES) this.loaded.delete(this.loaded.keys().next().value);
        return content;
      }).finally(() => this.loading.delete(number)));
    }
    return this.loading.get(number);
  }

  /** Call for the columns of these files, in order, while the next ones are being loaded; stops when `use` says false. */
  async each(numbers, use) {
    for (let i = 0; i < numbers.length; i += 1) {
      for (const ahead of numbers.slice(i, i + AT_ONCE)) this.get(ahead).catch(() => {});
      if (await use(await this.get(numbers[i]), numbers[i]) === false) return;
    }
  }
}

/** One cell of a column: a list of values, or its different values with a number for each row. */
function cell(column, row) {
  if (Array.isArray(column)) return column[row];
  return column.values[column.codes ? column.codes[row] : 0];
}

/** A row of a file of the list as an object. */
function clipAt(columns, row, position) {
  const clip = { position };
  for (const [name, column] of Object.entries(columns)) {
    if (name !== "carried") clip[name] = cell(column, row);
  }
  clip.carried = columns.carried.map((column) => cell(column, row));
  if (clip.video !== null && !clip.video.includes("/")) {
    const name = `${clip.id}/${clip.id}-${clip.video}`;
    clip.video = `videos/${name}.mp4`;
    if (clip.poster === true) clip.poster = `.posters/${name}.jpg`;
  }
  return clip;
}

/** A relative path as an address that leads nowhere but below this page. */
function pathOf(name) {
  return `./${name.split("/").map(encodeURIComponent).join("/")}`;
}

function statusWords(status) {
  return status.replace("_", " ");
}

function dollars(amount) {
  return amount === null ? "" : amount.toLocaleString("en", { style: "currency", currency: "USD" });
}

function moment(seconds) {
  return seconds === null ? null : `${new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

function span(seconds) {
  return seconds === null ? null : `${Math.round(seconds * 10) / 10} s`;
}

/** A new element with properties and children; text is only ever text. */
function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function byId(id) {
  return document.getElementById(id);
}

function tell(sentence) {
  byId("notice").textContent = sentence;
  byId("notice").hidden = !sentence;
}

function tellOfMissing() {
  tell("A part of this gallery could not be loaded: it was published anew or moved since this page was opened. Reload the page.");
}
