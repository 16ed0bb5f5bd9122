// The map under hand and keys: moved, zoomed, recentred.

const STILL = matchMedia("(prefers-reduced-motion: reduce)");
const FARTHEST = 12; // zoom
const REACH = 12; // pixels around the pointer in which a point is found
const STEP = 0.12; // of the disk's radius, a press of an arrow

class View {
  #pointers = new Map();
  #dragged = false;
  #frame = null;
  #animation = null;
  #settle = null;

  /** Calls `paint(moving)`, `pick(i, paired)`, `clear()`. */
  constructor(canvas, scene, calls) {
    Object.assign(this, { canvas, scene, ...calls });
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#up(event));
    canvas.addEventListener("pointercancel", (event) => this.#pointers.delete(event.pointerId));
    canvas.addEventListener("pointerleave", () => this.#hover(null));
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("focus", () => this.refresh());
    canvas.addEventListener("blur", () => this.refresh());
  }

  /** Paints once in the next frame, and once more in full when nothing has moved for a moment. */
  refresh(moving = false) {
    clearTimeout(this.#settle);
    if (moving) this.#settle = setTimeout(() => this.refresh(), 150);
    this.#frame ??= requestAnimationFrame(() => {
      this.#frame = null;
      this.paint(moving);
    });
  }

  home() {
    this.scene.offset = [0, 0];
    this.scene.zoom = 1;
    this.#stop();
    this.scene.move(Disk.still);
    this.refresh();
  }

  /** Brings a point along the geodesic to the middle, or as near to it as `norm`. */
  recentre(i, norm = 0) {
    const { scene } = this;
    this.#stop();
    if (scene.layout === "rings") {
      scene.offset = [0, 0];
      scene.move();
      return this.refresh();
    }
    const start = scene.isometry, [x, y] = scene.placeOf(i), began = performance.now();
    const away = Math.atanh(Math.min(Math.hypot(x, y), 0.999999)) || 1;
    const way = Math.max(1 - Math.atanh(norm) / away, 0);
    const step = (now) => {
      const t = STILL.matches ? 1 : Math.min((now - began) / 350, 1);
      scene.move(Disk.after(Disk.carry(x, y, ...Disk.towardsCentre(x, y, way * t * t * (3 - 2 * t))), start));
      this.refresh(t < 1);
      this.#animation = t < 1 ? requestAnimationFrame(step) : null;
    };
    return step(began);
  }

  /** The pixel stays over the same place; on the map by an isometry, among rings by an offset. */
  zoomBy(factor, px = this.scene.width / 2, py = this.scene.height / 2) {
    const { scene } = this, before = scene.toDisk(px, py);
    this.#stop();
    scene.zoom = Math.min(Math.max(scene.zoom * factor, 0.6), FARTHEST);
    this.#drag(before, [px, py]);
  }

  pan(dx, dy) {
    this.#stop();
    const { width, height, radius } = this.scene, middle = [width / 2, height / 2];
    this.#drag(this.scene.toDisk(...middle), [middle[0] - dx * radius, middle[1] - dy * radius]);
  }

  /** What was at a place of the disk comes to a pixel. */
  #drag(before, [px, py]) {
    const { scene } = this, after = scene.toDisk(px, py);
    if (scene.layout === "rings") {
      const scale = scene.radius * scene.zoom;
      scene.offset = scene.offset.map((at, axis) => at + (after[axis] - before[axis]) * scale);
    } else {
      const [from, to] = [before, after].map((place) => Disk.clamp(...place, 0.97));
      scene.move(Disk.after(Disk.carry(...from, ...to), scene.isometry));
    }
    this.refresh(true);
  }

  #stop() {
    cancelAnimationFrame(this.#animation);
    this.#animation = null;
  }

  #at(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  #down(event) {
    this.#pointers.set(event.pointerId, this.#at(event));
    this.canvas.setPointerCapture(event.pointerId);
    this.#dragged = this.#pointers.size > 1;
    this.#stop();
  }

  #move(event) {
    const now = this.#at(event), before = this.#pointers.get(event.pointerId);
    if (!before) return this.#hover(this.scene.pick(...now, REACH));
    if (this.#pointers.size === 2) return this.#pinch(event.pointerId, before, now);
    if (!this.#dragged && Math.hypot(now[0] - before[0], now[1] - before[1]) < 4) return undefined;
    this.#dragged = true;
    this.#drag(this.scene.toDisk(...before), now);
    return this.#pointers.set(event.pointerId, now);
  }

  #pinch(id, before, now) {
    const [other] = [...this.#pointers].filter(([key]) => key !== id).map(([, place]) => place);
    const apart = (place) => Math.hypot(place[0] - other[0], place[1] - other[1]);
    this.zoomBy(apart(now) / Math.max(apart(before), 1), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
    this.#pointers.set(id, now);
  }

  #up(event) {
    const place = this.#pointers.get(event.pointerId);
    this.#pointers.delete(event.pointerId);
    if (!place || this.#dragged) return;
    const found = this.scene.pick(...place, REACH);
    if (found !== null) this.pick(found, event.shiftKey);
  }

  #hover(i) {
    if (i === this.scene.hovered) return;
    this.scene.hovered = i;
    this.canvas.classList.toggle("over", i !== null);
    this.refresh();
  }

  #wheel(event) {
    event.preventDefault();
    this.zoomBy(Math.exp(-event.deltaY * (event.deltaMode === 1 ? 0.05 : 0.0015)), ...this.#at(event));
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { width, height } = this.scene;
    const acts = {
      ArrowLeft: () => this.pan(-STEP, 0), ArrowRight: () => this.pan(STEP, 0),
      ArrowUp: () => this.pan(0, -STEP), ArrowDown: () => this.pan(0, STEP),
      "+": () => this.zoomBy(1.3), "=": () => this.zoomBy(1.3),
      "-": () => this.zoomBy(1 / 1.3), _: () => this.zoomBy(1 / 1.3),
      0: () => this.home(), Escape: () => this.clear(),
      Enter: () => {
        const found = this.scene.pick(width / 2, height / 2, Math.hypot(width, height));
        if (found !== null) this.pick(found, event.shiftKey);
      },
    };
    if (!(event.key in acts)) return;
    event.preventDefault();
    acts[event.key]();
  }
}
