/* Series out of Prometheus text, numbers as people read them. Pure; joined in front of page.js. */
'use strict';

/* Prometheus text: [{labels, value}] by name. */
function parse(text) {
  const series = new Map();
  for (const row of text.split('\n')) {
    const hit = /^([a-zA-Z_]\w*)(?:\{(.*)\})? (\S+)$/.exec(row);
    if (!hit) continue;
    const labels = {};
    for (const [, name, value] of (hit[2] || '').matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) labels[name] = value;
    if (!series.has(hit[1])) series.set(hit[1], []);
    series.get(hit[1]).push({labels, value: hit[3] === '+Inf' ? Infinity : Number(hit[3])});
  }
  return series;
}
const sum = (series, name, fits = () => true) =>
  ((series && series.get(name)) || []).reduce((total, s) => total + (fits(s.labels) ? s.value : 0), 0);

/* {count, buckets: Map(bound → cumulative)} by the labels beside le. */
function histograms(series, name) {
  const found = new Map();
  for (const {labels, value} of (series && series.get(`${name}_bucket`)) || []) {
    const {le, ...rest} = labels, key = Object.values(rest).join(' ');
    if (!found.has(key)) found.set(key, {count: 0, buckets: new Map()});
    found.get(key).buckets.set(le === '+Inf' ? Infinity : Number(le), value);
    if (le === '+Inf') found.get(key).count = value;
  }
  return found;
}
function since(now, before) {
  if (!before) return now;
  return {count: now.count - before.count, buckets: new Map([...now.buckets].map(([le, n]) => [le, n - (before.buckets.get(le) || 0)]))};
}
function quantile(q, {count, buckets}) {
  let below = 0, from = 0;
  for (const [le, n] of [...buckets].sort((a, b) => a[0] - b[0])) {
    if (n >= q * count) return le === Infinity ? `> ${seconds(from)}` : seconds(from + (le - from) * (q * count - below) / (n - below || 1));
    below = n;
    from = le;
  }
  return '–';
}

/* --- words --- */

const number = n => n === null || n === undefined || Number.isNaN(n) ? '–' : n.toLocaleString('en', {maximumFractionDigits: n < 10 ? 1 : 0});
const percent = x => Number.isFinite(x) ? `${(100 * x).toFixed(x > 0.9995 || x === 0 ? 0 : 1)} %` : '–';
function bytes(n) {
  for (const unit of ['B', 'KiB', 'MiB', 'GiB']) {
    if (n < 1024) return `${n < 10 && unit !== 'B' ? n.toFixed(1) : Math.round(n)} ${unit}`;
    n /= 1024;
  }
  return `${n.toFixed(1)} TiB`;
}
const seconds = s => s < 0.001 ? `${Math.round(s * 1e6)} µs` : s < 1 ? `${(s * 1000).toFixed(s < 0.01 ? 1 : 0)} ms` : `${s.toFixed(1)} s`;
function span(s) {
  for (const [size, unit] of [[86400, 'd'], [3600, 'h'], [60, 'min']]) if (s >= size) return `${Math.floor(s / size)} ${unit}`;
  return `${Math.max(0, Math.round(s))} s`;
}
/* Raw JSON with blanks put in, and lines broken where a text breaks them; no byte of it is changed or lost. */
function pretty(text) {
  let out = '', depth = 0;
  const fresh = () => `\n${'  '.repeat(depth)}`;
  for (const [piece] of text.matchAll(/"(?:[^"\\]|\\.)*"|[^\s"{}[\],:]+|[{}[\],:]/gs)) {
    if (piece === '}' || piece === ']') depth--;
    if ((piece === '}' || piece === ']') && !/[{[]$/.test(out)) out += fresh();
    out += piece[0] === '"' ? piece.replace(/((?<!\\)(?:\\\\)*\\n)+/g, breaks => `${breaks}\n`) : piece;
    if (piece === '{' || piece === '[') depth++;
    if (piece === ',') out += fresh();
    if (piece === ':') out += ' ';
    if ((piece === '{' || piece === '[')) out += fresh();
  }
  return out.replace(/([{[])\s+([}\]])/g, '$1$2');
}

