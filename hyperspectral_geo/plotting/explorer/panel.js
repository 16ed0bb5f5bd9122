// Beside the map: what is selected and what is near it, a pair and what is said of it, the journal.

const FIRST = 8; // of the nearest that are listed before "Show more"
const MOST = 40;

const byId = (id) => document.getElementById(id);

function made(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

class Panel {
  near = [];
  #shown = FIRST;
  #third = null;

  /** Calls `select(i)`, `pair(i)`, `clear()`, `centre()`. */
  constructor(scene, search, journal, calls) {
    Object.assign(this, { scene, atlas: scene.atlas, journal, ...calls });
    const { names } = this.atlas;
    this.fields = {
      search: new Combobox(byId("search"), search, names, (i) => this.select(i)),
      to: new Combobox(byId("pair-to"), search, names, (i) => this.pair(i)),
      far: new Combobox(byId("far"), search, names, (i) => this.#compare(i)),
    };
    byId("both-row").hidden = !this.atlas.directed;
    byId("centre").addEventListener("click", () => this.centre());
    byId("clear").addEventListener("click", () => this.clear());
    byId("more").addEventListener("click", () => this.#more());
    for (const kind of ["closer", "farther"]) byId(kind).addEventListener("click", () => this.#answer({ kind }));
    byId("about").addEventListener("click", () => this.#answerHops());
    byId("nearer").addEventListener("click", () => this.#answerNearer());
    byId("save").addEventListener("click", () => this.#save());
    this.showJournal();
  }

  /** What is near the selected one: the page's own lists, then by factors as far as wanted. */
  #findNear() {
    const { scene, atlas } = this;
    if (scene.selected === null || !atlas.table) return [];
    const stored = storedNearest(atlas, scene.selected, scene.direction)
      .filter(({ number }) => Number.isFinite(scene.hops[number])).map((near) => ({ ...near, exact: true }));
    if (this.#shown <= stored.length) return stored.slice(0, this.#shown);
    const known = new Set([scene.selected, ...stored.map(({ number }) => number)]);
    const others = Uint32Array.from(scene.hops.keys()).filter((i) => !known.has(i) && Number.isFinite(scene.hops[i]))
      .sort((a, b) => scene.hops[a] - scene.hops[b]).subarray(0, this.#shown - stored.length);
    return [...stored, ...Array.from(others, (number) => ({ number, hops: scene.hops[number], exact: false }))];
  }

  showSelected(announced = true) {
    const { scene, atlas } = this, i = scene.selected, none = i === null;
    if (announced) this.#shown = FIRST;
    byId("selected-name").textContent = none ? "Nothing selected" : atlas.names[i];
    byId("selected-note").textContent = none ? this.#invitation() : this.#facts(i);
    for (const id of ["selected-tools", "nearest-title"]) byId(id).hidden = none;
    const near = this.near = this.#findNear(), onward = scene.direction === "onward";
    byId("nearest-title").textContent = `Nearest${atlas.directed ? (onward ? " to go to" : " to come from") : ""}`;
    byId("nearest").replaceChildren(...near.map((found) => this.#nearLine(found)));
    byId("more").hidden = none || !atlas.table || near.length >= Math.min(MOST, atlas.points - 1);
    byId("pair").hidden = none;
    byId("pair-from").textContent = none ? "" : atlas.names[i];
    if (!announced) return;
    this.fields.search.show(null);
    const heard = near.slice(0, 3).map((found) => `${atlas.names[found.number]}, ${hopText(found)}`).join("; ");
    this.say(none ? "Nothing selected." : `Selected ${atlas.names[i]}. ${heard ? `Nearest: ${heard}.` : ""}`);
  }

  showPair() {
    const { scene, atlas } = this, { selected: from, paired: to } = scene, none = from === null || to === null;
    this.fields.to.show(to);
    this.#compare(null);
    byId("pair-answers").hidden = none;
    byId("pair-estimate").textContent = none ? "" : this.#estimates(from, to);
    if (!none) this.say(`Paired with ${atlas.names[to]}. ${byId("pair-estimate").textContent}`);
  }

  showJournal() {
    const { answers } = this.journal;
    byId("answers").replaceChildren(...answers.map((answer, at) => this.#answerLine(answer, at)));
    byId("save").disabled = answers.length === 0;
    byId("save").textContent = answers.length ? `Save journal (${answers.length})` : "Save journal";
    byId("journal-note").hidden = answers.length > 0;
  }

  say(text) {
    byId("status").textContent = text;
  }

  #invitation() {
    const map = this.atlas.own ? "The map is the model itself, which has two dimensions."
      : "The map shows topics, not distances: what is quickly left and reached stands in the middle.";
    return `Click a point, or search. ${map} Hops are the model's own estimates.`;
  }

  #facts(i) {
    const { atlas } = this, facts = [];
    if (atlas.group[i] !== NO_GROUP) facts.push(atlas.groups[atlas.group[i]]);
    if (atlas.links) facts.push(`links to ${linksOf(atlas, i).length.toLocaleString("en")}`);
    return facts.join(" · ");
  }

  #estimates(from, to) {
    const there = hopText(estimatedHops(this.atlas, from, to));
    if (!this.atlas.directed) return `The model says ${there}.`;
    return `The model says ${there} there, ${hopText(estimatedHops(this.atlas, to, from))} back.`;
  }

  #nearLine({ number, hops, exact }) {
    const { atlas, scene } = this, name = atlas.names[number];
    const ends = scene.direction === "onward" ? [scene.selected, number] : [number, scene.selected];
    const go = made("button", { type: "button", className: "name", textContent: name });
    go.addEventListener("click", () => this.select(number));
    const pair = made("button", { type: "button", className: "small", textContent: "Pair" });
    pair.setAttribute("aria-label", `Pair with ${name}`);
    pair.addEventListener("click", () => this.pair(number));
    const said = made("span", { className: "hops", textContent: hopText({ hops, exact }) });
    const line = made("li", {}, go, said, pair);
    if (isLink(atlas, ...ends)) said.before(made("span", { className: "tag", textContent: "link" }));
    return line;
  }

  #answerLine(answer, at) {
    const words = Journal.words(answer);
    const remove = made("button", { type: "button", className: "small", textContent: "Remove" });
    remove.setAttribute("aria-label", `Remove: ${words}`);
    remove.addEventListener("click", () => {
      this.journal.remove(at);
      this.showJournal();
      this.say("Removed.");
      byId("journal-title").focus();
    });
    return made("li", {}, made("span", { className: "name", textContent: words }), remove);
  }

  #more() {
    const before = byId("nearest").children.length;
    this.#shown = Math.min(before + 16, MOST);
    this.showSelected(false);
    byId("nearest").children[before]?.querySelector("button").focus();
    this.moved();
  }

  #compare(i) {
    this.#third = i;
    this.fields.far.show(i);
    byId("nearer").disabled = i === null;
  }

  #answer({ kind, ...more }) {
    const { names, directed } = this.atlas, { selected, paired } = this.scene;
    const both = !directed || byId("both").checked ? { both: true } : {};
    this.#keep({ kind, source: names[selected], target: names[paired], ...more, ...both });
  }

  #answerHops() {
    const hops = byId("hops").valueAsNumber, good = Number.isInteger(hops) && hops >= 1 && hops <= 99;
    byId("hops").setAttribute("aria-invalid", String(!good));
    if (good) this.#answer({ kind: "hops", hops });
    else this.say("Hops: expected a whole number from 1 to 99.");
  }

  #answerNearer() {
    const { names } = this.atlas, { selected, paired } = this.scene;
    if (new Set([selected, paired, this.#third]).size < 3) return this.say("Expected three different concepts.");
    return this.#keep({ kind: "nearer", anchor: names[selected], near: names[paired], far: names[this.#third] });
  }

  #keep(answer) {
    this.journal.add({ ...answer, strength: Number(byId("strength").value) }, byId("author").value);
    this.showJournal();
    this.say(`Kept: ${Journal.words(answer)}. ${this.journal.answers.length} in the journal.`);
  }

  #save() {
    const file = new Blob([this.journal.text()], { type: "application/x-ndjson" });
    const link = made("a", { download: "journal.jsonl", href: URL.createObjectURL(file) });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    this.journal.saved = true;
    this.say("Journal saved.");
  }
}
