// What a browser refines: the countdown, copying, whether the page is old, the chart of a provider.
// Without any of it the page is complete.
"use strict";
(() => {
  const staleAfterMs = 10_000;
  let heard = Date.now();
  let ahead = 0;
  // Only where the page came by TLS, or from this machine, is there a clipboard.
  if (navigator.clipboard) document.documentElement.classList.add("js");

  const span = (s) => (s < 60 ? `${s} s` : `${Math.floor(s / 60)} min ${s % 60} s`);

  function measure() {
    const next = document.querySelector("[data-next]");
    if (next) ahead = Number(next.dataset.now) * 1000 - Date.now();
  }

  function tick() {
    const next = document.querySelector("[data-next]");
    if (next) {
      const interval = Number(next.dataset.interval);
      const left = Number(next.dataset.next) - (Date.now() + ahead) / 1000;
      next.textContent = `in ${span(Math.ceil(((left % interval) + interval) % interval))}`;
    }
    const stale = document.getElementById("stale");
    const silent = Date.now() - heard;
    if (stale) {
      stale.hidden = silent < staleAfterMs;
      if (!stale.hidden) stale.textContent = `This page is ${span(Math.round(silent / 1000))} old: the console does not answer.`;
    }
  }

  document.addEventListener("htmx:sseMessage", (message) => {
    heard = Date.now();
    if (message.detail && message.detail.type === "verdict") measure();
  });
  // What somebody is marking is not taken from under the hand.
  document.addEventListener("htmx:sseBeforeMessage", (message) => {
    const marked = window.getSelection();
    if (marked && !marked.isCollapsed && message.target.contains(marked.anchorNode)) {
      heard = Date.now();
      message.preventDefault();
    }
  });
  document.addEventListener("click", async (click) => {
    const button = click.target.closest("[data-copy]");
    if (!button) return;
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = "copied";
  });

  async function draw(chart) {
    const answer = await fetch(chart.dataset.series);
    const found = await answer.json();
    if (!answer.ok || !found.at.length) return;
    const style = getComputedStyle(chart);
    const axis = {
      stroke: style.getPropertyValue("--quiet"),
      grid: { stroke: style.getPropertyValue("--line"), width: 1 },
      ticks: { stroke: style.getPropertyValue("--line"), width: 1 },
    };
    const size = () => ({ width: chart.clientWidth, height: 260 });
    const plot = new uPlot(
      {
        ...size(),
        // A day that ends now, in UTC as everything else on the page.
        scales: { x: { range: () => [Date.now() / 1000 - 86_400, Date.now() / 1000] } },
        tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
        series: [
          { label: "UTC", value: "{YYYY}-{MM}-{DD} {HH}:{mm}" },
          { label: "balance", value: (_plot, value) => (value === null ? "–" : value.toLocaleString("en")), stroke: style.getPropertyValue("--accent"), width: 2, spanGaps: false },
        ],
        axes: [{ ...axis, values: "{HH}:{mm}" }, { ...axis, size: 90, values: (_plot, values) => values.map((one) => one.toLocaleString("en")) }],
      },
      [found.at, found.balance],
      chart,
    );
    window.addEventListener("resize", () => plot.setSize(size()));
  }

  document.addEventListener("DOMContentLoaded", () => {
    measure();
    const chart = document.getElementById("chart");
    if (chart && window.uPlot) draw(chart);
  });
  setInterval(tick, 500);
})();
