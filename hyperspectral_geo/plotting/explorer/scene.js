// What is to be seen: the view, what is selected, how points are coloured, and where each stands on the screen.

const RIM = 14; // pixels around the disk
const SHAPES = ["circle", "square", "triangle", "diamond"];
const COLOURS = 7;
const RINGS = 5; // colours of rings
const MOST_RINGS = 8;
const NO_GROUP = 255;

class Scene {
  constructor(atlas) {
    const n = atlas.points;
    Object.assign(this, {
      atlas, n, isometry: Disk.still, zoom: 1, offset: [0, 0], layout: "map", colour: "groups", direction: "onward",
      selected: null, paired: null, hovered: null, lit: null, hops: null, ringStep: 1, ringsShown: RINGS,
      disk: new Float32Array(2 * n), width: 0, height: 0,
    });
    const { places } = atlas, plain = atlas.groups.length === 0 ? "group-0" : "none";
    this.remoteness = Scene.#ranks(Float32Array.from({ length: n }, (_, i) => Math.hypot(places[i], places[n + i])));
    this.groupStyles = this.#stylesOf((i) => atlas.group[i], (kind) => ({
      name: kind === NO_GROUP ? "other" : atlas.groups[kind],
      colour: kind === NO_GROUP ? plain : `group-${kind % COLOURS}`,
      shape: kind === NO_GROUP ? "circle" : SHAPES[Math.floor(kind / COLOURS)],
    }));
    this.hopStyles = [];
    this.move();
  }

  get styles() {
    return this.colour === "hops" && this.hops ? this.hopStyles : this.groupStyles;
  }

  get radius() {
    return Math.max(Math.min(this.width, this.height) / 2 - RIM, 10);
  }

  resize(width, height) {
    Object.assign(this, { width, height });
  }

  select(i, options) {
    this.show({ selected: i, paired: null, ...options });
  }

  show(options) {
    Object.assign(this, options);
    this.#measure();
  }

  /** Disk coordinates of all points under the present view. */
  move(isometry = this.isometry) {
    this.isometry = isometry;
    if (this.layout === "rings" && this.hops) this.#standOnRings();
    else Disk.applyAll(isometry, this.atlas.places, this.disk);
  }

  /** Pixels of a place of the disk, and back. */
  toScreen(x, y) {
    const scale = this.radius * this.zoom;
    return [this.width / 2 + this.offset[0] + scale * x, this.height / 2 + this.offset[1] + scale * y];
  }

  toDisk(px, py) {
    const scale = this.radius * this.zoom;
    return [(px - this.width / 2 - this.offset[0]) / scale, (py - this.height / 2 - this.offset[1]) / scale];
  }

  placeOf(i) {
    return [this.disk[i], this.disk[this.n + i]];
  }

  /** The point nearest to a pixel, if one is within reach. */
  pick(px, py, reach) {
    const [x, y] = this.toDisk(px, py), most = reach / (this.radius * this.zoom);
    let best = null, least = most * most;
    for (let i = 0; i < this.n; i++) {
      const dx = this.disk[i] - x, dy = this.disk[this.n + i] - y, squared = dx * dx + dy * dy;
      if (squared < least) [best, least] = [i, squared];
    }
    return best;
  }

  /** Hops of the ring on which a point stands; one past the last for what is beyond. */
  ringOf(i) {
    return Math.min(Math.max(Math.round(this.hops[i] / this.ringStep), 1), this.ringsShown + 1);
  }

  ringName(ring) {
    const hops = Number((ring * this.ringStep).toPrecision(3));
    return `${hops} ${hops === 1 ? "hop" : "hops"}`;
  }

  /** 1, 2 or 5 times a power of ten, so that at most eight rings reach so far; whole where there is room for two. */
  static ringStep(far) {
    const least = Math.max(far / MOST_RINGS, 1e-9), power = 10 ** Math.floor(Math.log10(least));
    const steps = [1, 2, 5, 10].map((digit) => Number((digit * power).toPrecision(1)));
    const step = steps.find((size) => size >= 0.999 * least);
    return far >= 2 ? Math.max(step, 1) : step;
  }

  #measure() {
    const { atlas, selected } = this;
    this.hops = selected === null || !atlas.table ? null : this.#hopsAround(selected);
    if (this.hops) {
      const far = Scene.#quantile(this.hops.filter(Number.isFinite), 0.98);
      this.ringStep = Scene.ringStep(far);
      this.ringsShown = Math.max(Math.min(Math.round(far / this.ringStep), MOST_RINGS), 2);
      const shades = Math.max(this.ringsShown, RINGS);
      this.hopStyles = this.#stylesOf((i) => (i === selected ? 0 : this.ringOf(i)), (ring) => ({
        name: ring === 0 ? "itself" : ring > this.ringsShown ? "farther" : this.ringName(ring),
        colour: ring === 0 ? "chosen" : ring > this.ringsShown ? "none" : `ring-${Math.ceil((ring * RINGS) / shades)}`,
        shape: "circle",
      }));
    }
    this.move();
  }

  /** Hops of all concepts from or to one: for the nearest the model's own, for others estimates, never below these. */
  #hopsAround(i) {
    const { atlas, direction } = this, hops = atlas.table.all(i, direction), near = storedNearest(atlas, i, direction);
    // Where no way leads, a model of directions has learnt nothing.
    const reached = atlas.links && atlas.directed ? reachedBy(atlas, i, direction) : new Uint8Array(this.n).fill(1);
    const least = Math.max(0, ...near.filter(({ number }) => reached[number]).map((one) => one.hops));
    for (let j = 0; j < this.n; j++) hops[j] = reached[j] ? Math.max(hops[j], least) : Infinity;
    for (const one of near) if (reached[one.number]) hops[one.number] = one.hops;
    hops[i] = 0;
    return hops;
  }

  /** Around the selected point: radius by hops, in the order of directions on the map with it in the middle. */
  #standOnRings() {
    const { n, atlas, selected, disk, hops } = this;
    Disk.applyAll(Disk.shift(-atlas.places[selected], -atlas.places[n + selected]), atlas.places, disk);
    const most = (this.ringsShown + 0.75) * this.ringStep;
    const turns = Scene.#ranks(Float32Array.from({ length: n }, (_, i) => Math.atan2(disk[n + i], disk[i])));
    for (let i = 0; i < n; i++) {
      const radius = i === selected ? 0 : Math.min(Math.max(hops[i], 0.4 * this.ringStep) / most, 0.985);
      disk[i] = -radius * Math.cos(2 * Math.PI * turns[i]);
      disk[n + i] = -radius * Math.sin(2 * Math.PI * turns[i]);
    }
  }

  #stylesOf(kindOf, described) {
    const members = new Map();
    for (let i = 0; i < this.n; i++) {
      const kind = kindOf(i);
      if (!members.has(kind)) members.set(kind, []);
      members.get(kind).push(i);
    }
    const kinds = [...members.keys()].sort((a, b) => a - b);
    return kinds.map((kind) => ({ kind, members: members.get(kind), ...described(kind) }));
  }

  static #ranks(numbers) {
    const order = Uint32Array.from(numbers.keys()).sort((a, b) => numbers[a] - numbers[b]);
    const ranks = new Float32Array(numbers.length);
    order.forEach((i, place) => { ranks[i] = (place + 0.5) / numbers.length; });
    return ranks;
  }

  static #quantile(numbers, share) {
    return Float32Array.from(numbers).sort()[Math.floor(share * (numbers.length - 1))];
  }
}
