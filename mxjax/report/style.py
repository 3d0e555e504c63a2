"""The look of the page.

One style sheet for wide and narrow screens, light and dark, and a short script for readings. Nothing depends on the
script; it only shows the values under the pointer.
"""

STYLE = """
:root { color-scheme: light dark; --page: #fbfbf9; --card: #fff; --ink: #1d1f24; --soft: #5b616b; --rule: #dfe0dc;
  --good: #14713c; --bad: #a8261d; --code: #f3f3ef;
  --c0: #0b62b8; --c1: #c2500a; --c2: #0a7d5a; --c3: #8a3fb0; --c4: #9a6b00; --c5: #b3245e; --c6: #3c7a89;
  --c7: #6b6b6b;
  --executor: #c2500a; --designer: #0b62b8; --both: #6b6b6b; --weave: #fff; }
@media (prefers-color-scheme: dark) { :root { --page: #14161a; --card: #1c1f25; --ink: #e8e9ec; --soft: #a3a9b4;
  --rule: #363b45; --good: #6fd095; --bad: #ff9488; --code: #15171c;
  --c0: #6fb1ff; --c1: #ff9d5c; --c2: #4fcf9f; --c3: #d29bf2; --c4: #e3b341; --c5: #ff85b0; --c6: #7cc7d8;
  --c7: #b4b4b4;
  --executor: #ff9d5c; --designer: #6fb1ff; --both: #b4b4b4; --weave: #1c1f25; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 24px 20px 64px; max-width: 1320px; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 2px; }
h2 { font-size: 1.25rem; margin: 40px 0 12px; padding-top: 12px; border-top: 1px solid var(--rule); }
h3 { font-size: 1rem; margin: 0 0 4px; } .wide + div h3 { margin-top: 18px; }
h4 { font-size: 1.05rem; margin: 0 0 10px; }
h5 { font-size: .95rem; margin: 0; }
small { color: var(--soft); font-size: .82rem; font-weight: 400; }
p { margin: 4px 0 10px; } .lead { color: var(--soft); } .absent { color: var(--soft); font-style: italic; }
svg text { fill: var(--soft); font: 12px system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; }
.defs { position: absolute; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(220px, 1fr)); gap: 12px; margin: 18px 0; }
.tile { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: 10px 14px; display: grid;
  align-content: start; }
.tile span { color: var(--soft); font-size: .85rem; }
.tile b { font-size: 1.35rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(200px, 1fr)); gap: 8px 20px; margin: 0 0 10px; }
.facts dt { color: var(--soft); font-size: .82rem; } .facts dd { margin: 0; } .facts .whole { grid-column: 1 / -1; }
code { font: 13px/1.45 ui-monospace, "SF Mono", Menlo, Consolas, monospace; white-space: pre-wrap; }
code span { display: inline-block; max-width: 100%; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 360px), 1fr)); gap: 14px; }
.chart { margin: 0; padding: 12px 12px 8px; background: var(--card); border: 1px solid var(--rule); border-radius: 8px;
  position: relative; }
.chart > svg { display: block; width: 100%; height: auto; touch-action: pan-y; }
.chart > svg text { font-variant-numeric: tabular-nums; }
.grid { stroke: var(--rule); stroke-width: 1; } .axis { font-size: 11px; } .stage-name { font-size: 11px; }
.stage { opacity: .07; } .band { opacity: .75; } .executor { fill: var(--executor); }
.designer { fill: var(--designer); } .designer-executor { fill: var(--both); }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.interval { stroke-width: 1.5; opacity: .6; } .mark { stroke: var(--card); stroke-width: 1; }
.s0 { stroke: var(--c0); fill: var(--c0); } .s1 { stroke: var(--c1); fill: var(--c1); }
.s2 { stroke: var(--c2); fill: var(--c2); } .s3 { stroke: var(--c3); fill: var(--c3); }
.s4 { stroke: var(--c4); fill: var(--c4); } .s5 { stroke: var(--c5); fill: var(--c5); }
.s6 { stroke: var(--c6); fill: var(--c6); } .s7 { stroke: var(--c7); fill: var(--c7); }
.s1 .line { stroke-dasharray: 7 4; } .s3 .line { stroke-dasharray: 2 4; } .s5 .line { stroke-dasharray: 9 3 2 3; }
.s6 .line { stroke-dasharray: 4 3; } .s7 .line { stroke-dasharray: 1 5; }
.f0 { fill: var(--c0); } .f1 { fill: var(--c1); } .f2 { fill: var(--c2); } .f3 { fill: var(--c3); }
.f4 { fill: var(--c4); } .f5 { fill: var(--c5); } .f6 { fill: var(--c6); } .f7 { fill: var(--c7); }
.weave { stroke: var(--weave); fill: none; stroke-width: 1.3; opacity: .75; }
.cursor { stroke: var(--ink); stroke-width: 1; opacity: .5; }
.keys { list-style: none; display: flex; flex-wrap: wrap; gap: 2px 16px; margin: 4px 0 0; padding: 0;
  font-size: .85rem; }
.keys svg { vertical-align: -2px; }
.keys b { font-variant-numeric: tabular-nums; }
.reading { position: absolute; pointer-events: none; z-index: 2; background: var(--ink); color: var(--page);
  border-radius: 6px; padding: 5px 9px; font-size: .8rem; line-height: 1.4; white-space: pre-wrap; top: 34px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; background: var(--card);
  border: 1px solid var(--rule); }
th, td { padding: 7px 9px; text-align: left; border-bottom: 1px solid var(--rule); white-space: nowrap;
  font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th { font-size: .8rem; color: var(--soft); font-weight: 600; white-space: normal; }
tr:last-child td { border-bottom: 0; }
td:last-child, td[data-label="when"], td[data-label="benchmark"] { white-space: normal; overflow-wrap: anywhere;
  min-width: 130px; }
td[data-label="when"] { min-width: 76px; }
.interval-cell { display: inline-flex; align-items: center; gap: 8px; }
.track { stroke: var(--soft); fill: none; opacity: .5; } .ci { fill: var(--c0); opacity: .55; }
.ci-mean { stroke: var(--ink); stroke-width: 1.8; }
pre { margin: 4px 0 8px; padding: 10px 12px; background: var(--code); border: 1px solid var(--rule); border-radius: 6px;
  white-space: pre-wrap; font: 13px/1.45 ui-monospace, "SF Mono", Menlo, Consolas, monospace;
  max-height: 480px; overflow-y: auto; }
.question { font-size: 14px; }
details { margin: 4px 0; } summary { cursor: pointer; padding: 3px 0; }
article { margin: 0 0 36px; }
.pair { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 16px; }
.episode { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: 14px 16px; }
.tree { list-style: none; margin: 0; padding: 0 0 0 16px; border-left: 2px solid var(--rule); }
.tree > li { position: relative; margin-bottom: 14px; }
.tree > li::before { content: ""; position: absolute; left: -16px; top: 12px; width: 11px; height: 2px;
  background: var(--rule); }
.calls { margin: 4px 0; padding-left: 26px; } .calls > li { margin-bottom: 6px; }
.peek { display: block; color: var(--soft); font: 13px/1.4 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
details[open] > summary .peek { display: none; }
.reply pre { border-left: 3px solid var(--c0); }
.badge { font-size: .85rem; font-weight: 600; white-space: nowrap; } .good { color: var(--good); }
.bad { color: var(--bad); }
.graph { margin: 6px 0 10px; }
.node rect { fill: var(--card); stroke: var(--soft); stroke-width: 1.3; }
.end rect { fill: var(--code); stroke: var(--rule); stroke-width: 1.3; }
.graph .name { fill: var(--ink); font-size: 13px; font-weight: 600; } .graph .kind { font-size: 11px; }
.edge { fill: none; stroke: var(--soft); stroke-width: 1.6; } .edge.conditional { stroke-dasharray: 7 4; }
.edge.loop { stroke-dasharray: 2 4; stroke: var(--c3); stroke-width: 2; stroke-linecap: round; }
.head { fill: var(--soft); } .head.loop { fill: var(--c3); }
footer { margin-top: 48px; color: var(--soft); font-size: .85rem; }
@media (max-width: 760px) {
  body { padding: 16px 14px 48px; } .pair { grid-template-columns: minmax(0, 1fr); }
  .episode { padding: 12px; }
  thead { position: absolute; left: -9999px; }
  table, tbody, tr, td { display: block; border: 0; background: none; }
  tr { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 0 22px;
    padding: 8px 12px; margin: 0 0 12px;
    background: var(--card); border: 1px solid var(--rule); border-radius: 8px; }
  td[data-label^="95"], td[data-label="failures"], td[data-label="when"], td[data-label="benchmark"] {
    grid-column: 1 / -1; }
  td, td[data-label] { display: flex; justify-content: space-between; gap: 10px; padding: 3px 0; border: 0;
    white-space: normal; overflow-wrap: anywhere; min-width: 0; text-align: right; }
  td::before { content: attr(data-label); color: var(--soft); text-align: left; flex: none; }
  .tiles { grid-template-columns: minmax(0, 1fr); } .facts { grid-template-columns: repeat(2, minmax(0, 1fr)); }
}
@media print { .chart, .episode, tr { break-inside: avoid; } }
"""

