"use strict";
/* Tables whose heads sort them. */

(() => {
  const { count, make, number, shown } = Viewer;
  const { compare, endsInWords, interval, labelOf, words } = Results;
  const STEP = 100;

  /* A table of rows. A column: {label, value(row) to sort by, text(row) to show, numeric, title?(row)}.
     onPick(row), if given, is called for a click or Enter on a row. */
  function sortable(caption, columns, rows, onPick = null) {
    let [sorted, by, down, most] = [rows, -1, false, STEP];
    const body = make("tbody");
    const more = make("button", { type: "button", class: "more", on: { click: () => { most += 5 * STEP; fill(); } } });
    const heads = columns.map((column, i) => {
      const button = make("button", { type: "button", class: "sort", title: "Sort by this", on: { click: () => sort(i) } }, column.label);
      return make("th", { scope: "col", class: column.numeric ? "number" : null, "aria-sort": "none" }, button);
    });

    function sort(i) {
      // Figures are looked at from the greatest, names from the first.
      down = i === by ? !down : Boolean(columns[i].numeric);
      by = i;
      const keyed = rows.map((row, place) => ({ row, place, key: columns[i].value(row) ?? null }));
      keyed.sort((a, b) => {
        if (a.key === null || b.key === null) return (a.key === null) - (b.key === null) || a.place - b.place; // none last
        return (down ? -1 : 1) * compare(a.key, b.key) || a.place - b.place;
      });
      sorted = keyed.map((entry) => entry.row);
      heads.forEach((head, k) => head.setAttribute("aria-sort", k === by ? (down ? "descending" : "ascending") : "none"));
      fill();
    }

    function fill() {
      body.replaceChildren(...sorted.slice(0, most).map((row) => {
        const cells = columns.map((column) => make("td", { class: column.numeric ? "number" : null, title: column.title ? column.title(row) : null }, column.text(row)));
        if (!onPick) return make("tr", {}, ...cells);
        const pick = () => onPick(row);
        return make("tr", { tabindex: "0", class: "pick", on: { click: pick, keydown: (event) => { if (event.key === "Enter") pick(); } } }, ...cells);
      }));
      more.hidden = sorted.length <= most;
      more.textContent = `Show more (${count(most)} of ${count(sorted.length)})`;
    }

    fill();
    const table = make("table", {}, make("caption", { class: "visually-hidden" }, caption), make("thead", {}, make("tr", {}, ...heads)), body);
    return make("div", { class: "table" }, make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, table), more);
  }

  const textColumn = (label, value) => ({ label, value, text: (row) => words(value(row), 60), title: (row) => (String(value(row) ?? "").length > 60 ? shown(value(row), 2000) : null) });
  const numberColumn = (label, value) => ({ label, value, text: (row) => number(value(row)), numeric: true });

  /* Groups of runs: how many, how they ended, and the median of each measure. */
  function groupTable(runs, keys, rows) {
    const groups = runs.grouped(rows, keys).map((group) => ({
      levels: group.levels,
      ends: runs.ends(group),
      found: new Map(runs.measures.map((measure) => [measure.key, runs.median(group, measure.key)])),
    }));
    const columns = [
      ...keys.map((key, i) => ({ ...textColumn(runs.columns.get(key).label, (row) => row.levels[i]), numeric: runs.numeric(key) })),
      numberColumn("runs", (row) => d3.sum(row.ends.values())),
      { label: "status", value: (row) => endsInWords(row.ends), text: (row) => endsInWords(row.ends) },
      ...runs.measures.map((measure) => ({
        label: labelOf(measure), numeric: true,
        value: (row) => row.found.get(measure.key).value,
        text: (row) => interval(row.found.get(measure.key)),
        title: (row) => `n = ${count(row.found.get(measure.key).n)}`,
      })),
    ];
    const csv = () => [
      [...keys.map((key) => runs.columns.get(key).label), "runs", ...runs.statusNames,
        ...runs.measures.flatMap((m) => ["n", "lower bounds", "median", "at least", "low", "high"].map((word) => `${labelOf(m)}: ${word}`))],
      ...groups.map((row) => [
        ...row.levels, d3.sum(row.ends.values()), ...runs.statusNames.map((name) => row.ends.get(name) || 0),
        ...runs.measures.flatMap((m) => {
          const found = row.found.get(m.key);
          return [found.n, found.censored, found.value, found.at_least, found.low, found.high];
        }),
      ]),
    ];
    return { table: sortable("Medians by group", columns, groups), csv, size: groups.length };
  }

  /* Single runs. */
  function runTable(runs, rows, onPick) {
    const names = [...runs.axes, ...runs.numbers].map((column) => column.key).filter((key) => key !== "setting");
    const columns = [
      ...[...new Set([...names, "status"])].map((key) => {
        const numeric = key !== "status" && runs.numeric(key);
        return { ...(numeric ? numberColumn : textColumn)(runs.columns.get(key).label, (row) => runs.value(row, key)) };
      }),
      ...runs.measures.filter((measure) => !measure.finding).map((measure) => ({
        ...numberColumn(labelOf(measure), (row) => runs.rows[measure.key][row]),
        text: (row) => `${measure.grows && runs.kinds[row] === "stopped" && runs.rows[measure.key][row] !== null ? "≥ " : ""}${number(runs.rows[measure.key][row])}`,
      })),
    ];
    const csv = () => {
      const keys = [...runs.columns.keys()].filter((key) => key !== "setting");
      return [keys.map((key) => (runs.columns.get(key).finding ? runs.columns.get(key).label : key)), ...rows.map((row) => keys.map((key) => runs.value(row, key)))];
    };
    return { table: sortable("Single runs", columns, rows, onPick), csv, size: rows.length };
  }

  /* Rows of plain objects, as an experiment gives them. */
  function plainTable(caption, rows) {
    const keys = [...new Set(rows.flatMap((row) => Object.keys(row)))];
    const plain = (value) => (value !== null && typeof value === "object" ? JSON.stringify(value) : Results.revived(value));
    const columns = keys.map((key) => {
      const values = rows.map((row) => plain(row[key] ?? null)).filter((value) => value !== null);
      const numeric = values.length > 0 && values.every((value) => typeof value === "number");
      return (numeric ? numberColumn : textColumn)(shown(key.replaceAll("_", " "), 40), (row) => plain(row[key] ?? null));
    });
    const csv = () => [keys, ...rows.map((row) => keys.map((key) => plain(row[key] ?? null)))];
    return { table: sortable(caption, columns, rows), csv, size: rows.length };
  }

  Object.assign(Results, { sortable, groupTable, runTable, plainTable, textColumn, numberColumn });
})();
