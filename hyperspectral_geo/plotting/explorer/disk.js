// Geometry of the Poincaré disk.
// An isometry z → (αz + β)/(β̄z + ᾱ), |α|² − |β|² = 1, is the list [Re α, Im α, Re β, Im β].

const Disk = {
  still: [1, 0, 0, 0],

  /** z → (z + a)/(1 + āz), which takes 0 to a = x + iy. */
  shift(x, y) {
    const scale = 1 / Math.sqrt(Math.max(1 - x * x - y * y, 1e-12));
    return [scale, 0, x * scale, y * scale];
  },

  /** First f, then g; rounding is taken out, so that a long way stays an isometry. */
  after(g, f) {
    const [a, b, c, d] = g, [p, q, r, s] = f;
    const product = [
      a * p - b * q + c * r + d * s, a * q + b * p + d * r - c * s,
      a * r - b * s + c * p + d * q, a * s + b * r + d * p - c * q,
    ];
    const size = product[0] ** 2 + product[1] ** 2 - product[2] ** 2 - product[3] ** 2;
    return product.map((part) => part / Math.sqrt(Math.max(size, 1e-12)));
  },

  /** Takes the point (x, y) to (u, v). */
  carry(x, y, u, v) {
    return Disk.after(Disk.shift(u, v), Disk.shift(-x, -y));
  },

  apply([a, b, c, d], x, y) {
    const re = a * x - b * y + c, im = a * y + b * x + d;
    const dre = c * x + d * y + a, dim = c * y - d * x - b;
    const size = dre * dre + dim * dim;
    return [(re * dre + im * dim) / size, (im * dre - re * dim) / size];
  },

  /** All places, x's then y's, into another array of the same form. */
  applyAll([a, b, c, d], places, out) {
    const n = places.length / 2;
    for (let i = 0; i < n; i++) {
      const x = places[i], y = places[n + i];
      const re = a * x - b * y + c, im = a * y + b * x + d;
      const dre = c * x + d * y + a, dim = c * y - d * x - b;
      const size = dre * dre + dim * dim;
      out[i] = (re * dre + im * dim) / size;
      out[n + i] = (im * dre - re * dim) / size;
    }
    return out;
  },

  /** The part t of the way from the point to the centre. */
  towardsCentre(x, y, t) {
    const norm = Math.hypot(x, y);
    if (norm < 1e-9) return [0, 0];
    const factor = Math.tanh((1 - t) * Math.atanh(Math.min(norm, 0.999999))) / norm;
    return [x * factor, y * factor];
  },

  /** The nearest point not beyond the norm. */
  clamp(x, y, most) {
    const norm = Math.hypot(x, y);
    return norm <= most ? [x, y] : [(x * most) / norm, (y * most) / norm];
  },

  /** The circle of a geodesic, which meets the rim at right angles, and two angles on it; null where it is straight. */
  arc(x, y, u, v) {
    const area = x * v - y * u;
    if (Math.abs(area) < 1e-6) return null;
    const p = (1 + x * x + y * y) / 2, q = (1 + u * u + v * v) / 2;
    const cx = (p * v - q * y) / area, cy = (q * x - p * u) / area;
    const from = Math.atan2(y - cy, x - cx), to = Math.atan2(v - cy, u - cx);
    const turn = Math.atan2(Math.sin(to - from), Math.cos(to - from));
    return { cx, cy, radius: Math.hypot(x - cx, y - cy), from, to: from + turn };
  },
};
