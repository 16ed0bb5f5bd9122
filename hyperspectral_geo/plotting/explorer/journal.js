// What people say of pairs: kept in memory, written as JSON lines.

class Journal {
  constructor(model, points) {
    this.header = { kind: "journal", format: 1, model, points };
    this.answers = [];
    this.saved = true;
  }

  /** An answer such as {kind: "closer", source, target}; one that says the same of the same pair is replaced. */
  add(answer, author, now = new Date()) {
    const time = now.toISOString().replace(/\.\d+Z$/, "Z");
    const key = Journal.#about(answer);
    this.answers = this.answers.filter((other) => Journal.#about(other) !== key);
    this.answers.push({ ...answer, ...(author.trim() && { author: author.trim() }), time });
    this.saved = false;
  }

  remove(at) {
    this.answers.splice(at, 1);
    this.saved = this.answers.length === 0;
  }

  /** One JSON object a line, the header first. */
  text() {
    return [this.header, ...this.answers].map((line) => `${JSON.stringify(line)}\n`).join("");
  }

  /** An answer in words. */
  static words({ kind, source, target, hops, anchor, near, far, both }) {
    if (kind === "nearer") return `${anchor}: nearer to ${near} than to ${far}`;
    const said = kind === "hops" ? `about ${hops} ${hops === 1 ? "hop" : "hops"}` : `should be ${kind}`;
    return `${source} ${both ? "↔" : "→"} ${target}: ${said}`;
  }

  static #about({ kind, source, target, anchor, near, far }) {
    return JSON.stringify(kind === "nearer" ? [anchor, near, far] : [source, target]);
  }
}
