// What a browser refines: the countdown, copying, whether the page is old, the chart of a provider.
// Without any of it the page is complete.
"use strict";
(() => {
  const staleAfterMs = 10_000;
  let heard = Date.now();
  const waiting = new Map(); // what came for a part in which somebody marks text, and since when
  let ahead = 0;
  document.documentElement.classList.add("js"); // there is something to press for

  const span = (s) => (s < 60 ? `${s} s` : `${Math.floor(s / 60)} min ${s % 60} s`);

  function isMarked(part) {
    const marked = window.getSelection();
    return Boolean(marked && !marked.isCollapsed && marked.containsNode(part, true));
  }

  // What the console sends is as old as its poll; when it sends it, it says what time it is.
  function measure(seconds) {
    if (seconds) ahead = Number(seconds) * 1000 - Date.now();
  }

  function tick() {
    const next = document.querySelector("[data-next]");
    if (next) {
      const interval = Number(next.dataset.interval);
      const left = Number(next.dataset.next) - (Date.now() + ahead) / 1000;
      next.textContent = `in ${span(Math.ceil(((left % interval) + interval) % interval))}`;
    }
    const stale = document.getElementById("stale");
    if (!stale) return;
    const old = (since) => span(Math.round((Date.now() - since) / 1000));
    const oldest = Math.min(...[...waiting.values()].map((one) => one.since));
    stale.hidden = Date.now() - Math.min(heard, oldest) < staleAfterMs;
    if (stale.hidden) return;
    stale.textContent =
      Date.now() - heard < staleAfterMs
        ? `What you marked is kept: that part of the page is ${old(oldest)} old.`
        : `This page is ${old(heard)} old: the console does not answer.`;
  }

  document.addEventListener("htmx:sseMessage", (message) => {
    heard = Date.now();
    if (message.detail && message.detail.type === "looked") measure(message.detail.data);
  });
  // What somebody is marking is not taken from under the hand.
  document.addEventListener("htmx:sseBeforeMessage", (message) => {
    heard = Date.now();
    const part = message.target;
    if (!isMarked(part)) return void waiting.delete(part);
    message.preventDefault();
    const since = waiting.has(part) ? waiting.get(part).since : Date.now();
    waiting.set(part, { since, html: message.detail.data });
  });
  // It comes as soon as nothing is marked there any more: the console sends only what changes.
  document.addEventListener("selectionchange", () => {
    for (const [part, { html }] of waiting) {
      if (isMarked(part)) continue;
      waiting.delete(part);
      htmx.swap(part, html, { swapStyle: "innerHTML", swapDelay: 0, settleDelay: 0 });
    }
    tick();
  });
  document.addEventListener("click", async (click) => {
    const button = click.target.closest("[data-copy]");
    if (!button) return;
    const text = document.getElementById(button.dataset.copy);
    if (navigator.clipboard) await navigator.clipboard.writeText(text.textContent);
    else if (!copySelected(text)) return; // it is marked now: a person can copy it
    button.textContent = "copied";
  });

  // Browsers have no clipboard for pages that came by plain HTTP from elsewhere.
  function copySelected(text) {
    window.getSelection().selectAllChildren(text);
    const done = document.execCommand("copy");
    if (done) window.getSelection().removeAllRanges();
    return done;
  }

  // Beside a chart there is no room for twenty digits.
  const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 4 });
  const short = (value) => (Math.abs(value) < 1e7 ? value.toLocaleString("en") : compact.format(value)).replace("-", "\u2212");

  async function draw(chart) {
    const answer = await fetch(chart.dataset.series);
    const found = await answer.json();
    if (!answer.ok || !found.balance.some((one) => one !== null)) return;
    // Asked for each time that it is drawn: the scheme of colours may change meanwhile.
    const colour = (name) => () => getComputedStyle(chart).getPropertyValue(name);
    const axis = {
      stroke: colour("--quiet"),
      grid: { stroke: colour("--line"), width: 1 },
      ticks: { stroke: colour("--line"), width: 1 },
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
          { label: "balance", value: (_plot, value) => (value === null ? "–" : value.toLocaleString("en").replace("-", "\u2212")), stroke: colour("--accent"), width: 2, spanGaps: false },
        ],
        axes: [{ ...axis, values: "{HH}:{mm}" }, { ...axis, size: (_plot, labels) => 24 + 7 * Math.max(0, ...(labels || []).map((one) => one.length)), values: (_plot, values) => values.map(short) }],
      },
      [found.at, found.balance],
      chart,
    );
    window.addEventListener("resize", () => plot.setSize(size()));
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plot.redraw());
  }

  document.addEventListener("DOMContentLoaded", () => {
    measure(document.getElementById("looked")?.textContent);
    const chart = document.getElementById("chart");
    if (chart && window.uPlot) draw(chart);
  });
  setInterval(tick, 500);
})();
