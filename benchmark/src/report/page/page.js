"use strict";
// The page is complete without this script but for the radar and the pictures. Strings of the data reach the document
// as text only.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // Sorting: a click on a head sorts by its column, numbers first from the top; another click turns it round.
  // Missing numbers stay below either way.
  const key = (row, column) => row.cells[column].dataset.value ?? "";
  const sort = (table, head) => {
    const heads = all("thead [aria-sort]", table);
    const column = heads.indexOf(head);
    const named = head.dataset.kind === "name";
    const first = named ? "ascending" : "descending";
    const other = named ? "descending" : "ascending";
    const direction = head.getAttribute("aria-sort") === first ? other : first;
    const sign = direction === "ascending" ? 1 : -1;
    const body = table.tBodies[0];
    const compare = (a, b) => {
      const [x, y] = [key(a, column), key(b, column)];
      if (named) return sign * x.localeCompare(y, "en", { sensitivity: "base", numeric: true });
      if (x === "" || y === "") return (x === "") - (y === "");
      return sign * (Number(x) - Number(y));
    };
    body.append(...[...body.rows].sort(compare));
    for (const one of heads) one.setAttribute("aria-sort", one === head ? direction : "none");
  };
  for (const table of all("table.scores")) {
    for (const head of all("thead [aria-sort]", table)) {
      head.querySelector("button").addEventListener("click", () => sort(table, head));
    }
  }

  // Filter: by part of the name and by origin.
  const form = document.querySelector(".filter");
  form.hidden = false;
  const filter = () => {
    const wanted = form.elements.filter.value.trim().toLowerCase();
    const origin = form.elements.origin.value;
    const shows = (element) =>
      element.dataset.model.toLowerCase().includes(wanted) && (origin === "all" || origin === element.dataset.origin);
    for (const element of all("[data-model]")) element.hidden = !shows(element);
    const rows = all("#abilities tbody tr");
    const names = (of) => new Set(of.map((row) => row.dataset.model)).size; // one may have a row in two tables
    const [shown, total] = [names(rows.filter((row) => !row.hidden)), names(rows)];
    document.getElementById("shown").value = shown === total ? "" : `${shown} of ${total} models`;
  };
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  filter(); // browsers keep what was typed over a reload

  // Radar: one closed line for each ticked model. Where an ability is missing, the line is open.
  const svg = document.getElementById("radar");
  const [middleX, middleY, radius] = [220, 200, 150];
  const colours = 8;
  const make = (name, attributes, parent) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [attribute, value] of Object.entries(attributes)) element.setAttribute(attribute, value);
    parent.append(element);
    return element;
  };
  const point = (axis, share) => {
    const angle = (axis / data.abilities.length) * 2 * Math.PI - Math.PI / 2;
    return [middleX + Math.cos(angle) * radius * share, middleY + Math.sin(angle) * radius * share];
  };
  const path = (points) => points.map(([x, y]) => `${x.toFixed(2)},${y.toFixed(2)}`).join(" ");
  const axes = () => {
    for (const share of [0.25, 0.5, 0.75, 1]) {
      make("polygon", { class: "ring", points: path(data.abilities.map((_, axis) => point(axis, share))) }, svg);
    }
    data.abilities.forEach((ability, axis) => {
      const [x, y] = point(axis, 1);
      make("line", { class: "axis", x1: middleX, y1: middleY, x2: x, y2: y }, svg);
      const [textX, textY] = point(axis, 1.13);
      const anchor = Math.abs(textX - middleX) < 12 ? "middle" : textX > middleX ? "start" : "end";
      const label = make("text", { x: textX, y: textY + 4, "text-anchor": anchor }, svg);
      label.textContent = ability.code;
      make("title", {}, label).textContent = ability.title;
    });
  };
  const scale = (models) => {
    const highest = Math.max(0, ...models.flatMap((model) => model.abilities.filter((score) => score !== null)));
    return Math.max(0.2, Math.ceil(highest * 5 - 1e-9) / 5);
  };
  const line = (model, slot, top) => {
    const group = make("g", { "data-series": model.name }, svg);
    const colour = `var(--s${slot % colours})`;
    const again = slot >= colours || model.apart ? " again" : "";
    const points = model.abilities.map((score, axis) => (score === null ? null : point(axis, score / top)));
    if (points.every((at) => at)) {
      make("polygon", { class: "area", fill: colour, points: path(points) }, group);
    }
    points.forEach((from, axis) => {
      const to = points[(axis + 1) % points.length];
      if (from && to) {
        make("line", { class: `edge${again}`, stroke: colour, x1: from[0], y1: from[1], x2: to[0], y2: to[1] }, group);
      }
    });
    points.forEach((at, axis) => {
      if (!at) return;
      const dot = make("circle", { cx: at[0], cy: at[1], r: 3.2, fill: colour }, group);
      const ability = data.abilities[axis].code;
      make("title", {}, dot).textContent = `${model.name}: ${ability} ${model.abilities[axis].toFixed(3)}`;
    });
  };
  const legend = (model, slot) => {
    const item = document.createElement("li");
    const swatch = document.createElement("i");
    swatch.style.borderColor = `var(--s${slot % colours})`;
    swatch.className = slot >= colours || model.apart ? "again" : "";
    item.append(swatch, model.apart ? `${model.name} *` : model.name);
    return item;
  };
  // A model keeps its colour while it is ticked, whatever else is.
  const slots = new Map();
  const draw = () => {
    const boxes = all("#abilities tbody input");
    for (const box of boxes) {
      const index = Number(box.value);
      if (!box.checked) {
        slots.delete(index);
      } else if (!slots.has(index)) {
        let slot = 0;
        while ([...slots.values()].includes(slot)) slot += 1;
        slots.set(index, slot);
      }
      box.style.accentColor = slots.has(index) ? `var(--s${slots.get(index) % colours})` : "";
    }
    const drawn = [...slots].sort((a, b) => a[1] - b[1]).map(([index, slot]) => [data.models[index], slot]);
    svg.replaceChildren();
    axes();
    const top = scale(drawn.map(([model]) => model));
    for (const [model, slot] of drawn) line(model, slot, top);
    for (const share of [0.25, 0.5, 0.75, 1]) {
      make("text", { class: "tick", x: middleX + 4, y: middleY - radius * share + 10 }, svg).textContent =
        (top * share).toFixed(2);
    }
    document.getElementById("legend").replaceChildren(...drawn.map(([model, slot]) => legend(model, slot)));
  };
  svg.closest("figure").hidden = false;
  for (const box of all("#abilities tbody input")) {
    box.hidden = false;
    box.addEventListener("change", draw);
  }
  draw();

  // Pictures lie in the data once, however often they are shown, and are decoded when their list is opened.
  const fill = (details) => {
    for (const image of all("img[data-picture]", details)) {
      image.src = data.pictures[Number(image.dataset.picture)];
      image.removeAttribute("data-picture");
    }
  };
  for (const details of all("details")) {
    if (details.open) fill(details);
    details.addEventListener("toggle", () => details.open && fill(details));
  }
})();
