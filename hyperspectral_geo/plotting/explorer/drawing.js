// From a scene to pixels: the disk or the rings, arcs to what is near, points, names.

const MANY = 20000; // points from which names of passers-by are left out while the map moves

class Drawing {
  #labels = new LabelPlacer();

  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.readColours();
  }

  readColours() {
    const style = getComputedStyle(document.documentElement);
    const groups = Array.from({ length: COLOURS }, (_, i) => `group-${i}`);
    const rings = Array.from({ length: RINGS }, (_, i) => `ring-${i + 1}`);
    const names = ["paper", "disk", "ink", "soft", "rim", "line", "chosen", "paired", "none", ...groups, ...rings];
    this.colours = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  }

  resize(scene) {
    const { clientWidth: width, clientHeight: height } = this.canvas, ratio = Math.min(window.devicePixelRatio || 1, 2);
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    scene.resize(width, height);
  }

  /** The whole picture; names of points that nobody asked for may be left out while it moves. */
  paint(scene, near, { moving, focused }) {
    const { context, colours } = this;
    context.fillStyle = colours.paper;
    context.fillRect(0, 0, scene.width, scene.height);
    this.#ground(scene);
    if (scene.selected !== null) this.#arcs(scene, near);
    for (const style of scene.styles) this.#points(scene, style);
    this.#marks(scene, near);
    if (focused) this.#cross(scene);
    this.#names(scene, near, moving && scene.n > MANY);
  }

  #ground(scene) {
    const { context, colours } = this, [cx, cy] = scene.toScreen(0, 0), size = scene.radius * scene.zoom;
    context.lineWidth = 1;
    context.fillStyle = colours.disk;
    context.strokeStyle = colours.rim;
    context.beginPath();
    context.arc(cx, cy, size, 0, 2 * Math.PI);
    context.fill();
    context.stroke();
    if (scene.layout !== "rings" || !scene.hops) return;
    context.strokeStyle = colours.line;
    for (let ring = 1; ring <= scene.ringsShown; ring++) {
      context.beginPath();
      context.arc(cx, cy, (size * ring) / (scene.ringsShown + 0.75), 0, 2 * Math.PI);
      context.stroke();
    }
  }

  /** Geodesics of the map, straight lines among rings: links first, then what is nearest. */
  #arcs(scene, near) {
    const { context, colours } = this, from = scene.selected;
    context.lineWidth = 0.75;
    context.strokeStyle = colours.line;
    for (const to of linksOf(scene.atlas, from)) this.#geodesic(scene, from, to);
    context.lineWidth = 1.5;
    context.strokeStyle = colours.chosen;
    for (const { number } of near) this.#geodesic(scene, from, number);
    if (scene.paired === null) return;
    context.lineWidth = 2.5;
    context.strokeStyle = colours.paired;
    this.#geodesic(scene, from, scene.paired);
  }

  #geodesic(scene, from, to) {
    const { context } = this, [x, y] = scene.placeOf(from), [u, v] = scene.placeOf(to);
    const arc = scene.layout === "map" ? Disk.arc(x, y, u, v) : null;
    context.beginPath();
    if (arc === null || arc.radius > 200) {
      context.moveTo(...scene.toScreen(x, y));
      context.lineTo(...scene.toScreen(u, v));
    } else {
      const [cx, cy] = scene.toScreen(arc.cx, arc.cy);
      context.arc(cx, cy, arc.radius * scene.radius * scene.zoom, arc.from, arc.to, arc.to < arc.from);
    }
    context.stroke();
  }

  #points(scene, style) {
    const { context } = this, { disk, n, width, height } = scene, scale = scene.radius * scene.zoom;
    const [cx, cy] = scene.toScreen(0, 0), base = Drawing.size(scene), flat = scene.layout === "rings";
    context.fillStyle = this.colours[style.colour];
    context.globalAlpha = scene.lit === null || scene.lit === style.kind ? 0.9 : 0.12;
    context.beginPath();
    for (const i of style.members) {
      const x = disk[i], y = disk[n + i], px = cx + scale * x, py = cy + scale * y;
      if (px < -9 || py < -9 || px > width + 9 || py > height + 9) continue;
      const size = base * (flat ? 0.8 : 0.5 + 0.7 * (1 - x * x - y * y));
      Drawing.#shape(context, size < 1.3 ? "square" : style.shape, px, py, size);
    }
    context.fill();
    context.globalAlpha = 1;
  }

  /** Pixels of a point's radius in the middle of the map. */
  static size(scene) {
    const room = Math.min(Math.max(scene.radius / 280, 0.6), 1.2);
    return Math.min(14 * scene.n ** -0.2, 6) * room * Math.min(Math.sqrt(scene.zoom), 2.5);
  }

  static #shape(context, shape, x, y, size) {
    if (shape === "circle") {
      context.moveTo(x + size, y);
      context.arc(x, y, size, 0, 2 * Math.PI);
    } else if (shape === "square") {
      context.rect(x - 0.9 * size, y - 0.9 * size, 1.8 * size, 1.8 * size);
    } else {
      const down = shape === "diamond" ? 1.3 : 0.75;
      context.moveTo(x, y - 1.3 * size);
      context.lineTo(x + 1.15 * size, shape === "diamond" ? y : y + down * size);
      if (shape === "diamond") context.lineTo(x, y + down * size);
      context.lineTo(x - 1.15 * size, shape === "diamond" ? y : y + down * size);
      context.closePath();
    }
  }

  /** Circles around what is selected, paired, near and under the pointer. */
  #marks(scene, near) {
    const { context, colours } = this;
    const ring = (i, size, width, colour) => {
      context.beginPath();
      context.arc(...scene.toScreen(...scene.placeOf(i)), size, 0, 2 * Math.PI);
      context.lineWidth = width;
      context.strokeStyle = colour;
      context.stroke();
    };
    for (const { number } of near) ring(number, 5, 1.5, colours.chosen);
    if (scene.hovered !== null) ring(scene.hovered, 7, 1.5, colours.ink);
    if (scene.paired !== null) ring(scene.paired, 8, 3, colours.paired);
    if (scene.selected !== null) ring(scene.selected, 9, 3, colours.chosen);
  }

  /** Where Enter selects. */
  #cross({ width, height }) {
    const { context } = this;
    context.strokeStyle = this.colours.soft;
    context.lineWidth = 1;
    context.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(width / 2 + 4 * dx, height / 2 + 4 * dy);
      context.lineTo(width / 2 + 11 * dx, height / 2 + 11 * dy);
    }
    context.stroke();
  }

  #names(scene, near, fewer) {
    const { context, colours } = this;
    const marked = [scene.hovered, scene.selected, scene.paired].filter((i) => i !== null);
    const others = fewer || scene.lit !== null ? [] : this.#passersBy(scene, scene.selected === null ? 48 : 14);
    const label = (i, style) => {
      const [x, y] = scene.toScreen(...scene.placeOf(i));
      return [i, { x, y, text: shortened(scene.atlas.names[i]), ...style }];
    };
    // Of a concept that is there for several reasons the last entry, the most important one, stays.
    const labels = new Map([
      ...others.map((i) => label(i, { bold: false, clear: 0, soft: scene.selected !== null })),
      ...near.map(({ number }) => label(number, { bold: false, clear: 3, soft: false })),
      ...marked.map((i) => label(i, { bold: true, clear: 5, soft: false })),
    ]);
    const order = [...new Set([...marked, ...near.map(({ number }) => number), ...others])].map((i) => labels.get(i));
    context.textBaseline = "middle";
    context.lineJoin = "round";
    const placed = this.#labels.placed(context, [...this.#ringNames(scene), ...order], scene);
    for (const { text, bold, soft, box } of placed) {
      context.font = labelFont(bold);
      context.lineWidth = 3.5;
      context.strokeStyle = colours.disk;
      context.strokeText(text, box.x + 2, box.y + box.height / 2);
      context.fillStyle = soft ? colours.soft : colours.ink;
      context.fillText(text, box.x + 2, box.y + box.height / 2);
    }
  }

  /** "1 hop", "2 hops", … on the rings. */
  #ringNames(scene) {
    if (scene.layout !== "rings" || !scene.hops) return [];
    return Array.from({ length: scene.ringsShown }, (_, at) => {
      const [x, y] = scene.toScreen(0, -(at + 1) / (scene.ringsShown + 0.75));
      return { x: x - 20, y, text: scene.ringName(at + 1), bold: true, clear: 0, soft: false };
    });
  }

  /** Points near the middle of the view, and those that are near everything: one for each part of the picture. */
  #passersBy(scene, most) {
    const { disk, n, remoteness, width, height } = scene, best = new Map();
    for (let i = 0; i < n; i++) {
      const squared = disk[i] ** 2 + disk[n + i] ** 2;
      if (squared > 0.85) continue;
      const [x, y] = scene.toScreen(disk[i], disk[n + i]);
      if (x < 0 || y < 0 || x > width || y > height) continue;
      const cell = Math.floor(x / 120) * 1000 + Math.floor(y / 40);
      const weight = Math.atanh(Math.sqrt(squared)) + remoteness[i];
      if (!(best.get(cell)?.[1] <= weight)) best.set(cell, [i, weight]);
    }
    return [...best.values()].sort((a, b) => a[1] - b[1]).slice(0, most).map(([i]) => i);
  }
}
