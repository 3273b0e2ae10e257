"use strict";
/* The figures: each knows its data, draws itself as wide as it is told, and can be saved as an SVG that stands alone. */

(() => {
  const { count, number } = Viewer;
  const { compare, endsInWords, kindOf, words } = Results;
  const SERIES = 8;
  const MOST_DOTS = 4000;
  const STATUS_COLOURS = {
    optimal: "var(--good)", finished: "var(--series-1)", infeasible: "var(--series-8)", abandoned: "var(--series-5)",
    timeout: "var(--warning)", deadlock: "var(--series-2)", interrupted: "var(--series-7)", error: "var(--bad)",
    refused: "var(--series-4)", died: "var(--series-6)",
  };

  const colourOf = (i) => `var(--series-${(i % SERIES) + 1})`;
  const dashOf = (i) => (i < SERIES ? null : i < 2 * SERIES ? "5 3" : "2 2");
  // Beyond the eighth, colours come again with another mark and another line.
  const MARKS = [["circle", ""], ["diamond", "◆"], ["square", "■"]];
  const markOf = (i) => MARKS[Math.floor(i / SERIES) % MARKS.length];
  const labelOf = (column) => (column.unit ? `${column.label} (${column.unit})` : column.label);
  const ticks = (value) => (typeof value === "number" ? compact(value) : words(value, 18));

  function compact(x) {
    const big = Math.abs(x);
    if (big >= 1e15 || (big > 0 && big < 1e-3)) return x.toExponential().replace("e+", "e").replace("-", "−");
    for (const [unit, letter] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
      if (big >= unit) return `${number(x / unit)}${letter}`;
    }
    return number(x);
  }

  /* "3.2 [3, 4]", with ≥ where runs that were stopped decide it. */
  function interval(found) {
    if (found.value === null) return "–";
    const value = `${found.at_least ? "≥ " : ""}${number(found.value)}`;
    if (found.low === null) return value;
    return `${value} [${number(found.low)}, ${number(found.high)}]`;
  }

  /* How a group's median came about, in lines. */
  function account(found) {
    const lines = [`n = ${count(found.n)}${found.low === null && found.n ? " (too few for an interval)" : ""}`];
    if (found.stopped) lines.push(`${count(found.stopped)} of ${count(found.size)} hit a limit`);
    if (found.failed) lines.push(`${count(found.failed)} failed`);
    if (found.missing) lines.push(`${count(found.missing)} without a value`);
    if (!found.exact) lines.push("from a sample of the runs");
    return lines;
  }

  /* Whether numbers are best shown on a logarithmic axis. */
  function spansDecades(values) {
    const finite = values.filter((x) => Number.isFinite(x));
    const [low, high] = d3.extent(finite);
    return low > 0 && high / low > 30;
  }

  /* Places of facets: [{level, fx, fy}], and how many columns of them there are. */
  function facetGrid(runs, key, width) {
    if (!key) return { columns: 1, rows: 1, places: [{ level: undefined, fx: 0, fy: 0 }] };
    const levels = runs.levels(key).filter((level) => !runs.isHidden(key, level));
    const columns = Math.max(1, Math.min(levels.length, Math.floor(width / 260)));
    const places = levels.map((level, i) => ({ level, fx: i % columns, fy: Math.floor(i / columns) }));
    return { columns, rows: Math.ceil(levels.length / columns), places };
  }

  /* Frames and names of facets, and above the first the label of y: beside them it would be in their way. */
  function facetMarks(grid, runs, key, label) {
    if (!key) return [];
    const name = runs.columns.get(key).label.replace(/^.*: /, "");
    const above = { fx: "fx", fy: "fy", lineAnchor: "middle" };
    return [
      Plot.frame({ stroke: "var(--border)" }),
      Plot.text(grid.places, { ...above, text: (place) => `${name} = ${words(place.level, 24)}`, frameAnchor: "top", dy: -10, fill: "var(--muted)", fontWeight: 600 }),
      Plot.text(label ? grid.places.slice(0, 1) : [], { ...above, text: () => `↑ ${label}`, frameAnchor: "top-left", textAnchor: "start", dx: -50, dy: -28 }),
    ];
  }

  // A band alone has no other to keep its distance from, but d3 would still cut it by the padding.
  const facetScales = (grid, key) => ({
    marginTop: key ? 44 : 30,
    fx: { axis: null, paddingInner: grid.columns > 1 ? 0.12 : 0, paddingOuter: 0 },
    fy: { axis: null, paddingInner: grid.rows > 1 ? 0.2 : 0, paddingOuter: 0 },
  });

  /* The position scale of a column: categories, or a linear or logarithmic axis, with the margin that its ticks need.
     `room` is how wide one picture is. */
  function axisOf(runs, key, log, label, room) {
    const column = runs.columns.get(key);
    if (!runs.numeric(key)) {
      const domain = runs.levels(key).filter((x) => !runs.isHidden(key, x));
      const longest = d3.max(domain, (level) => ticks(level).length) || 1;
      const crowded = longest * 7 > room / domain.length;
      const x = { type: "point", domain, tickFormat: ticks, label, labelOffset: 34, padding: 0.6 };
      return crowded ? { x: { ...x, tickRotate: -35, labelOffset: 40 + 4 * longest }, marginBottom: 50 + 4 * longest } : { x };
    }
    const values = column.levels || runs.rows[key];
    const positive = values.every((x) => x === null || x > 0);
    const x = {
      type: log && positive ? "log" : "linear", label, labelOffset: 34, nice: !column.levels, grid: false, tickFormat: ticks,
      ...(column.levels ? { inset: 24, ticks: column.levels.filter((x) => x !== null).length <= 12 ? column.levels.filter((x) => x !== null) : undefined } : { inset: 6 }),
    };
    return { x };
  }

  /* How far apart the colours stand side by side at one x, so that they keep clear of the next. */
  function besides(runs, x, colours, room) {
    const places = new Set(runs.rows[x]).size;
    return Math.min(7, Math.min(36, (0.6 * room) / places) / Math.max(1, colours));
  }

  /* What a colour stands for, in the figure's own legend. */
  function coloursOf(runs, key) {
    if (!key) return { keys: [], name: "", items: [], at: () => 0 };
    const levels = runs.levels(key);
    const index = new Map(levels.map((level, i) => [String(level), i]));
    return {
      keys: [key],
      name: runs.columns.get(key).label,
      items: levels.filter((x) => !runs.isHidden(key, x)).map((level) => ({
        text: words(level, 36), colour: colourOf(index.get(String(level))), mark: markOf(index.get(String(level)))[1],
      })),
      at: (level) => index.get(String(level)),
    };
  }

  const plain = (width, height, more) => ({
    width, height, marginLeft: 56, marginBottom: 44, marginTop: 26, marginRight: 16,
    style: { background: "transparent", fontFamily: "inherit", fontSize: "11.5px", overflow: "visible" }, ...more,
  });

  const tip = (data, options) => Plot.tip(data, Plot.pointer({
    fill: "var(--surface-raised)", stroke: "var(--border-strong)", textPadding: 7, maxRadius: 30, ...options,
  }));

  /* What a picture of many medians must say beside it. */
  function remarks(points, runs, logged, grows) {
    const notes = [];
    const sizes = points.filter((p) => p.n).map((p) => p.n);
    if (sizes.length) {
      const [low, high] = d3.extent(sizes);
      const bare = points.some((p) => p.n && p.low === null) ? " (no interval for fewer than 6)" : "";
      notes.push(`n = ${count(low)}${low === high ? "" : ` to ${count(high)}`} runs each${bare}`);
    }
    const sum = (key) => d3.sum(points, (p) => p[key]);
    if (sum("stopped")) {
      const bounds = !grows ? " and count as they stood then" : points.some((p) => p.at_least) ? "; △: a lower bound, as stopped runs decide it" : "";
      notes.push(`${count(sum("stopped"))} of ${count(sum("size"))} runs hit a limit${bounds}`);
    }
    if (sum("failed")) notes.push(`${count(sum("failed"))} failed and are not in it`);
    if (sum("missing")) notes.push(`${count(sum("missing"))} without a value`);
    const infinite = points.filter((p) => p.value !== null && !Number.isFinite(p.value)).length;
    if (infinite) notes.push(`${count(infinite)} medians are infinite (∞ at the edge)`);
    const cut = logged ? points.filter((p) => p.value <= 0 && p.value !== null).length : 0;
    if (cut) notes.push(`${count(cut)} of 0 or less cannot be shown on a logarithmic axis`);
    if (points.some((p) => !p.exact)) notes.push(`from an even sample of ${count(runs.size)} of ${count(runs.total)} runs`);
    return notes;
  }

  const INTERVALS = "median and its exact 95 % interval (order statistics)";

  /* Medians of a measure by x, colour and facet. */
  function medians(runs, choice, rows) {
    const { x, y, colour, facet } = choice;
    const column = runs.columns.get(y);
    const colours = coloursOf(runs, colour);
    if (!x || !runs.discrete(x)) return { empty: x ? "The x axis has too many values for medians: the single runs show it." : "Nothing varies." };
    const groups = runs.grouped(rows, [x, ...colours.keys, ...(facet ? [facet] : [])]);
    const points = groups.map((group) => {
      const found = runs.median(group, y);
      return { ...found, x: group.levels[0], colour: colour ? group.levels[1] : null, facet: facet ? group.levels.at(-1) : undefined, ends: runs.ends(group) };
    }).filter((p) => p.x !== null || !runs.numeric(x));
    const usable = points.filter((p) => Number.isFinite(p.value));
    if (!points.some((p) => p.n)) return { empty: `No run that is shown has a value of ${column.label}.`, notes: remarks(points, runs, false, column.grows) };
    const logY = choice.yLog === "auto" ? spansDecades(usable.flatMap((p) => [p.value, p.low, p.high].filter((v) => v !== null))) : choice.yLog === "log";
    const logX = choice.xLog === "auto" ? false : choice.xLog === "log";
    const fits = (v) => Number.isFinite(v) && (!logY || v > 0);
    const top = d3.max(usable.flatMap((p) => [p.value, p.high, p.low].filter(fits)));
    const categorical = !runs.numeric(x);
    const sameAsColour = x === colour;
    const draw = (width, height) => {
      const grid = facetGrid(runs, facet, width);
      const places = new Map(grid.places.map((place) => [String(place.level), place]));
      const marks = [];
      const step = besides(runs, x, colours.items.length, (width - 72) / grid.columns);
      const perColour = d3.group(points.map((p) => ({ ...p, ...places.get(String(p.facet)) })), (p) => p.colour);
      const shownColours = [...perColour.keys()].sort(compare);
      shownColours.forEach((level, k) => {
        const i = colours.at(level);
        const mine = perColour.get(level);
        const dx = sameAsColour ? 0 : (k - (shownColours.length - 1) / 2) * step;
        const at = { x: "x", fx: "fx", fy: "fy", dx };
        const stroke = colour ? colourOf(i) : colourOf(0);
        const spans = mine.filter((p) => fits(p.low) && Number.isFinite(p.value));
        const ends = (p) => (fits(p.high) ? p.high : top);
        if (!categorical) marks.push(Plot.line(mine.filter((p) => fits(p.value)), { ...at, y: "value", stroke, strokeWidth: 1.6, strokeDasharray: dashOf(i) || undefined, z: null }));
        marks.push(
          Plot.ruleX(spans.filter((p) => fits(p.high)), { ...at, y1: "low", y2: ends, stroke, strokeWidth: 1.6, strokeOpacity: 0.75 }),
          Plot.ruleX(spans.filter((p) => !fits(p.high)), { ...at, y1: "low", y2: ends, stroke, strokeWidth: 1.6, strokeDasharray: "2 3" }),
          Plot.dot(mine.filter((p) => fits(p.value) && !p.at_least), { ...at, y: "value", fill: stroke, r: 3.6, symbol: markOf(i || 0)[0], stroke: "var(--surface)", strokeWidth: 0.8 }),
          Plot.dot(mine.filter((p) => fits(p.value) && p.at_least), { ...at, y: "value", symbol: "triangle", fill: "var(--surface)", stroke, strokeWidth: 1.8, r: 5 }),
          Plot.text(mine.filter((p) => p.value === Infinity), { ...at, text: () => "∞", frameAnchor: "top", fill: stroke, fontSize: 16, dy: 4 }),
          Plot.text(mine.filter((p) => p.value === -Infinity), { ...at, text: () => "−∞", frameAnchor: "bottom", fill: stroke, fontSize: 14 }),
        );
      });
      const all = [...perColour.values()].flat().filter((p) => fits(p.value));
      marks.push(tip(all, {
        x: "x", y: "value", fx: "fx", fy: "fy",
        title: (p) => [
          `${runs.columns.get(x).label}: ${words(p.x, 60)}`, ...(colour && !sameAsColour ? [`${colours.name}: ${words(p.colour, 60)}`] : []),
          `${labelOf(column)}: ${interval(p)}`, ...account(p), endsInWords(p.ends),
        ].join("\n"),
      }));
      return Plot.plot(plain(width, height * grid.rows, {
        ...facetScales(grid, facet),
        ...axisOf(runs, x, logX, runs.columns.get(x).label, (width - 72) / grid.columns),
        y: { type: logY ? "log" : "linear", label: facet ? null : labelOf(column), grid: true, tickFormat: ticks, nice: true, ticks: 5, ...(logY ? {} : { zero: true }) },
        marks: [...facetMarks(grid, runs, facet, labelOf(column)), ...marks],
      }));
    };
    return { draw, legend: colours.items, legendName: colours.name, notes: [INTERVALS, ...remarks(points, runs, logY, column.grows)], points };
  }

  /* Single runs. */
  function scatter(runs, choice, rows, onPick) {
    const { x, y, colour, facet } = choice;
    const column = runs.columns.get(y);
    const colours = coloursOf(runs, colour);
    const usable = rows.filter((row) => runs.kinds[row] !== "failed" && runs.rows[y][row] !== null && (!x || runs.value(row, x) !== null || !runs.numeric(x)));
    if (!x || !usable.length) return { empty: `No run that is shown has a value of ${column.label}.` };
    const values = usable.map((row) => runs.rows[y][row]);
    const logY = choice.yLog === "auto" ? spansDecades(values) : choice.yLog === "log";
    const xColumn = runs.columns.get(x);
    const xs = runs.numeric(x) ? usable.map((row) => runs.value(row, x)) : [];
    const logX = choice.xLog === "auto" ? !xColumn.levels && xColumn.role === "measure" && spansDecades(xs) : choice.xLog === "log";
    const drawable = (v, log) => Number.isFinite(v) && (!log || v > 0);
    const fit = usable.filter((row) => drawable(runs.rows[y][row], logY) && (!runs.numeric(x) || drawable(runs.value(row, x), logX)));
    const infinite = usable.filter((row) => !Number.isFinite(runs.rows[y][row]));
    const chosen = fit.length <= MOST_DOTS ? fit : d3.range(MOST_DOTS).map((i) => fit[Math.floor(((i + 0.5) * fit.length) / MOST_DOTS)]);
    const notes = [];
    const stopped = d3.sum(usable, (row) => runs.kinds[row] === "stopped");
    notes.push(fit.length > chosen.length ? `an even sample of ${count(chosen.length)} of ${count(fit.length)} runs is drawn` : `${count(chosen.length)} runs`);
    if (!runs.whole) notes.push(`which are from a sample of ${count(runs.total)}`);
    if (stopped) notes.push(`△: the ${count(stopped)} that hit a limit${column.grows ? ", lower bounds" : ", as they stood then"}`);
    if (infinite.length) notes.push(`${count(infinite.length)} infinite ones at the edge (∞)`);
    const cut = usable.length - fit.length - infinite.length;
    if (cut > 0) notes.push(`${count(cut)} cannot be shown on a logarithmic axis (0 or less) or have no finite x`);
    const failed = d3.sum(rows, (row) => runs.kinds[row] === "failed");
    if (failed) notes.push(`${count(failed)} failed and have no figures`);
    const jitter = !runs.numeric(x) || (xColumn.levels && xColumn.levels.length <= 40);
    const draw = (width, height) => {
      const grid = facetGrid(runs, facet, width);
      const places = new Map(grid.places.map((place) => [String(place.level), place]));
      const point = (row) => ({
        row, x: runs.value(row, x), y: runs.rows[y][row], stopped: runs.kinds[row] === "stopped",
        colour: colour ? runs.value(row, colour) : null, ...places.get(facet ? String(runs.value(row, facet)) : "undefined"),
      });
      const levels = colour ? runs.levels(colour).filter((level) => !runs.isHidden(colour, level)) : [null];
      const step = jitter && x !== colour ? besides(runs, x, levels.length, (width - 72) / grid.columns) : 0;
      const byColour = d3.group(chosen.map(point), (p) => p.colour);
      const edge = d3.group(infinite.map(point), (p) => p.colour);
      const marks = levels.flatMap((level, k) => {
        const stroke = colour ? colourOf(colours.at(level)) : colourOf(0);
        const mine = byColour.get(level) || [];
        const at = { x: "x", fx: "fx", fy: "fy", dx: (k - (levels.length - 1) / 2) * step };
        return [
          Plot.dot(mine.filter((p) => !p.stopped), { ...at, y: "y", fill: stroke, fillOpacity: 0.55, r: 2.8, symbol: markOf(colours.at(level) || 0)[0] }),
          Plot.dot(mine.filter((p) => p.stopped), { ...at, y: "y", stroke, symbol: "triangle", strokeWidth: 1.3, r: 4 }),
          Plot.text(edge.get(level) || [], { ...at, text: (p) => (p.y > 0 ? "∞" : "−∞"), frameAnchor: "top", fill: stroke, dy: 3, fontSize: 14 }),
        ];
      });
      const all = [...byColour.values()].flat();
      marks.push(tip(all, {
        x: "x", y: "y", fx: "fx", fy: "fy",
        title: (p) => [
          ...(colour ? [`${colours.name}: ${words(p.colour, 60)}`] : []), `${xColumn.label}: ${words(p.x, 60)}`,
          `${labelOf(column)}: ${number(p.y)}${p.stopped && column.grows ? " or more" : ""}`, `status: ${words(runs.value(p.row, "status"), 40)}`,
          `seed: ${words(runs.value(p.row, "seed"), 30)}`, "click for all of it",
        ].join("\n"),
      }));
      const picture = Plot.plot(plain(width, height * grid.rows, {
        ...facetScales(grid, facet), ...axisOf(runs, x, logX, labelOf(xColumn), (width - 72) / grid.columns),
        y: { type: logY ? "log" : "linear", label: facet ? null : labelOf(column), grid: true, tickFormat: ticks, nice: true, ticks: 5 },
        marks: [...facetMarks(grid, runs, facet, labelOf(column)), ...marks],
      }));
      picture.addEventListener("click", () => { if (picture.value) onPick(picture.value.row); });
      picture.style.cursor = "pointer";
      return picture;
    };
    return { draw, legend: colours.items, legendName: colours.name, notes };
  }

  /* How the runs ended, by colour (or x). */
  function endings(runs, choice, rows) {
    const key = choice.colour || (choice.x && runs.columns.get(choice.x).levels ? choice.x : "");
    const groups = runs.grouped(rows, key ? [key] : []);
    const bars = groups.flatMap((group) => {
      const ends = runs.ends(group);
      const total = d3.sum(ends.values());
      let before = 0;
      return [...ends].map(([status, n]) => {
        const from = before;
        before += n / total;
        return { level: key ? group.levels[0] : "all", status, n, total, from, to: before };
      });
    });
    if (!bars.length) return { empty: "No runs." };
    const used = runs.statusNames.filter((name) => bars.some((bar) => bar.status === name));
    const colour = (status) => STATUS_COLOURS[status] || "var(--muted)";
    const levels = [...new Set(bars.map((bar) => bar.level))].sort(compare);
    const draw = (width) => Plot.plot(plain(width, 64 + 26 * levels.length, {
      marginLeft: Math.min(150, 24 + 6.5 * d3.max(levels, (level) => words(level, 20).length)), marginTop: 8, marginRight: 60,
      x: { label: "share of runs", labelOffset: 34, tickFormat: (v) => `${Math.round(100 * v)} %`, domain: [0, 1], ticks: 5 },
      y: { type: "band", domain: levels, label: null, tickFormat: (level) => words(level, 20), padding: 0.3 },
      marks: [
        Plot.barX(bars, {
          x1: "from", x2: "to", y: "level", fill: (bar) => colour(bar.status), insetRight: 1, channels: {},
          title: (bar) => `${words(bar.level, 60)}: ${count(bar.n)} of ${count(bar.total)} ${words(bar.status, 20)}`,
        }),
        Plot.text(bars.filter((bar) => (bar.to - bar.from) * width > 110), { x: (bar) => (bar.from + bar.to) / 2, y: "level", text: (bar) => count(bar.n), fill: "var(--surface)", fontWeight: 600 }),
        Plot.text(d3.groups(bars, (bar) => bar.level).map(([, [bar]]) => bar), { x: () => 1, y: "level", text: (bar) => count(bar.total), textAnchor: "start", dx: 6, fill: "var(--muted)" }),
      ],
      color: { type: "identity" },
    }));
    const stopped = used.filter((name) => kindOf(name) === "stopped");
    const notes = ["how the runs ended; the number at the right is how many"];
    if (stopped.length) notes.push(`stopped before they were done: ${stopped.join(", ")}`);
    if (!runs.whole && groups.some((group) => group.exact === null)) notes.push("from a sample of the runs");
    return { draw, legend: used.map((name) => ({ text: words(name, 24), colour: colour(name) })), legendName: "status", notes };
  }

  /* A series over time: the median over runs of what each held, by colour. */
  function curves(runs, choice, rows, curve) {
    const place = new Map(curve.rows.map((row, i) => [row, i]));
    const cost = curve.name === "cost";
    const mine = rows.filter((row) => place.has(row) && !(cost && choice.relative && runs.rows.best[row] === null));
    if (!mine.length) return { empty: "None of the runs shown has this series." };
    const relative = cost && choice.relative;
    const sign = (row) => (runs.value(row, "objective") === "max" ? -1 : 1);
    const held = (row, t) => {
      const value = runs.curveValue(curve, place.get(row), t) ?? (cost ? sign(row) * Infinity : null);
      return relative ? sign(row) * (value - runs.rows.best[row]) : value;
    };
    const colours = coloursOf(runs, choice.colour);
    const keys = [...colours.keys, ...(choice.facet ? [choice.facet] : [])];
    const lines = runs.grouped(mine, keys).filter((group) => group.rows.length).map((group) => ({
      colour: choice.colour ? group.levels[0] : null,
      facet: choice.facet ? group.levels.at(-1) : undefined,
      n: group.rows.length,
      points: curve.times.map((time, t) => {
        return { time, ...Results.median(group.rows.map((row) => held(row, t)).filter((v) => v !== null), null) };
      }),
    }));
    const logX = choice.timeLog;
    const finite = lines.flatMap((line) => line.points.flatMap((p) => [p.value])).filter((v) => Number.isFinite(v) && v !== null);
    if (!finite.length) return { empty: "No median is finite at any time." };
    const label = relative ? "cost above the best known" : cost ? "cost of the joint assignment" : `${curve.name.replace(/\.curve$/, "")}, mean`;
    const draw = (width, height) => {
      const grid = facetGrid(runs, choice.facet, width);
      const places = new Map(grid.places.map((at) => [String(at.level), at]));
      const marks = lines.flatMap((line) => {
        const i = colours.at(line.colour) || 0;
        const stroke = colourOf(i);
        const place2 = places.get(String(line.facet));
        const points = line.points.filter((p) => !logX || p.time > 0).map((p) => ({ ...p, ...place2 }));
        const value = (v) => (v !== null && Number.isFinite(v) ? v : NaN);
        const at = { x: "time", fx: "fx", fy: "fy", curve: "step-after" };
        return [
          Plot.areaY(points, { ...at, y1: (p) => value(p.low), y2: (p) => value(p.high), fill: stroke, fillOpacity: 0.16 }),
          Plot.line(points, { ...at, y: (p) => value(p.value), stroke, strokeWidth: 1.7, strokeDasharray: dashOf(i) || undefined }),
        ];
      });
      const all = lines.flatMap((line) => line.points.map((p) => ({ ...p, colour: line.colour, runs: line.n, ...places.get(String(line.facet)) })))
        .filter((p) => Number.isFinite(p.value) && p.value !== null && (!logX || p.time > 0));
      marks.push(tip(all, {
        x: "time", y: "value", fx: "fx", fy: "fy",
        title: (p) => [...(choice.colour ? [`${colours.name}: ${words(p.colour, 60)}`] : []), `at time ${number(p.time)}: ${interval(p)}`, `${count(p.runs)} runs`].join("\n"),
      }));
      return Plot.plot(plain(width, height * grid.rows, {
        ...facetScales(grid, choice.facet),
        x: { type: logX ? "log" : "linear", label: "virtual time", labelOffset: 34, tickFormat: ticks, ticks: Math.max(3, Math.floor(width / grid.columns / 90)) },
        y: { label: choice.facet ? null : words(label, 60), grid: true, tickFormat: ticks, nice: true, ticks: 5 },
        marks: [...facetMarks(grid, runs, choice.facet, words(label, 60)), ...marks],
      }));
    };
    const [low, high] = d3.extent(lines, (line) => line.n);
    const notes = [`median over runs at each time, with its 95 % interval; n = ${count(low)}${low === high ? "" : ` to ${count(high)}`} runs`];
    notes.push(cost ? "infinite until every variable has a value; what was held at the end of a run is held on" : "mean over the names of a run; what was reached at the end of a run is held on");
    const stopped = d3.sum(mine, (row) => runs.kinds[row] === "stopped");
    if (stopped) notes.push(`${count(stopped)} of these ${count(mine.length)} runs hit a limit`);
    if (mine.length < rows.length) notes.push(`of ${count(runs.total)} runs ${count(mine.length)} are in it`);
    return { draw, legend: colours.items, legendName: colours.name, notes };
  }

  /* One quantity that an observer found, name by name (aggregators, say), by colour. */
  function leakage(runs, choice, rows, quantity) {
    const measures = runs.measures.filter((m) => m.finding && m.finding[0] === quantity[0] && m.finding[1] === quantity[1]);
    const colours = coloursOf(runs, choice.colour);
    const groups = runs.grouped(rows, [...colours.keys, ...(choice.facet ? [choice.facet] : [])]);
    const points = measures.flatMap((measure) => groups.map((group) => ({
      ...runs.median(group, measure.key), name: measure.finding[2], colour: choice.colour ? group.levels[0] : null,
      facet: choice.facet ? group.levels.at(-1) : undefined,
    })));
    const usable = points.filter((p) => Number.isFinite(p.value) && p.value !== null);
    if (!usable.length) return { empty: "No run that is shown has a finite value of it.", notes: remarks(points, runs, false, true) };
    const log = choice.leakLog;
    const fits = (v) => Number.isFinite(v) && v !== null && (!log || v > 0);
    const names = measures.map((m) => m.finding[2]);
    const top = d3.max(usable.flatMap((p) => [p.value, p.high].filter(fits)));
    const levels = [...new Set(points.map((p) => p.colour))].sort(compare);
    const draw = (width) => {
      const grid = facetGrid(runs, choice.facet, width - 60);
      const places = new Map(grid.places.map((at) => [String(at.level), at]));
      const step = Math.min(9, 44 / levels.length);
      const marks = levels.flatMap((level, k) => {
        const stroke = colourOf(colours.at(level) || 0);
        const mine = usable.filter((p) => p.colour === level && fits(p.value)).map((p) => ({ ...p, ...places.get(String(p.facet)) }));
        const at = { y: "name", fx: "fx", fy: "fy", dy: (k - (levels.length - 1) / 2) * step };
        return [
          Plot.ruleY(mine.filter((p) => fits(p.low) && fits(p.high)), { ...at, x1: "low", x2: "high", stroke, strokeWidth: 1.6, strokeOpacity: 0.75 }),
          Plot.ruleY(mine.filter((p) => fits(p.low) && !fits(p.high)), { ...at, x1: "low", x2: top, stroke, strokeWidth: 1.6, strokeDasharray: "2 3" }),
          Plot.dot(mine.filter((p) => !p.at_least), { ...at, x: "value", fill: stroke, r: 3.6, symbol: markOf(colours.at(level) || 0)[0] }),
          Plot.dot(mine.filter((p) => p.at_least), { ...at, x: "value", symbol: "triangle", stroke, fill: "var(--surface)", strokeWidth: 1.6, r: 4.6 }),
        ];
      });
      marks.push(tip(usable.filter((p) => fits(p.value)).map((p) => ({ ...p, ...places.get(String(p.facet)) })), {
        x: "value", y: "name", fx: "fx", fy: "fy",
        title: (p) => [`${words(p.name, 60)}: ${interval(p)}`, ...(choice.colour ? [`${colours.name}: ${words(p.colour, 60)}`] : []), ...account(p)].join("\n"),
      }));
      const band = Math.max(34, step * levels.length + 14);
      return Plot.plot(plain(width, (80 + band * names.length) * grid.rows, {
        ...facetScales(grid, choice.facet), marginLeft: Math.min(150, 22 + 6.5 * d3.max(names, (name) => words(name, 20).length)),
        x: { type: log ? "log" : "linear", labelOffset: 34, label: words(quantity.slice(0, 2).join(": "), 60), grid: true, tickFormat: ticks, nice: true, ticks: Math.max(3, Math.floor(width / grid.columns / 110)), ...(log ? {} : { zero: true }) },
        y: { type: "point", domain: names, label: null, tickFormat: (name) => words(name, 20), padding: 0.6 },
        marks: [...facetMarks(grid, runs, choice.facet, ""), ...marks],
      }));
    };
    const of = d3.groups(points, (p) => p.name)[0][1]; // each run once, not once for each name
    const bounds = points.some((p) => p.at_least) && !of.some((p) => p.at_least) ? ["△: a lower bound, as stopped runs decide it"] : [];
    return { draw, legend: colours.items, legendName: colours.name, notes: [INTERVALS, ...remarks(of, runs, log, measures.some((m) => m.grows)), ...bounds] };
  }

  Object.assign(Results, { medians, scatter, endings, curves, leakage, interval, labelOf });
})();
