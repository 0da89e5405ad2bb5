'use strict';
const { charts, image_series } = JSON.parse(document.getElementById('data').textContent);
const all = (selector) => [...document.querySelectorAll(selector)];
const hidden = new Set();

// ---- plotly comes packed

async function load() {
  const packed = document.getElementById('plotly');
  const bytes = Uint8Array.from(atob(packed.textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(
    new DecompressionStream('gzip'));
  const script = document.createElement('script');
  script.nonce = packed.nonce;
  script.textContent = await new Response(stream).text();
  document.head.append(script);
  packed.remove();
}

// ---- the charts take their colours from the style sheet

function colour(element, property) {
  return getComputedStyle(element)[property];
}

function draw() {
  const ink = colour(document.querySelector('.note'), 'color');
  const line = colour(document.querySelector('header'), 'borderBottomColor');
  const card = colour(document.querySelector('.scroll'), 'backgroundColor');
  const runs = all('[data-toggle] .swatch').map(
    (swatch) => colour(swatch, 'backgroundColor'));
  const axis = { gridcolor: line, linecolor: line, tickcolor: line };
  // a finger scrolls the page, a mouse zooms
  const dragmode = matchMedia('(pointer: coarse)').matches ? false : 'zoom';
  for (const div of all('.plot')) {
    const { data, layout } = charts[div.dataset.chart];
    Plotly.react(div, data.map((trace) => ({
      ...trace,
      visible: !hidden.has(trace.meta),
      line: { ...trace.line, color: runs[trace.meta] },
      marker: { ...trace.marker, color: runs[trace.meta] },
    })), {
      ...layout,
      dragmode,
      font: { color: ink, family: 'system-ui, sans-serif', size: 12 },
      paper_bgcolor: 'transparent',
      plot_bgcolor: 'transparent',
      hoverlabel: { bgcolor: card, bordercolor: line },
      xaxis: { ...layout.xaxis, ...axis },
      yaxis: { ...layout.yaxis, ...axis },
    }, { displayModeBar: false, responsive: true });
  }
  document.body.dataset.drawn = 'yes';
}

// ---- what the reader can turn

function toggle(button) {
  const run = Number(button.dataset.toggle);
  const shown = hidden.delete(run) || !hidden.add(run);
  button.setAttribute('aria-pressed', shown);
  for (const element of all(`[data-run="${run}"]`)) element.hidden = !shown;
  draw();
}

function switchTheme() {
  const root = document.documentElement;
  const now = root.dataset.theme
    || (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light');
  root.dataset.theme = now === 'dark' ? 'light' : 'dark';
  draw();
}

function show(slider) {
  const film = image_series[slider.dataset.film];
  const picture = document.querySelector(
    `[data-picture="${slider.dataset.film}"]`);
  picture.src = film.sources[slider.value];
  slider.parentElement.querySelector('output').value = film.steps[slider.value];
}

for (const slider of all('[data-film]')) {
  slider.addEventListener('input', () => show(slider));
}
load().then(() => {
  draw();
  for (const button of all('[data-toggle]')) {
    button.addEventListener('click', () => toggle(button));
  }
  document.getElementById('theme').addEventListener('click', switchTheme);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
});
