"use strict";
// One panel of the chart. uPlot draws axes, lines and bars; every mark is an element of the page, so that it can be
// pointed at, reached by keys and read aloud.

const REACH = 30; // pixels within which the pointer finds a mark
const SHIFT = 0.012; // fraction of the axis by which pruners are kept apart
const BESIDE = 0.18; // fraction of a column by which the runs of a mean stand beside it, and over which they spread
const ROOM = 84; // pixels to the right of the lines, for their names
const APART = 15; // pixels between two names

// Draw a panel into `host` and return it; view: see view.js. `shown` is called with the mark that is pointed at, or
// with null, and with whether it is to be kept.
function panel(host, view, shown) {
  const { x, y, curves } = view;
  const named = view.joined && host.clientWidth > 520;
  const inks = () => Object.fromEntries(["ink", "muted", "grid"].map((name) => [name, variable(name)]));
  let ink = inks();
  const groups = []; // the marks of each point: its mean, then its runs
  curves.forEach((curve, k) => {
    const by = x.ticks ? 0 : (k - (curves.length - 1) / 2) * SHIFT * (x.reversed ? -1 : 1);
    for (const point of curve.points) {
      point.at = point.dense ? point.x : moved(point.x, by, x.range, x.log);
      if (point.dense && k > 0) continue; // it is the same for all
      const look = point.dense ? DATA.dense : curve.pruner;
      const aside = (n) => (x.ticks ? BESIDE * (1 + n / point.dots.length) : 0);
      const dots = point.dots.map((dot, n) => ({ ...dot, x: point.at + aside(n), look, mean: false }));
      groups.push([{ ...point, x: point.at, look, mean: true }, ...dots]);
    }
  });
  const marks = groups.flat();
  const axis = { font: "12px system-ui, sans-serif", labelFont: "12px system-ui, sans-serif", labelGap: 2 };
  const theme = {
    stroke: () => ink.ink,
    grid: { stroke: () => ink.grid, width: 1 },
    ticks: { stroke: () => ink.grid, size: 4 },
  };
  const longest = Math.max(0, ...(x.ticks ?? []).map((tick) => tick.length));
  const across = x.ticks ? spaced(x.ticks.length, host.clientWidth, longest) : null;
  const chart = new uPlot(
    {
      ...size(host, across),
      legend: { show: false },
      cursor: { show: false },
      padding: [10, named ? ROOM : 14, 0, 0],
      scales: {
        x: { time: false, distr: x.log ? 3 : 1, dir: x.reversed ? -1 : 1, range: x.range },
        y: { distr: y.log ? 3 : 1, range: y.range },
      },
      axes: [
        {
          ...axis,
          ...theme,
          label: x.title,
          labelSize: 20,
          size: across ? across.height : 30,
          rotate: across ? across.angle : 0,
          ...(x.ticks && {
            splits: () => across.shown,
            values: (_, ticks) => ticks.map((k) => x.ticks[k]),
            grid: { show: false },
          }),
          ...(x.log && {
            splits: ({ width }) => ladder(x.range, width - 60),
            values: (_, ticks) => ticks.map(String),
            filter: (_, ticks) => ticks,
          }),
        },
        {
          ...axis,
          ...theme,
          label: y.title,
          labelSize: 20,
          size: 46,
          ...(y.log && {
            splits: ({ height }) => ladder(y.range, height - 60),
            values: (_, ticks) => ticks.map(short),
            filter: (_, ticks) => ticks,
          }),
        },
      ],
      series: [
        {},
        ...curves.map((curve) => ({
          stroke: curve.pruner.colour,
          width: 2,
          points: { show: false },
          spanGaps: true,
          paths: view.joined ? undefined : () => null,
        })),
      ],
      hooks: { draw: [bars, place] },
    },
    uPlot.join(
      curves.map(({ points }) => {
        const sorted = [...points].sort((one, other) => one.at - other.at);
        return [sorted.map((point) => point.at), sorted.map((point) => point.y)];
      }),
    ),
    host,
  );

  function bars({ ctx, bbox }) {
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.lineWidth = 1.25 * devicePixelRatio;
    const to = (value, name) => chart.valToPos(value, name, true);
    for (const curve of curves)
      for (const point of curve.points.filter((point) => point.half > 0)) {
        const [low, high] = [point.y - point.half, point.y + point.half].map((end) =>
          to(y.log ? Math.max(end, y.range[0] / 10) : end, "y"),
        );
        const [at, cap] = [to(point.at, "x"), 3 * devicePixelRatio];
        ctx.strokeStyle = curve.pruner.colour;
        ctx.beginPath();
        for (const [fromX, fromY, toX, toY] of [
          [at, low, at, high],
          [at - cap, low, at + cap, low],
          [at - cap, high, at + cap, high],
        ]) {
          ctx.moveTo(fromX, fromY);
          ctx.lineTo(toX, toY);
        }
        ctx.stroke();
      }
    if (view.line && y.range[0] < view.line[0] && view.line[0] < y.range[1]) {
      const at = to(view.line[0], "y");
      ctx.strokeStyle = ctx.fillStyle = ink.muted;
      ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
      ctx.beginPath();
      ctx.moveTo(bbox.left, at);
      ctx.lineTo(bbox.left + bbox.width, at);
      ctx.stroke();
      ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
      const above = at < bbox.top + bbox.height / 2; // most curves begin above and end below
      ctx.textAlign = above ? "right" : "left";
      ctx.textBaseline = "bottom";
      ctx.fillText(view.line[1], bbox.left + (above ? bbox.width : 4 * devicePixelRatio), at - 2 * devicePixelRatio);
    }
    ctx.restore();
  }

  function place() {
    for (const mark of marks)
      Object.assign(mark.element.style, {
        left: `${chart.valToPos(mark.x, "x")}px`,
        top: `${chart.valToPos(mark.y, "y")}px`,
      });
    let free = -Infinity;
    for (const [curve, at] of names
      .map((curve) => [curve, chart.valToPos(curve.points.at(-1).y, "y")])
      .sort((one, other) => one[1] - other[1])) {
      free = Math.max(at, free + APART);
      curve.name.style.top = `${free}px`;
    }
  }

  const tip = element("div", { class: "tip", hidden: "" });
  const names = named ? curves : [];
  for (const curve of names) {
    curve.name = element("span", { class: "name", "aria-hidden": "true" }, symbol(curve.pruner), curve.pruner.title);
    chart.over.append(curve.name);
  }
  for (const mark of marks) {
    mark.element = element(
      "button",
      {
        type: "button",
        class: `mark ${mark.mean ? "mean" : "run"}${mark.hollow ? " hollow" : ""}`,
        tabindex: "-1",
        "aria-label": `${mark.label}: ${mark.words}`,
        focus: () => point(mark),
        blur: () => point(null),
        click: (event) => {
          event.stopPropagation();
          point(mark, true);
        },
      },
      symbol(mark.look),
    );
  }
  chart.over.append(
    ...[...marks].sort((one, other) => one.mean - other.mean).map((mark) => mark.element), // means above runs
    tip,
  );
  if (marks.length) groups[0][0].element.tabIndex = 0;
  place();

  function point(mark, keep = false) {
    for (const other of marks) other.element.classList.toggle("near", other === mark);
    tip.hidden = !mark;
    if (mark) {
      tip.replaceChildren(element("strong", {}, mark.label), element("span", {}, mark.words));
      const [left, top] = [chart.valToPos(mark.x, "x"), chart.valToPos(mark.y, "y")];
      const [wide, high] = [tip.offsetWidth, tip.offsetHeight];
      const edge = chart.over.offsetLeft; // the tip may lie over the axis
      tip.style.left = `${Math.max(-edge, Math.min(left - wide / 2, host.clientWidth - edge - wide - 4))}px`;
      tip.style.top = `${top - high - 12 < 0 ? top + 14 : top - high - 12}px`;
    }
    shown(mark, keep);
  }

  function nearest({ clientX, clientY }) {
    const box = chart.over.getBoundingClientRect();
    let [best, least] = [null, REACH];
    for (const mark of marks) {
      const away = Math.hypot(
        chart.valToPos(mark.x, "x") - (clientX - box.left),
        chart.valToPos(mark.y, "y") - (clientY - box.top),
      );
      if (away < least || (away === least && mark.mean)) [best, least] = [mark, away];
    }
    return best;
  }

  chart.over.addEventListener("pointermove", (event) => point(nearest(event)));
  chart.over.addEventListener("pointerleave", () => point(null));
  chart.over.addEventListener("click", (event) => point(nearest(event), true));
  chart.over.addEventListener("keydown", (event) => {
    const row = groups.findIndex((group) => group.some((mark) => mark.element === document.activeElement));
    if (row < 0) return;
    const column = groups[row].findIndex((mark) => mark.element === document.activeElement);
    const order = groups
      .map((_, k) => k)
      .sort((one, other) => (groups[one][0].x - groups[other][0].x) * (x.reversed ? -1 : 1));
    const place = order.indexOf(row);
    const to = {
      ArrowRight: [place + 1, 0],
      ArrowLeft: [place - 1, 0],
      Home: [0, 0],
      End: [order.length - 1, 0],
      ArrowDown: [place, column + 1],
      ArrowUp: [place, column - 1],
    }[event.key];
    if (event.key === "Escape") point(null, true);
    const next = to && groups[order[to[0]]]?.[to[1]];
    if (to) event.preventDefault();
    if (!next) return;
    document.activeElement.tabIndex = -1;
    next.element.tabIndex = 0;
    next.element.focus({ preventScroll: true });
  });

  return {
    repaint: () => {
      ink = inks();
      chart.redraw();
    },
    end: () => chart.destroy(),
  };
}
