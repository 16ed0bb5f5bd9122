// Everything brought together: unpack, paint, then listen.

const INNER = 0.35; // where a selected point is brought to, so that what surrounds it is seen too

function showAbout(atlas) {
  const directions = atlas.directed ? "both directions" : "one list for both directions";
  byId("about-page").textContent = `${atlas.points.toLocaleString("en")} concepts; the ${atlas.onward.ranks} nearest `
    + `of each as the model says them (${directions}). Numbers after ≈ and the rings are approximate: `
    + `${atlas.error.toFixed(2)} hops off on average.`;
}

/** What the layout and colour switches may be set to depends on what is selected. */
function allowSwitches(scene) {
  for (const input of document.querySelectorAll("[value=rings], [value=hops], [name=direction]")) {
    input.disabled = scene.hops === null;
  }
  byId("directions").hidden = !scene.atlas.directed;
}

/** What is done when a concept is chosen or paired, from wherever that comes. */
class Explorer {
  constructor(atlas, scene, drawing) {
    Object.assign(this, { atlas, scene, drawing });
    const clear = () => this.choose(null);
    this.view = new View(drawing.canvas, scene, {
      paint: (moving) => this.paint(moving), pick: (i, paired) => (paired ? this.pair(i) : this.choose(i)), clear,
    });
    const journal = new Journal(atlas.model, atlas.points);
    this.panel = new Panel(scene, new NameSearch(atlas.names, scene.remoteness), journal, {
      select: (i) => this.choose(i), pair: (i) => this.pair(i), clear,
      centre: () => this.view.recentre(scene.selected), moved: () => this.view.refresh(),
    });
  }

  paint(moving) {
    const { canvas } = this.drawing, focused = document.activeElement === canvas && canvas.matches(":focus-visible");
    this.drawing.paint(this.scene, this.panel.near, { moving, focused });
  }

  choose(i) {
    const { scene, panel, view } = this, hasGroups = this.atlas.groups.length > 0;
    if (i === null) scene.select(null, { layout: "map", colour: "groups" });
    else scene.select(i, hasGroups ? {} : { colour: "hops" });
    for (const name of ["layout", "colour"]) document.querySelector(`[name=${name}][value=${scene[name]}]`).checked = true;
    allowSwitches(scene);
    panel.showSelected();
    panel.showPair();
    showLegend(scene, view);
    if (i === null) view.refresh();
    else view.recentre(i, INNER);
  }

  pair(i) {
    const { scene } = this;
    if (scene.selected === null || i === scene.selected) return this.choose(i);
    scene.paired = i;
    this.panel.showPair();
    return this.view.refresh();
  }

  /** A switch above the map was set. */
  show(name, value) {
    const { scene, view } = this;
    if (name !== "direction") scene.lit = null;
    scene.offset = [0, 0];
    scene.show({ [name]: value });
    this.panel.showSelected(false);
    showLegend(scene, view);
    view.refresh();
  }
}

function listen(explorer) {
  const { atlas, scene, drawing, view, panel } = explorer;
  for (const input of document.querySelectorAll(".tools input[type=radio]")) {
    input.addEventListener("change", () => explorer.show(input.name, input.value));
  }
  byId("zoom-in").addEventListener("click", () => view.zoomBy(1.4));
  byId("zoom-out").addEventListener("click", () => view.zoomBy(1 / 1.4));
  byId("home").addEventListener("click", () => view.home());
  byId("colours").hidden = atlas.groups.length === 0;
  addEventListener("keydown", (event) => {
    const typing = event.target instanceof Element && event.target.closest("input, select, textarea");
    if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    byId("search").focus();
  });
  addEventListener("beforeunload", (event) => {
    if (!panel.journal.saved) event.preventDefault();
  });
  new ResizeObserver(() => {
    drawing.resize(scene);
    explorer.paint(false);
  }).observe(drawing.canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    drawing.readColours();
    view.refresh();
  });
}

async function start() {
  const { atlas, rest } = await unpackedAtlas(JSON.parse(byId("atlas").textContent));
  const scene = new Scene(atlas), drawing = new Drawing(byId("map"));
  drawing.resize(scene);
  drawing.paint(scene, [], { moving: false, focused: false });
  byId("waiting").remove();
  performance.mark("first picture");
  await rest();
  const explorer = new Explorer(atlas, scene, drawing);
  listen(explorer);
  explorer.choose(null);
  showAbout(atlas);
  document.documentElement.classList.add("ready");
  performance.mark("ready");
}

start().catch((error) => {
  const place = byId("waiting") ?? byId("selected-note");
  place.textContent = `This page could not be unpacked (${error.message}). `
    + "It needs a browser of 2023 or later, and a whole file.";
  document.documentElement.classList.add("failed");
});
