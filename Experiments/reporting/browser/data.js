"use strict";
// What all of the page's scripts share: its data, and how elements are made.

// Return content with its columns as plain lists (Experiments/reporting/embedded.py).
function unpacked(content) {
  if (content === null || typeof content !== "object" || Array.isArray(content)) return content;
  if (content.words && content.at) return content.at.map((k) => content.words[k]);
  return Object.fromEntries(Object.entries(content).map(([name, value]) => [name, unpacked(value)]));
}

const DATA = unpacked(JSON.parse(document.getElementById("embedded").textContent));

const byName = (list, name) => list.find((one) => one.name === name || one.key === name);

// Return a new element. A property that is a function listens to the event of its name; text is never read as HTML.
function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

// Return a pruner's mark as SVG in the text's colour.
function symbol(pruner) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "-0.75 -0.75 1.5 1.5");
  svg.setAttribute("aria-hidden", "true");
  svg.append(document.createElementNS(space, "path"));
  svg.firstChild.setAttribute("d", pruner.outline);
  svg.style.color = pruner.colour;
  return svg;
}
