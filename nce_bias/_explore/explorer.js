// Controls and a picture; every number comes from the kernel, by `shown`.

const NUMBERS = {
  bias_norm: "bias norm",
  cosine: "cosine",
  variance: "variance",
  coverage: "coverage",
  loss: "loss, nats",
};
const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 640;
const HEIGHT = 200;
const ROWS = [
  ["model", "p", "selection", "γ"],
  ["bias", "p − γ"],
];

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function drawn(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function slider(model, name, label, values) {
  const here = () => values.findIndex((value) => value >= model.get("controls")[name] - 1e-12);
  const input = element("input", {
    type: "range", min: 0, max: values.length - 1, step: 1, value: Math.max(0, here()),
    "aria-label": label, "data-control": name,
  });
  const value = element("output", {}, String(model.get("controls")[name]));
  input.addEventListener("input", () => {
    const chosen = values[Number(input.value)];
    value.textContent = String(chosen);
    change(model, name, chosen);
  });
  return element("label", {}, element("span", {}, label), input, value);
}

function choice(model, name, label, values) {
  const select = element("select", { "aria-label": label, "data-control": name });
  for (const value of values) select.append(element("option", { value }, value));
  select.value = model.get("controls")[name];
  select.addEventListener("change", () => change(model, name, select.value));
  return element("label", {}, element("span", {}, label), select, element("output"));
}

function change(model, name, value) {
  model.set("controls", { ...model.get("controls"), [name]: value });
  model.save_changes();
  for (const view of document.querySelectorAll(".nce-bias-explorer")) view.classList.add("waits");
}

function steps(low, high, by) {
  const count = Math.round((high - low) / by);
  return Array.from({ length: count + 1 }, (_, k) => Number((low + k * by).toFixed(6)));
}

function picture(shown) {
  const svg = drawn("svg", { viewBox: `0 0 ${WIDTH} ${2 * HEIGHT}`, role: "img" });
  svg.append(Object.assign(drawn("title", {}), { textContent: "p, γ and p − γ of the labels in sight" }));
  ROWS.forEach((row, place) => bars(svg, shown, row, place * HEIGHT));
  return svg;
}

function bars(svg, shown, row, top) {
  const names = row.filter((_, k) => k % 2 === 0);
  const words = row.filter((_, k) => k % 2 === 1);
  const all = names.flatMap((name) => shown[name]);
  const high = Math.max(...all, 1e-12);
  const low = Math.min(...all, 0);
  const left = 46;
  const inner = HEIGHT - 38;
  const y = (value) => top + 22 + (inner * (high - value)) / (high - low);
  const slot = (WIDTH - left - 6) / shown.labels.length;
  for (const value of [high, low]) {
    const text = drawn("text", { x: left - 4, y: y(value) + 3, class: "tick" });
    text.textContent = value.toPrecision(2);
    svg.append(text);
  }
  svg.append(drawn("line", { x1: left, x2: WIDTH - 6, y1: y(0), y2: y(0), class: "axis" }));
  names.forEach((name, k) => {
    const title = drawn("text", { x: left + 60 * k, y: top + 12, class: `word ${name}` });
    title.textContent = words[k];
    svg.append(title);
    shown[name].forEach((value, place) => {
      const width = (0.8 * slot) / names.length;
      const bar = drawn("rect", {
        x: left + slot * place + width * k, width, y: Math.min(y(value), y(0)),
        height: Math.abs(y(value) - y(0)), class: name,
      });
      const tip = drawn("title", {});
      tip.textContent = `label ${shown.labels[place]}: ${words[k]} = ${value.toPrecision(4)}`;
      bar.append(tip);
      svg.append(bar);
    });
  });
}

function render({ model, el }) {
  el.classList.add("nce-bias-explorer");
  // arrows move the slider, not the notebook
  el.addEventListener("keydown", (event) => event.stopPropagation());
  for (const [name, colour] of Object.entries(model.get("colours"))) el.style.setProperty(`--nce-${name}`, colour);
  const ranges = model.get("ranges");
  const controls = element("div", { class: "controls" },
    slider(model, "m", "negatives m", ranges.m),
    slider(model, "share", "share of the model", steps(0, 1, 0.05)),
    slider(model, "temperature", "its temperature", steps(0.25, 4, 0.25)),
    slider(model, "power", "power of popularity", steps(0, 1.5, 0.05)),
    choice(model, "sampler", "drawn", ranges.sampler),
    choice(model, "loss", "loss", ranges.loss),
  );
  if (ranges.inputs > 1) controls.append(slider(model, "x", "input", steps(0, ranges.inputs - 1, 1)));
  const numbers = element("dl");
  const figure = element("div", { class: "figure" });
  const code = element("code");
  const copy = element("button", { type: "button" }, "Copy");
  copy.addEventListener("click", () => navigator.clipboard.writeText(code.textContent));
  const note = element("p", { class: "note" });
  const problem = element("p", { class: "problem", role: "alert" });
  el.append(controls, problem, numbers, figure, element("div", { class: "code" }, code, copy), note);

  const show = () => {
    el.classList.remove("waits");
    const shown = model.get("shown");
    numbers.replaceChildren(...Object.entries(NUMBERS).map(([name, words]) => element("div", {},
      element("dt", {}, words),
      element("dd", { "data-number": name }, shown.numbers[name].toPrecision(4)))));
    figure.replaceChildren(picture(shown));
    code.textContent = shown.code;
    note.textContent = shown.note;
    problem.textContent = shown.problem;
  };
  model.on("change:shown", show);
  show();
  return () => model.off("change:shown", show);
}

export default { render };
