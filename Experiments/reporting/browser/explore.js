"use strict";
// The choice of what the chart shows: from the controls to the address and back, and what a mark stands for.

const BEGINNING = "#explore"; // of an address that keeps a choice
const form = document.getElementById("choice");
const panels = document.getElementById("panels");
const start = {
  task: DATA.start.tasks[0],
  beside: DATA.start.tasks[1] ?? ALL,
  setting: MAIN,
  figure: DATA.figures[0].key,
  compression: ALL,
  against: "density",
  pruners: DATA.pruners.map((pruner) => pruner.name),
};
let state = { ...start };
let drawn = [];
let kept = null; // the mark that stays shown

// Return the tasks that are shown.
function tasks() {
  return [state.task, state.beside].filter(Boolean).map((name) => byName(DATA.tasks, name));
}

// Return the names of the pruners that the tasks shown have a run of, with the chosen settings.
function present() {
  const here = tasks().flatMap(curves);
  return new Set(here.filter(({ setting }) => setting === state.setting).map(({ pruner }) => pruner.name));
}

// Return the options of each control, [value, words, whether there is nothing to show for it], for the tasks shown.
function options() {
  const here = tasks().flatMap(curves);
  const points = here.filter((curve) => curve.setting === state.setting).flatMap((curve) => curve.points);
  const pruned = [...new Set(points.map((k) => DATA.points.compression[k]))].filter((c) => Number(c) > 0);
  const there = (key) => key === LAYERS || points.some((k) => DATA.points[key][k] !== "");
  const names = DATA.tasks.map((task) => [task.name, task.title]);
  return {
    task: names,
    beside: [[ALL, "nothing"], ...names.filter(([name]) => name !== state.task)],
    setting: [...new Set(here.map((curve) => curve.setting))].map((setting) => [setting, setting]),
    figure: DATA.figures.map(({ key, title }) => [key, title, !there(key)]),
    compression: [
      [ALL, "all", state.figure === LAYERS],
      ...pruned.sort((one, other) => one - other).map((c) => [c, c]),
    ],
    against: DATA.axes.map(({ key, title }) => [key, title.split(" (")[0]]),
  };
}

// Change what cannot be, such as a setting that the tasks have no run of, to what can; return what was changed.
function settle() {
  const changed = [];
  for (const name of ["task", "beside", "setting", "figure", "compression", "against"]) {
    const values = options()
      [name].filter(([, , idle]) => !(idle && name === "compression"))
      .map(([value]) => value);
    if (values.includes(state[name])) continue;
    const [before, usual] = [
      state[name],
      name === "compression" && !values.includes(ALL) ? DATA.start.compression : start[name],
    ];
    state[name] = values.includes(usual) ? usual : (values[0] ?? ALL);
    if (name !== "beside" || before !== state.task)
      changed.push(`${name} ${before || "all"} to ${state[name] || "all"}`);
  }
  state.pruners = start.pruners.filter((name) => state.pruners.includes(name));
  return changed;
}

function toFragment() {
  const { pruners, ...rest } = state;
  const words = new URLSearchParams(rest);
  if (pruners.length < start.pruners.length)
    for (const name of pruners.length ? pruners : [""]) words.append("pruner", name);
  return `${BEGINNING}&${words}`;
}

// Take the choice from the address, if it has one; return what it names and the page lacks.
function fromFragment() {
  if (!location.hash.startsWith(`${BEGINNING}&`)) return null;
  const words = new URLSearchParams(location.hash.slice(BEGINNING.length + 1));
  state = { ...start, pruners: words.has("pruner") ? words.getAll("pruner").filter(Boolean) : start.pruners };
  for (const name of Object.keys(start)) if (words.has(name)) state[name] = words.get(name);
  const lacking = state.pruners.filter((name) => !start.pruners.includes(name)).map((name) => `pruner ${name} to none`);
  return [...lacking, ...settle()];
}

function draw() {
  for (const panel of drawn) panel.end();
  drawn = [];
  show(null, true);
  const there = present();
  const views = tasks().map((task) =>
    viewOf(task, { ...state, pruners: state.pruners.filter((name) => there.has(name)) }),
  );
  const points = views.flatMap((view) => view.curves.flatMap((curve) => curve.points));
  const heights = points.flatMap((point) => [point.y, ...point.dots.map((dot) => dot.y)]);
  const same = byName(DATA.figures, state.figure).shared; // one axis for both
  panels.replaceChildren(
    ...views.map((view) => {
      const unlike = view.task.unlike
        ? element("span", { class: "note" }, `other settings than the paper's: ${view.task.unlike}`)
        : "";
      view.host = element("div", { class: "chart" });
      return element(
        "figure",
        { "aria-label": `${view.task.title}: ${view.y.title}` },
        element("figcaption", {}, element("strong", {}, view.task.title), " ", unlike),
        view.host,
      );
    }),
  );
  for (const view of views) {
    const own = view.curves.flatMap((curve) => curve.points);
    if (!own.length) {
      view.host.append(element("p", { class: "empty" }, "No runs for this choice."));
      continue;
    }
    const mine = same ? heights : own.flatMap((point) => [point.y, ...point.dots.map((dot) => dot.y)]);
    view.y.range = room(mine, view.y.log);
    const wide = (same ? points : own).map((point) => point.x);
    view.x.range = view.x.ticks ? [-0.5, view.x.ticks.length - 0.5] : room([...wide, view.x.log ? 1 : 0], view.x.log);
    drawn.push(panel(view.host, view, show));
  }
  document.getElementById("marks").textContent = byName(DATA.figures, state.figure).note;
  list(views);
}

