// Links of the graph, where the page carries them: those of a concept, and what they lead to.

/** Those of concept i go to targets[first[i]] … targets[first[i + 1] − 1]. */
async function unpackedLinks(packed) {
  if (!packed) return null;
  const [counts, gaps] = await Promise.all([inflated(packed.counts), inflated(packed.gaps)]);
  const each = joinedPlanes(counts, 4), targets = joinedPlanes(gaps, 4), first = new Uint32Array(each.length + 1);
  each.forEach((count, i) => {
    first[i + 1] = first[i] + count;
    for (let at = first[i] + 1; at < first[i + 1]; at++) targets[at] += targets[at - 1];
  });
  return { first, targets };
}

function linksOf(atlas, u) {
  return atlas.links === null ? [] : atlas.links.targets.subarray(atlas.links.first[u], atlas.links.first[u + 1]);
}

function isLink(atlas, u, v) {
  return linksOf(atlas, u).includes(v);
}

/** The same links, read backwards. */
function reversedLinks({ first, targets }) {
  const n = first.length - 1, back = { first: new Uint32Array(n + 1), targets: new Uint32Array(targets.length) };
  for (const target of targets) back.first[target + 1] += 1;
  for (let i = 0; i < n; i++) back.first[i + 1] += back.first[i];
  const at = back.first.slice();
  for (let i = 0; i < n; i++) {
    for (let k = first[i]; k < first[i + 1]; k++) back.targets[at[targets[k]]++] = i;
  }
  return back;
}

/** One byte a concept: 1 where a way over links leads from u (onward) or to u (backward). */
function reachedBy(atlas, u, direction) {
  if (direction === "backward") atlas.linksBack ??= reversedLinks(atlas.links);
  const { first, targets } = direction === "onward" ? atlas.links : atlas.linksBack;
  const reached = new Uint8Array(atlas.points), waiting = [u];
  reached[u] = 1;
  while (waiting.length) {
    const i = waiting.pop();
    for (let k = first[i]; k < first[i + 1]; k++) {
      if (!reached[targets[k]]) {
        reached[targets[k]] = 1;
        waiting.push(targets[k]);
      }
    }
  }
  return reached;
}
