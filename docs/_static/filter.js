/* A box in each div.filter-rows: of the tables in the element after it, rows with all of its words
   remain. The box is made here, so that a page without scripts has none. */
document.addEventListener("DOMContentLoaded", () => {
  for (const place of document.querySelectorAll("div.filter-rows")) {
    const tables = [...(place.nextElementSibling?.querySelectorAll("table") ?? [])];
    const rowsOf = (table) => [...table.tBodies].flatMap((body) => [...body.rows]);
    const rows = tables.flatMap(rowsOf);

    const box = document.createElement("input");
    const count = document.createElement("output");
    box.type = "search";
    box.placeholder = "words of a row: best of, bpr, 2021";
    box.setAttribute("aria-label", "Show rows with all of these words");
    box.style.cssText = "width: 24em; max-width: 100%; font: inherit; padding: 0.2em 0.4em";
    count.style.marginLeft = "1em";

    box.addEventListener("input", () => {
      const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
      }
      for (const table of tables) table.hidden = rowsOf(table).every((row) => row.hidden);
      const shown = rows.filter((row) => !row.hidden).length;
      count.textContent = words.length ? `${shown} of ${rows.length}` : "";
    });
    place.append(box, count);
  }
});
