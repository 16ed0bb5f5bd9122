// What the colours stand for, and a switch for each: only these points, or all.

function legendLine(style, toggle) {
  const swatch = made("span", { className: `swatch ${style.shape}` });
  swatch.style.setProperty("--swatch", `var(--${style.colour})`);
  const name = made("span", { className: "name", textContent: style.name });
  const count = made("span", { className: "count", textContent: style.members.length.toLocaleString("en") });
  const button = made("button", { type: "button" }, swatch, name, count);
  button.addEventListener("click", () => toggle(style.kind));
  return made("li", {}, button);
}

function showLegend(scene, view) {
  const { styles } = scene, list = byId("legend");
  const press = () => list.querySelectorAll("button").forEach((button, at) => {
    button.setAttribute("aria-pressed", String(scene.lit === styles[at].kind));
  });
  list.hidden = styles.length < 2;
  list.replaceChildren(...styles.map((style) => legendLine(style, (kind) => {
    scene.lit = scene.lit === kind ? null : kind;
    press();
    view.refresh();
  })));
  press();
}
