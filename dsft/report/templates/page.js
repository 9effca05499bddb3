"use strict";
// Clicking a heading sorts the table by that column: numbers by value, text in natural order.
const byText = new Intl.Collator(undefined, { numeric: true });
const valueOf = (row, column) => {
  const cell = row.cells[column];
  return cell.dataset.value === undefined ? cell.textContent.trim() : Number(cell.dataset.value);
};
const compare = (first, second) =>
  typeof first === "number" && typeof second === "number" ? first - second : byText.compare(String(first), String(second));
const isEmpty = (value) => value === "" || value === "-";

for (const heading of document.querySelectorAll("thead th")) {
  heading.querySelector("button").addEventListener("click", () => {
    const direction = heading.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
    for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", direction);
    const body = heading.closest("table").tBodies[0];
    const rows = [...body.rows].map((row) => [valueOf(row, heading.cellIndex), row]);
    rows.sort(([first], [second]) => {
      // Empty cells are last in both directions.
      if (isEmpty(first) || isEmpty(second)) return isEmpty(first) - isEmpty(second);
      return direction === "ascending" ? compare(first, second) : compare(second, first);
    });
    body.append(...rows.map(([, row]) => row));
  });
}
// On paper nothing can be expanded.
addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details")) part.open = true;
});
