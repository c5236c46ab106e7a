"use strict";
// Ends, ticks and sizes of a panel's axes.

// Return ends of an axis that has room for these values.
function room(values, log) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  if (log) {
    const factor = Math.max((high / low) ** 0.08, 1.2);
    return [low / factor, high * factor];
  }
  const margin = 0.08 * (high - low) || 0.05 * Math.abs(high) || 1;
  return [low - margin, high + margin];
}

// Return the ticks of a logarithmic axis of so many pixels: 1, 2, 5 of each power of ten, or fewer where it is narrow.
function ladder([low, high], pixels) {
  const decade = pixels / Math.log10(high / low);
  const steps = decade > 130 ? [1, 2, 5] : decade > 70 ? [1, 3] : [1];
  const each = Math.ceil(30 / decade);
  const found = [];
  for (let k = Math.floor(Math.log10(low)); k <= Math.log10(high); k++)
    for (const step of k % each === 0 ? steps : []) found.push(Number(`${step}e${k}`));
  return found.filter((value) => low <= value && value <= high);
}

// Move x by a fraction of the axis between two ends.
function moved(x, by, [low, high], log) {
  return log ? x * (high / low) ** by : x + by * (high - low);
}

function variable(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function short(value) {
  return value >= 1e5 || value < 1e-4 ? value.toExponential(0) : String(value);
}

function size(host, across) {
  return {
    width: host.clientWidth,
    height: Math.max(300, Math.min(400, 0.7 * host.clientWidth)) + (across ? across.height - 30 : 0),
  };
}

// Return which of `count` words have room below an axis, at which angle, and the pixels of height that they need.
function spaced(count, wide, longest) {
  const each = (wide - 80) / count;
  const flat = each > 7 * longest + 6;
  const every = flat ? 1 : Math.max(1, Math.ceil(16 / each));
  const shown = Array.from({ length: count }, (_, k) => k).filter((k) => k % every === 0);
  return { shown, angle: flat ? 0 : 55, height: flat ? 30 : Math.min(200, 26 + 6.2 * longest * 0.82) };
}
