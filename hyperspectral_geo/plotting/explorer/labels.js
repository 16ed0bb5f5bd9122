// Where names go: beside their points, never over each other, those that are asked for first.

const LABEL = { size: 12, height: 16, gap: 6, longest: 34 };

function shortened(text) {
  const line = text.replace(/\s+/gu, " ").trim();
  const letters = Array.from(line);
  return letters.length <= LABEL.longest ? line : `${letters.slice(0, LABEL.longest - 1).join("")}…`;
}

/** Boxes {x, y, width, height} of a label around a point: right, left, above, below. */
function* sidesOf(x, y, width, clear) {
  const { height, gap } = LABEL, room = gap + clear;
  yield { x: x + room, y: y - height / 2, width, height };
  yield { x: x - room - width, y: y - height / 2, width, height };
  yield { x: x - width / 2, y: y - room - height, width, height };
  yield { x: x - width / 2, y: y + room, width, height };
}

function overlap(a, b) {
  return a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
}

function inside(box, { width, height }) {
  return box.x >= 2 && box.y >= 2 && box.x + box.width <= width - 2 && box.y + box.height <= height - 2;
}

class LabelPlacer {
  #widths = new Map();

  /** Labels are {x, y, text, bold, clear}, the most important first; those that find room get a box. */
  placed(context, labels, bounds) {
    const taken = labels.filter((label) => label.clear > 2)
      .map(({ x, y, clear }) => ({ x: x - clear, y: y - clear, width: 2 * clear, height: 2 * clear }));
    const found = [];
    for (const label of labels) {
      const width = this.#width(context, label);
      for (const box of sidesOf(label.x, label.y, width, label.clear)) {
        if (!inside(box, bounds) || taken.some((other) => overlap(box, other))) continue;
        taken.push(box);
        found.push({ ...label, box });
        break;
      }
    }
    return found;
  }

  #width(context, { text, bold }) {
    const key = `${bold}${text}`;
    if (!this.#widths.has(key)) {
      if (this.#widths.size > 5000) this.#widths.clear();
      context.font = labelFont(bold);
      this.#widths.set(key, context.measureText(text).width + 4);
    }
    return this.#widths.get(key);
  }
}

function labelFont(bold) {
  return `${bold ? 600 : 400} ${LABEL.size}px system-ui, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif`;
}
