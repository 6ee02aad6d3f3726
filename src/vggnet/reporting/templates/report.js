"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const value = (row) => row.cells[column].textContent.trim();
      const number = (row) => parseFloat(value(row).replace(/,/g, ""));
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => {
        const difference = number(a) - number(b);
        const order = Number.isNaN(difference) ? value(a).localeCompare(value(b)) : difference;
        return up ? order : -order;
      });
      table.tBodies[0].append(...rows);
    });
  });
}
