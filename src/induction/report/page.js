"use strict";
// Sub-rows that fold, plots, and what print needs. Without scripts all rows are shown.
(() => {
  for (const button of document.querySelectorAll("button.more")) {
    const rows = button.closest("tbody").querySelectorAll("tr.subject");
    const fold = (open) => {
      button.setAttribute("aria-expanded", String(open));
      rows.forEach((row) => { row.hidden = !open; });
    };
    button.hidden = false;
    button.addEventListener("click", () => fold(button.getAttribute("aria-expanded") !== "true"));
    fold(false);
  }

  const told = document.getElementById("plots");
  if (told) {
    const { plots, settings } = JSON.parse(told.textContent);
    for (const [name, plot] of Object.entries(plots)) {
      Plotly.newPlot(name, plot.data, plot.layout, settings);
    }
  }

  // Print shows what is folded away; what was closed is closed again.
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    opened.forEach((one) => { one.open = true; });
  });
  window.addEventListener("afterprint", () => opened.forEach((one) => { one.open = false; }));
})();
