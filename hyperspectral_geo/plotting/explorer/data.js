// The atlas out of its block: names, places, nearest concepts, and estimates of the hops between any two.

async function inflated(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Numbers whose lowest bytes come first, then all second ones. */
function joinedPlanes(bytes, width) {
  const count = bytes.length / width, out = new Uint32Array(count);
  for (let plane = 0; plane < width; plane++) {
    const shift = 8 * plane, start = plane * count;
    for (let i = 0; i < count; i++) out[i] |= bytes[start + i] << shift;
  }
  return out;
}

async function unpackedPlaces(text) {
  const whole = Int16Array.from(joinedPlanes(await inflated(text), 2));
  return Float32Array.from(whole, (coordinate) => coordinate / 32767);
}

/** Ranked tables, rank by rank: number and estimate of concept i's j-th nearest stand at j·n + i. */
async function unpackedNearest(packed, n, [low, high]) {
  if (!packed) return null;
  const [planes, rises] = await Promise.all([inflated(packed.numbers), inflated(packed.rises)]);
  const numbers = joinedPlanes(planes, 4), hops = new Float32Array(rises.length), steps = new Uint16Array(n);
  for (let at = 0; at < rises.length; at++) {
    steps[at % n] += rises[at];
    hops[at] = low + (steps[at % n] * (high - low)) / 255;
  }
  return { numbers, hops, ranks: rises.length / n };
}

/** Estimates of all hops by factors: tables column by column, number k·n + u. */
class HopTable {
  constructor(source, target, scales, n) {
    Object.assign(this, { source, target, scales, n });
  }

  between(u, v) {
    const { source, target, n } = this;
    return this.scales.reduce((sum, scale, k) => sum + scale * source[k * n + u] * target[k * n + v], 0);
  }

  /** n estimates, from u to all (onward) or from all to u (backward), 0 for the concept itself. */
  all(u, direction) {
    const [here, there] = direction === "onward" ? [this.source, this.target] : [this.target, this.source];
    const out = new Float32Array(this.n);
    this.scales.forEach((scale, k) => {
      const factor = scale * here[k * this.n + u], row = k * this.n;
      for (let v = 0; v < this.n; v++) out[v] += factor * there[row + v];
    });
    out[u] = 0;
    return out;
  }
}

/** Two parts: what the first picture needs, and a promise of the rest. */
async function unpackedAtlas(record) {
  const n = record.points;
  const [names, places, group] = await Promise.all([
    inflated(record.names).then((bytes) => JSON.parse(new TextDecoder().decode(bytes))),
    unpackedPlaces(record.places),
    inflated(record.group),
  ]);
  const atlas = { ...record, names, places, group, directed: record.backward !== null, table: null };
  const rest = async () => {
    const [onward, backward, links, source, target] = await Promise.all([
      unpackedNearest(record.onward, n, record.hopRange),
      unpackedNearest(record.backward, n, record.hopRange),
      unpackedLinks(record.links),
      inflated(record.source),
      inflated(record.target),
    ]);
    const table = new HopTable(new Int8Array(source.buffer), new Int8Array(target.buffer), record.scales, n);
    return Object.assign(atlas, { onward, backward: backward ?? onward, links, table });
  };
  return { atlas, rest };
}

/** The nearest concepts that the page carries, nearest first: number, hops as the model says them. */
function storedNearest(atlas, i, direction) {
  const { numbers, hops, ranks } = atlas[direction];
  return Array.from({ length: ranks }, (_, j) => j * atlas.points + i)
    .map((at) => ({ number: numbers[at], hops: hops[at] }));
}

/** Hops from u to v: the model's own number where the page carries it, else by factors. */
function estimatedHops(atlas, u, v) {
  if (u === v) return { hops: 0, exact: true };
  const found = storedNearest(atlas, u, "onward").find((near) => near.number === v)
    ?? (atlas.directed ? storedNearest(atlas, v, "backward").find((near) => near.number === u) : undefined);
  return found ? { hops: found.hops, exact: true } : { hops: Math.max(atlas.table.between(u, v), 0), exact: false };
}

function hopText({ hops, exact }) {
  return `${exact ? "" : "≈ "}${hops.toFixed(1)} ${hops.toFixed(1) === "1.0" ? "hop" : "hops"}`;
}