// Write the numbers of the chart as a table.
function list(views) {
  const folded = document.getElementById("numbers");
  const title = byName(DATA.figures, state.figure).title;
  const rows = views.flatMap((view) =>
    view.curves.flatMap(({ pruner, points }) =>
      points.map((point) => [
        view.task.title,
        state.setting,
        pruner.title,
        point.compression,
        point.layer ?? "",
        point.words,
      ]),
    ),
  );
  const header = ["task", "setting", "pruner", "compression", "layer", title];
  const layered = state.figure === LAYERS;
  const box = tabulated(
    "The numbers in the chart",
    header.filter((_, k) => layered || k !== 4),
    rows.map((row) => row.filter((_, k) => layered || k !== 4)),
  );
  folded.replaceChildren(folded.firstElementChild, box);
  if (folded.open) enhance(box.querySelector("table"));
}

// Show what a mark stands for; null: what was kept. `keep` keeps it, or lets go.
function show(mark, keep) {
  if (keep) kept = mark;
  const box = document.getElementById("shown");
  const shown = mark ?? kept;
  box.replaceChildren(
    ...(shown ? described(shown) : [element("p", { class: "empty" }, "Point at a mark to see its runs.")]),
  );
}

function described(mark) {
  const { runs } = DATA;
  const pairs = (rows) =>
    element(
      "dl",
      {},
      ...rows
        .filter(([, words]) => words)
        .map(([name, words]) => element("div", {}, element("dt", {}, name), element("dd", {}, words))),
    );
  const title = byName(DATA.figures, state.figure).title;
  if (mark.mean) {
    const list = mark.runs.map((run) => element("li", {}, element("code", {}, directory(run))));
    const behind = list.length
      ? [element("details", {}, element("summary", {}, `${list.length} runs`), element("ul", {}, ...list))]
      : [];
    return [
      element("h3", {}, mark.label),
      pairs([
        [title, mark.words],
        ["setting", state.setting],
      ]),
      ...behind,
    ];
  }
  const k = mark.run;
  const judged = DATA.tasks.find((task) => task.title === runs.task[k]).metric;
  const figures = DATA.figures
    .filter((figure) => runs.figures[figure.key] && (figure.key === "metric" || figure.title !== judged))
    .map((figure) => [figure.key === "metric" ? judged : figure.title.split(" (")[0], runs.figures[figure.key][k]]);
  const settings = Object.entries(DATA.configurations).map(([name, values]) => [
    name.replaceAll("_", " "),
    values[runs.configuration[k]],
  ]);
  return [
    element("h3", {}, mark.label),
    pairs([
      ["task", runs.task[k]],
      ["setting", runs.setting[k]],
      ["seed", runs.seed[k]],
      ...figures,
      ["density", runs.density[k]],
      ["directory", element("code", {}, directory(k))],
      ["commit", runs.commit[k]],
      ["data", runs.data[k]],
      ["data files (SHA-256)", runs.files[k]],
      ["versions", runs.versions[k]],
      ["machine", runs.machine[k]],
      ["retained against", runs.dense[k] && element("code", {}, runs.dense[k])],
      ["seconds", runs.seconds[k]],
    ]),
    element("details", {}, element("summary", {}, "All settings"), pairs(settings)),
  ];
}

// Show the state in the controls.
function fill() {
  for (const [name, choices] of Object.entries(options()))
    form.elements[name].replaceChildren(
      ...choices.map(([value, words, idle]) => {
        const option = element("option", { value }, words);
        option.disabled = Boolean(idle);
        option.selected = value === state[name];
        return option;
      }),
    );
  form.elements.against.disabled = state.compression !== ALL;
  const there = present();
  for (const box of document.querySelectorAll("#pruners input")) {
    box.checked = state.pruners.includes(box.value);
    box.parentElement.classList.toggle("idle", !there.has(box.value));
  }
}

function refresh(changed = []) {
  fill();
  draw();
  document.getElementById("status").textContent = changed.length
    ? `Changed, for there is no run of it here: ${changed.join(", ")}.`
    : "";
}

function begin() {
  document
    .getElementById("pruners")
    .append(
      ...DATA.pruners.map((pruner) =>
        element(
          "label",
          {},
          element("input", { type: "checkbox", name: "pruner", value: pruner.name }),
          symbol(pruner),
          pruner.title,
        ),
      ),
    );
  form.addEventListener("change", ({ target }) => {
    for (const name of Object.keys(options())) state[name] = form.elements[name].value;
    state.pruners = [...document.querySelectorAll("#pruners input:checked")].map((box) => box.value);
    const pair = target.name === "task" && DATA.pairs.find((names) => names.includes(state.task));
    if (pair) state.beside = pair.find((name) => name !== state.task) ?? state.beside;
    refresh(settle());
    history.replaceState(null, "", toFragment());
  });
  form.addEventListener("reset", (event) => {
    event.preventDefault();
    state = { ...start };
    refresh(settle());
    history.replaceState(null, "", BEGINNING);
  });
  const follow = () => {
    const lacking = fromFragment();
    if (lacking) document.getElementById("explore").scrollIntoView();
    refresh(lacking ?? []);
  };
  addEventListener("hashchange", () => location.hash.startsWith(`${BEGINNING}&`) && follow());
  for (const query of ["(prefers-color-scheme: dark)", "print"])
    matchMedia(query).addEventListener("change", () => drawn.forEach((panel) => panel.repaint()));
  let wide = panels.clientWidth;
  new ResizeObserver(() => {
    if (panels.clientWidth === wide) return;
    wide = panels.clientWidth;
    draw();
  }).observe(panels);
  follow();
}

if (form) begin(); // there is no chart without pruned runs
