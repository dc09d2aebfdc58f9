"use strict";
// Tables sort by a click on a column's name and show the rows that hold what is typed above them.
for (const table of document.querySelectorAll("table.data")) {
  const body = table.tBodies[0];
  const value = (row, column) => {
    const cell = row.cells[column];
    const number = cell.dataset.value;
    return number === undefined ? cell.textContent.trim() : Number(number);
  };
  // What has no value, such as a dash among figures, stays below them either way.
  const compare = (a, b, sign) =>
    typeof a !== typeof b ? (typeof a === "number" ? -1 : 1)
      : sign * (typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true }));
  table.querySelectorAll("thead tr:last-child th").forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const upwards = head.getAttribute("aria-sort") === "descending";
      for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", upwards ? "ascending" : "descending");
      const sign = upwards ? 1 : -1;
      body.append(...[...body.rows].sort(
        (a, b) => compare(value(a, column), value(b, column), sign)));
    });
  });
  if (body.rows.length < 9) continue;
  const filter = document.createElement("input");
  filter.type = "search";
  filter.placeholder = "Filter rows";
  filter.setAttribute("aria-label", `Filter rows of ${table.caption.textContent.trim()}`);
  filter.addEventListener("input", () => {
    const wanted = filter.value.toLowerCase();
    for (const row of body.rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
  table.parentElement.before(filter);
}
