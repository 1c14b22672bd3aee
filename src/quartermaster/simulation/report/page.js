// Reading values off the plots, and hiding lines. The page is complete without it.
"use strict";
(() => {
  const plots = JSON.parse(document.getElementById("values").textContent);
  const LEFT = 76, RIGHT = 22, WIDTH = 640;
  const short = (v) => (Math.abs(v) >= 1000 ? Math.round(v).toLocaleString("en") : String(+v.toPrecision(4)));
  const time = (s) => (s >= 172800 ? short(s / 86400) + " days" : s >= 7200 ? short(s / 3600) + " h"
    : s >= 120 ? short(s / 60) + " min" : short(s) + " s");

  for (const svg of document.querySelectorAll("svg[data-plot]")) {
    const plot = plots[svg.dataset.plot], figure = svg.closest("figure"), cursor = svg.querySelector(".cursor");
    const [low, high, log] = plot.x, said = figure.querySelector(".reading");
    let share = 1;

    const read = (xs, ys, x) => {
      if (x < xs[0] - (high - low) / 50 || x > xs[xs.length - 1] + (high - low) / 50) return log && x > xs[0] ? "100" : "";
      let i = xs.findIndex((v) => v > x);
      if (i < 0) i = xs.length;
      return short(ys[Math.max(i - 1, 0)]);
    };
    const show = () => {
      const x = log ? low * (high / low) ** share : low + (high - low) * share, at = LEFT + share * (WIDTH - LEFT - RIGHT);
      cursor.setAttribute("x1", at);
      cursor.setAttribute("x2", at);
      cursor.setAttribute("visibility", "visible");
      said.textContent = log ? "at " + time(x) : plot.unit + ": " + short(x);
      for (const [number, xs, ys] of plot.lines)
        figure.querySelector(`output[data-line="${number}"]`).textContent = read(xs, ys, x);
    };
    const hide = () => {
      cursor.setAttribute("visibility", "hidden");
      said.textContent = "";
      for (const output of figure.querySelectorAll("output")) output.textContent = "";
    };
    const point = (event) => {
      const box = svg.getBoundingClientRect(), x = ((event.clientX - box.left) / box.width) * WIDTH;
      share = Math.min(1, Math.max(0, (x - LEFT) / (WIDTH - LEFT - RIGHT)));
      show();
    };
    svg.addEventListener("pointermove", point);
    svg.addEventListener("pointerdown", point);
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -0.02, ArrowRight: 0.02, PageDown: -0.1, PageUp: 0.1, Home: -1, End: 1 }[event.key];
      if (event.key === "Escape") return hide();
      if (step === undefined) return;
      event.preventDefault();
      share = Math.min(1, Math.max(0, share + step));
      show();
    });
    if (svg.querySelector(".area")) continue; // stacked: one part hidden would leave the others in mid-air
    for (const button of figure.querySelectorAll(".legend button"))
      button.addEventListener("click", () => {
        const on = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", String(on));
        for (const line of svg.querySelectorAll(`[data-line="${button.dataset.line}"]`)) line.classList.toggle("off", !on);
      });
  }
})();
