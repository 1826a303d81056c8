"""The style of a report's HTML file: light, dark, printed; from a phone to a desk."""

from __future__ import annotations

__all__ = ["STYLE"]

# Pairs of colours have a contrast of at least 4.5:1 (WCAG 2.2, 1.4.3). Paper is light whatever the screen is.
STYLE = """
:root {
  color-scheme: light dark;
  --page: #f4f6f7; --panel: #ffffff; --ink: #17212b; --soft: #4b5965; --line: #c3ccd3;
  --accent: #0b5c78; --tint: #e9f1f4; --warn: #7a4a00; --warn-tint: #fdf3e0;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --page: #0f1418; --panel: #182027; --ink: #e8edf1; --soft: #a9b6c0; --line: #35424d;
    --accent: #7cc4df; --tint: #1c2a33; --warn: #f0c069; --warn-tint: #332a17;
  }
}
*, *::before, *::after { box-sizing: border-box; }
html { font: 100%/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
body { margin: 0; background: var(--page); color: var(--ink); overflow-wrap: anywhere; }
header, footer, .page { max-width: 82rem; margin: 0 auto; padding: 1rem; }
h1, h2, h3 { line-height: 1.25; margin: 0; }
h1 { font-size: 1.75rem; }
h2 { font-size: 1.3rem; }
h3 { font-size: 1.05rem; margin-top: 1.5rem; }
p, dl, ol, figure { margin: 0; padding: 0; }
.subtitle { color: var(--soft); margin-top: .25rem; }
.notice {
  margin: 0 0 1rem; padding: .5rem .75rem; border: 1px solid var(--warn); border-radius: 6px;
  background: var(--warn-tint); color: var(--warn); font-weight: 600;
}
footer .notice { margin: 0; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
main:focus { outline: none; }
.skip { position: absolute; left: -999px; }
.skip:focus { left: .5rem; top: .5rem; z-index: 3; padding: .75rem; background: var(--panel); color: var(--accent); }
.meta, .facts {
  display: grid;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 17rem), 1fr)); gap: .25rem 1.5rem;
}
.meta { margin-top: 1rem; font-size: .9rem; }
.facts { margin-top: 1rem; }
.meta div, .facts div { padding: .35rem 0; border-top: 1px solid var(--line); }
dt { color: var(--soft); font-size: .875rem; }
dd { margin: 0; }
nav { background: var(--panel); border: 1px solid var(--line); border-radius: 6px; padding: .75rem 1rem; }
nav h2 { font-size: 1rem; }
nav ol { list-style: none; margin-top: .25rem; }
nav a {
  display: flex; align-items: center; min-height: 44px;
  color: var(--accent); text-decoration: none; line-height: 1.25;
}
nav a:hover { text-decoration: underline; }
main { min-width: 0; }
section {
  margin-top: 1rem; padding: 1rem;
  background: var(--panel); border: 1px solid var(--line); border-radius: 6px;
}
section > p { margin-top: .75rem; max-width: 46rem; }
data { font-variant-numeric: tabular-nums; }
.missing { color: var(--soft); font-style: italic; }
.scroll { margin-top: 1rem; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .925rem; }
caption { text-align: left; font-weight: 600; padding: 0 0 .35rem; max-width: min(40rem, calc(100vw - 4rem)); }
th, td {
  padding: .35rem .6rem; text-align: left;
  vertical-align: top; border-bottom: 1px solid var(--line); overflow-wrap: normal;
}
thead th { background: var(--tint); vertical-align: bottom; }
tbody th { font-weight: 500; position: sticky; left: 0; background: var(--panel); }
td data { white-space: nowrap; }
.n { text-align: right; }
.long { min-width: 20rem; overflow-wrap: anywhere; }
.away { min-width: 8rem; }
figure { margin-top: 1.25rem; }
.card {
  display: inline-block; max-width: 100%; padding: .5rem;
  background: #ffffff; border: 1px solid var(--line); border-radius: 6px;
}
img { display: block; max-width: 100%; height: auto; }
figcaption { margin-top: .35rem; color: var(--soft); font-size: .925rem; max-width: 46rem; }
@media screen and (min-width: 64rem) {
  .page { display: grid; grid-template-columns: 16rem minmax(0, 1fr); gap: 1.5rem; align-items: start; }
  nav { position: sticky; top: 1rem; max-height: calc(100vh - 2rem); overflow-y: auto; }
  section { padding: 1.5rem; }
  section:first-child { margin-top: 0; }
}
@media screen and (max-width: 30rem) {
  header, footer, .page { padding: .75rem; }
  section { padding: .75rem; }
  h1 { font-size: 1.4rem; }
}
@media screen and (max-width: 44rem) {
  tbody th { max-width: 9rem; overflow-wrap: break-word; }
  tbody th.long { min-width: 8rem; overflow-wrap: anywhere; }
  .stacked thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  .stacked, .stacked tbody, .stacked caption, .stacked tr, .stacked th, .stacked td { display: block; width: auto; }
  .stacked th, .stacked td { border: 0; padding: .1rem 0; text-align: left; min-width: 0; max-width: none; }
  .stacked thead th { width: 1px; }
  .stacked tbody th { position: static; font-weight: 600; }
  .stacked td::before { content: attr(data-column) ": "; color: var(--soft); }
  .stacked tr { padding: .5rem 0; border-bottom: 1px solid var(--line); }
  .stacked td data { white-space: normal; }
}
@page { size: A4; margin: 16mm 14mm; }
@media print {
  :root { color-scheme: light; --page: #ffffff; --tint: #eef2f4; }
  html { font-size: 9.5pt; }
  header, footer, .page { max-width: none; padding: 0; }
  .skip { display: none; }
  nav { border: 0; padding: 0; margin-top: 1rem; }
  nav a { min-height: 0; padding: .1rem 0; color: var(--ink); }
  section { border: 0; padding: 0; margin-top: 2rem; }
  section:first-child { break-before: page; }
  footer { margin-top: 1.5rem; }
  h2, h3, caption { break-after: avoid; }
  p { orphans: 3; widows: 3; }
  .facts div, figure, tr { break-inside: avoid; }
  thead { display: table-header-group; }
  .scroll { overflow: visible; }
  tbody th { position: static; }
  table { font-size: 8pt; }
  th, td { padding: .2rem .35rem; }
  .long { min-width: 11rem; }
  .away { min-width: 4rem; }
  caption { max-width: none; }
  td data { white-space: normal; }
  .card { border: 0; padding: 0; }
  img { max-height: 215mm; width: auto; }
}
"""
