// A text field that offers names: the combobox with a listbox of the ARIA practices.

class Combobox {
  #found = [];
  #active = -1;

  /** `choose(i)` is called with the number of the name that was taken. */
  constructor(input, search, names, choose) {
    Object.assign(this, { input, search, names, choose });
    this.list = document.createElement("ul");
    this.list.id = `${input.id}-list`;
    this.list.hidden = true;
    this.list.setAttribute("role", "listbox");
    this.list.setAttribute("aria-label", "Names found");
    input.after(this.list);
    for (const [name, value] of [
      ["role", "combobox"], ["aria-autocomplete", "list"], ["aria-expanded", "false"], ["aria-controls", this.list.id],
    ]) input.setAttribute(name, value);
    input.addEventListener("input", () => this.#offer());
    input.addEventListener("focus", () => input.select());
    input.addEventListener("blur", () => this.close());
    input.addEventListener("keydown", (event) => this.#key(event));
    // Before the field loses the focus, which would close the list under the pointer.
    this.list.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      const option = event.target.closest("[role=option]");
      if (option) this.#take(Number(option.dataset.at));
    });
  }

  /** Shows a name, or none, in the field. */
  show(i) {
    this.input.value = i === null ? "" : this.names[i];
    this.close();
  }

  close() {
    this.list.hidden = true;
    this.#active = -1;
    this.input.setAttribute("aria-expanded", "false");
    this.input.removeAttribute("aria-activedescendant");
  }

  #offer() {
    this.#found = this.search.find(this.input.value);
    this.list.replaceChildren(...this.#found.map((i, at) => this.#option(i, at)));
    if (this.#found.length === 0) {
      if (this.input.value.trim() === "") return this.close();
      const none = document.createElement("li");
      none.className = "none";
      none.setAttribute("role", "presentation");
      none.textContent = "No name holds this";
      this.list.append(none);
    }
    this.list.hidden = false;
    this.input.setAttribute("aria-expanded", "true");
    return this.#activate(this.#found.length ? 0 : -1);
  }

  #option(i, at) {
    const option = document.createElement("li");
    option.id = `${this.list.id}-${at}`;
    option.dataset.at = String(at);
    option.className = "name";
    option.setAttribute("role", "option");
    option.textContent = this.names[i];
    return option;
  }

  #activate(at) {
    this.#active = at;
    [...this.list.children].forEach((option, place) => option.setAttribute("aria-selected", String(place === at)));
    if (at < 0) this.input.removeAttribute("aria-activedescendant");
    else {
      this.input.setAttribute("aria-activedescendant", `${this.list.id}-${at}`);
      this.list.children[at].scrollIntoView({ block: "nearest" });
    }
  }

  #take(at) {
    const i = this.#found[at];
    this.show(i);
    this.choose(i);
  }

  #key(event) {
    const count = this.#found.length, open = !this.list.hidden && count > 0;
    if (event.key === "ArrowDown" && !open) this.#offer();
    else if (event.key === "ArrowDown") this.#activate((this.#active + 1) % count);
    else if (event.key === "ArrowUp" && open) this.#activate((this.#active + count - 1) % count);
    else if (event.key === "Enter" && open && this.#active >= 0) this.#take(this.#active);
    else if (event.key === "Escape") this.close();
    else return;
    event.preventDefault();
  }
}
