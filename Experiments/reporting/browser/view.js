"use strict";
// What a panel shows for a choice: an axis each way, and curves of points with the runs of each.

const [MAIN, LAYERS] = ["main", "layers"];
const ALL = ""; // compressions, or no task beside the first
const cells = (row) => [...row.cells].map((cell) => cell.textContent);
// Each task's table of densities by layer, as it is before anyone sorts it.
const layers = new Map(
  DATA.tasks.map((task) => [task, [...document.querySelectorAll(`[id="${task.layers}"] tr`)].map(cells)]),
);

// Return the curves of a task, one for each pruner with each settings; their points are numbers in DATA.points.
function curves(task) {
  const { series, settings, pruners, tasks } = DATA;
  return series.points
    .map((points, k) => ({ points, setting: settings[series.setting[k]], pruner: pruners[series.pruner[k]], k }))
    .filter(({ k }) => tasks[series.task[k]] === task);
}

// Return what a panel shows of a task; there are no curves if there is nothing. `draw` adds the axes' ranges.
function viewOf(task, state) {
  const figure = byName(DATA.figures, state.figure);
  const axis = byName(DATA.axes, state.against);
  const mine = curves(task).filter(
    ({ setting, pruner }) => setting === state.setting && state.pruners.includes(pruner.name),
  );
  const view = {
    task,
    figure,
    joined: !state.compression || figure.key === LAYERS,
    line: task.lines[figure.key],
    curves: [],
  };
  view.y = { title: figure.key === "metric" ? task.metric : figure.title, log: figure.log };
  if (figure.key === LAYERS) return ofLayers(view, mine, state);
  const columns = DATA.pruners.filter(({ name }) => state.pruners.includes(name));
  view.x = state.compression
    ? { title: `pruner, at compression ${state.compression}`, ticks: columns.map(({ title }) => title) }
    : { title: axis.title, log: axis.log, reversed: axis.log };
  for (const { points, pruner } of mine) {
    const xOf = (k) => (state.compression ? columns.indexOf(pruner) : Number.parseFloat(DATA.points[axis.key][k]));
    const shown = points
      .filter((k) => DATA.points[figure.key][k] !== "" && [ALL, DATA.points.compression[k]].includes(state.compression))
      .map((k) => pointOf(k, pruner, figure.key, xOf(k)))
      .filter((point) => (point.x > 0 || !view.x.log) && (point.y > 0 || !view.y.log)); // 0 is on no such axis
    if (shown.length) view.curves.push({ pruner, points: shown });
  }
  return view;
}

// Return a point: its mean in the tables' words, such as "91.68 ± 0.45 (12)" or "9.25 (9 to 9.5)", and its runs.
function pointOf(k, pruner, key, x) {
  const words = DATA.points[key][k];
  const [, mean, half] = /^(\S+)(?: ± (\S+))?/.exec(words);
  const c = DATA.points.compression[k];
  const label = c === "0" ? "dense" : `${pruner.title}, compression ${c}`;
  const figures = DATA.runs.figures[key];
  const dots = DATA.points.runs[k]
    .filter((run) => figures[run] !== "")
    .map((run) => ({
      run,
      y: Number(figures[run]),
      words: figures[run],
      label: `${label}, seed ${DATA.runs.seed[run]}`,
    }));
  return {
    x,
    y: Number(mean),
    half: Number(half ?? 0),
    words,
    label,
    dots,
    runs: DATA.points.runs[k],
    compression: c,
    dense: c === "0",
  };
}

// Fill a view with the densities of a task's layers, which are in their table: one column for each pruner.
function ofLayers(view, mine, state) {
  const [header, ...rows] = layers.get(view.task);
  view.x = { title: "layer", ticks: view.task.short };
  if (state.setting !== MAIN) return view;
  const numbers = rows
    .flatMap((row) => row.slice(1))
    .map(Number)
    .filter((value) => value > 0);
  const edge = Math.min(1, ...numbers) / 3;
  for (const { pruner } of mine) {
    const column = header.indexOf(`${pruner.title} ${state.compression}`);
    const points = rows.map((row, x) => ({
      x,
      y: Number(row[column]) || edge,
      half: 0,
      words: row[column],
      hollow: Number(row[column]) === 0,
      dots: [],
      label: `${pruner.title}, compression ${state.compression}, ${view.task.short[x]}`,
      layer: row[0],
      runs: [],
      compression: state.compression,
    }));
    const there = points.filter((point) => point.words !== undefined && point.words !== "–");
    if (there.length) view.curves.push({ pruner, points: there });
  }
  return view;
}
