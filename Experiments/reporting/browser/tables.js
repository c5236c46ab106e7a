"use strict";
// Tables that can be sorted and searched, and those that are drawn from the page's data when they are opened.

const MANY = 12; // with more rows a table can be searched

// Return a number from the beginning of a cell, or NaN: "1,234", "+0.45 to 0.5", "91.68 ± 0.45 (12)".
function number(cell) {
  return Number.parseFloat(cell.replaceAll(",", ""));
}

function sort(table, column, upward) {
  const rows = [...table.tBodies[0].rows];
  const words = new Map(rows.map((row) => [row, row.cells[column].textContent]));
  const blank = (row) => ["", "–"].includes(words.get(row));
  const numeric = rows.every((row) => blank(row) || !Number.isNaN(number(words.get(row))));
  const compare = (one, other) =>
    numeric
      ? number(words.get(one)) - number(words.get(other))
      : words.get(one).localeCompare(words.get(other), "en", { numeric: true });
  rows.sort((one, other) => blank(one) - blank(other) || (upward ? compare(one, other) : compare(other, one)));
  table.tBodies[0].append(...rows);
  [...table.tHead.rows[0].cells].forEach((cell, k) => {
    if (k === column) cell.setAttribute("aria-sort", upward ? "ascending" : "descending");
    else cell.removeAttribute("aria-sort");
  });
}

// Let a table be sorted by its headings, and searched if it is long.
function enhance(table) {
  if (table.dataset.enhanced) return;
  table.dataset.enhanced = "yes";
  [...table.tHead.rows[0].cells].forEach((cell, k) => {
    const upward = () => cell.getAttribute("aria-sort") !== "ascending";
    cell.replaceChildren(
      element("button", { type: "button", click: () => sort(table, k, upward()) }, cell.textContent),
    );
  });
  const rows = [...table.tBodies[0].rows];
  if (rows.length <= MANY) return;
  const found = element("output", {}, `${rows.length} rows`);
  const search = element("input", {
    type: "search",
    input: () => {
      const words = search.value.toLowerCase().split(/\s+/);
      for (const row of rows) row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
      found.value = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
    },
  });
  table
    .closest(".scroll")
    .before(element("p", { class: "search" }, element("label", {}, "Search ", search), " ", found));
}

// Return a table in a box that scrolls.
function tabulated(title, header, rows) {
  const head = element("tr", {}, ...header.map((cell) => element("th", { scope: "col" }, cell)));
  const body = rows.map((row) => element("tr", {}, ...row.map((cell) => element("td", {}, cell))));
  const table = element("table", {}, element("thead", {}, head), element("tbody", {}, ...body));
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title }, table);
}

function directory(run) {
  return `${DATA.runs.folder[run]}/${DATA.runs.name[run]}`;
}

const DRAWN = {
  // what is put into a folded element when it is opened, by its attribute
  runs: () => {
    const { task, setting, pruner, compression, seed, figure, commit } = DATA.runs;
    const rows = DATA.runs.name.map((_, k) => [
      directory(k),
      task[k],
      setting[k],
      pruner[k],
      compression[k],
      seed[k],
      figure[k],
      commit[k],
    ]);
    return tabulated("Every run", DATA.header, rows);
  },
  behind: ({ behind }) =>
    element(
      "ul",
      {},
      ...behind.split(" ").map((run) => element("li", {}, element("code", {}, directory(Number(run))))),
    ),
};

document.addEventListener(
  "toggle",
  ({ target }) => {
    for (const [name, draw] of Object.entries(DRAWN))
      if (name in target.dataset && target.open && !target.dataset.drawn) {
        target.dataset.drawn = "yes";
        target.querySelector(".scriptless")?.remove();
        target.append(draw(target.dataset));
      }
    for (const table of target.open ? target.querySelectorAll("table") : []) enhance(table);
  },
  true,
);
