// Which names hold what is asked for.

/** Without accents and capitals. */
function folded(text) {
  return text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase().replaceAll("_", " ");
}

class NameSearch {
  /** Of names that match equally well those with a small remoteness come first. */
  constructor(names, remoteness) {
    Object.assign(this, { names, remoteness, keys: null });
  }

  /** Up to `most` numbers: the name itself first, then names that begin so, those with a word that does, the others. */
  find(query, most = 10) {
    const asked = folded(query.trim());
    if (asked === "") return [];
    this.keys ??= this.names.map(folded);
    const found = [];
    this.keys.forEach((key, i) => {
      const at = key.indexOf(asked);
      if (at >= 0) found.push([NameSearch.#kind(key, asked, at), i]);
    });
    found.sort((a, b) => a[0] - b[0] || this.remoteness[a[1]] - this.remoteness[b[1]]);
    return found.slice(0, most).map(([, i]) => i);
  }

  static #kind(key, asked, at) {
    if (at === 0) return key.length === asked.length ? 0 : 1;
    return key.includes(` ${asked}`) || key.includes(`(${asked}`) ? 2 : 3;
  }
}