SCRIPT = """
"use strict";
for (const figure of document.querySelectorAll("[data-chart]")) {
  const chart = JSON.parse(figure.dataset.chart), svg = figure.querySelector("svg");
  const cursor = svg.querySelector(".cursor"), reading = document.createElement("div");
  const write = (v) => v === null ? "–" : chart.share ? (100 * v).toFixed(1) + "\u00a0%" : String(v);
  reading.className = "reading";
  reading.hidden = true;
  figure.append(reading);
  const show = (event) => {
    const box = svg.getBoundingClientRect(), x = (event.clientX - box.left) * svg.viewBox.baseVal.width / box.width;
    let at = 0;
    chart.x.forEach((value, i) => { if (Math.abs(value - x) < Math.abs(chart.x[at] - x)) at = i; });
    cursor.setAttribute("d", "M" + chart.x[at] + " 26V186");
    const lines = chart.series.map(([name, values]) => name + "  " + write(values[at]));
    reading.textContent = [chart.at[at], ...lines].join("\\n");
    reading.hidden = false;
    const left = chart.x[at] * box.width / svg.viewBox.baseVal.width;
    const right = box.width - left, room = Math.max(left, right);
    reading.style.maxWidth = room - 14 + "px";
    if (left < right) { reading.style.left = left + 26 + "px"; reading.style.right = "auto"; }
    else { reading.style.right = right + 26 + "px"; reading.style.left = "auto"; }
  };
  const hide = () => { reading.hidden = true; cursor.setAttribute("d", "M0 0"); };
  svg.addEventListener("pointermove", show);
  svg.addEventListener("pointerdown", show);
  svg.addEventListener("pointerleave", hide);
}
"""
