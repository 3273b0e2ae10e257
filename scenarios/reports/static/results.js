"use strict";
/* The page: tabs, what was run, the controls, and everything that follows them. */

(() => {
  const { count, make, number, shown, unpacked } = Viewer;
  const { words } = Results;
  const main = document.getElementById("main");
  let section = null; // of the tab that is open: what `Section` holds

  const note = (text, bad = false) => make("p", { class: bad ? "note bad" : "note" }, shown(text, 1200));
  const panel = (title, ...children) => make("section", { class: "panel" }, make("h2", {}, title), ...children);
  const csvButton = (made, ...name) => make("button", { type: "button", class: "no-print", on: { click: () => Results.saveCsv(made.csv(), ...name) } }, "CSV");

  function folded(title, open, ...children) {
    return make("details", { class: "panel", open }, make("summary", {}, title), ...children);
  }

  /* A select with groups of options: [[group, [[value, label], ...]], ...]. */
  function choose(id, label, groups, value, onChange) {
    const select = make("select", { id, on: { change: () => onChange(select.value) } });
    for (const [name, options] of groups.filter(([, entries]) => entries.length)) {
      const made = options.map(([key, text]) => make("option", { value: key }, text));
      if (name) {
        const group = make("optgroup", { label: name });
        group.append(...made);
        select.append(group);
      } else select.append(...made);
    }
    select.value = value;
    return make("label", { class: "choice" }, make("span", {}, label), select);
  }

  const named = (columns) => columns.map((column) => [column.key, Results.labelOf(column)]);
  const SCALES = [["", [["auto", "auto"], ["linear", "linear"], ["log", "log"]]]];

  class Section {
    constructor(data) {
      this.data = data;
      this.figures = [];
      this.root = make("div", { class: "section" });
      this.root.append(...this.head());
      if (data.experiment) this.root.append(...this.experiment());
      if (data.runs && data.runs.total) {
        this.runs = new Results.Runs(data.runs);
        this.choice = { ...data.runs.defaults, xLog: "auto", yLog: "auto", timeLog: false, leakLog: false, relative: data.runs.rows.best.some((best) => best !== null) };
        this.root.append(...this.failures(data.runs.failures), this.controls(), ...this.body());
      } else if (data.runs) {
        this.root.append(...this.failures(data.runs.failures), note(data.runs.cells ? "No cell recorded a run." : "Nothing has been run yet."));
      }
    }

    head() {
      const { about, kind, runs } = this.data;
      const facts = [["kind", kind]];
      if (about.version) facts.push(["version", about.version]);
      if (about.source) facts.push(["spec", about.source]);
      if (runs) {
        const planned = typeof about.cells === "number" && about.cells !== runs.cells ? ` of ${count(about.cells)}` : "";
        facts.push(["cells", `${count(runs.cells)}${planned}`], ["runs", count(runs.total)]);
        if (runs.failed_cells) facts.push(["failed cells", count(runs.failed_cells)]);
      }
      if (about.options) facts.push(["options", about.options]);
      const ends = Object.entries(runs ? runs.statuses : {}).map(([status, n]) => make("span", { class: `badge ${Results.kindOf(status)}` }, `${count(n)} ${words(status, 30)}`));
      const tiles = facts.map(([name, value]) => make("div", { class: "fact" }, make("dt", {}, name), make("dd", { title: shown(value, 1000) }, shown(value, 80))));
      const spec = this.data.spec ? [make("details", { class: "spec" }, make("summary", {}, "Specification, as it was written"), make("pre", {}, this.data.spec.split("\n").map((line) => shown(line, 2000)).join("\n")))] : [];
      const box = panel(shown(this.data.name, 120), make("dl", { class: "facts" }, ...tiles), make("div", { class: "ends" }, ...ends), ...spec);
      box.classList.add("what");
      const notes = [...this.data.notes, ...(runs ? runs.notes : [])];
      if (runs && !runs.whole) {
        notes.push(`${count(runs.total)} runs are more than the page holds: it has an even sample of ${count(runs.rows.status.length)}. `
          + (runs.groups ? "Medians of groups that differ in their seeds alone are of all runs; what is counted from the sample says so." : "Everything that is counted from the sample says so."));
      }
      return [box, ...notes.map((text) => note(text))];
    }

    experiment() {
      const { experiment, figure, name } = this.data;
      const parts = [];
      if (figure) parts.push(panel("Figure", make("img", { class: "figure", src: figure, alt: `Figure of ${shown(name, 100)}` })));
      if (experiment.notes.length) parts.push(panel("Notes", make("ul", {}, ...experiment.notes.map((text) => make("li", {}, shown(text, 1200))))));
      if (experiment.rows.length) {
        const made = Results.plainTable(`Rows of ${shown(name, 60)}`, experiment.rows);
        parts.push(panel(`Rows (${count(made.size)})`, csvButton(made, name, "rows"), made.table));
      }
      return parts;
    }

    failures(kinds) {
      if (!kinds.length) return [];
      const rows = Results.sortable("Failures", [
        Results.numberColumn("count", (row) => row.count), Results.textColumn("status", (row) => row.status),
        { label: "error", value: (row) => row.error, text: (row) => shown(row.error, 300), title: (row) => shown(row.error, 2000) },
        Results.textColumn("first cell", (row) => row.cell),
      ], kinds);
      return [folded(`Failures: ${count(d3.sum(kinds, (kind) => kind.count))}`, kinds.length <= 8, rows)];
    }

    controls() {
      const { runs, choice } = this;
      const set = (key) => (value) => { choice[key] = value; this.draw(); };
      const none = ["", [["", "none"]]];
      const box = make("div", { class: "controls panel no-print", role: "group", "aria-label": "What the figures show" },
        choose("x", "x axis", [["varied", named(runs.axes)], ["problem and seeds", named(runs.numbers)], ["measures", named(runs.measures)]], choice.x, set("x")),
        choose("x-scale", "x scale", SCALES, choice.xLog, set("xLog")),
        choose("y", "y axis", [["measured", named(runs.measures.filter((m) => !m.finding))], ["found by observers", named(runs.measures.filter((m) => m.finding))]], choice.y, set("y")),
        choose("y-scale", "y scale", SCALES, choice.yLog, set("yLog")),
        choose("colour", "colour", [none, ["varied", named(runs.colours())]], choice.colour, set("colour")),
        choose("facet", "one picture for each", [none, ["varied", named(runs.facets())]], choice.facet, set("facet")),
        this.filters());
      return box;
    }

    filters() {
      const { runs } = this;
      const keys = ["status", ...runs.facets().map((axis) => axis.key), ...runs.colours().filter((axis) => !runs.facets().includes(axis)).map((axis) => axis.key)];
      const sets = keys.filter((key) => runs.columns.get(key).levels.length > 1).map((key) => make("fieldset", {},
        make("legend", {}, runs.columns.get(key).label),
        ...runs.levels(key).map((level) => {
          const box = make("input", { type: "checkbox", checked: true, "data-key": key, on: { change: () => { runs.hide(key, level, !box.checked); this.draw(); } } });
          return make("label", { class: "tick", title: shown(level ?? "none", 500) }, box, words(level, 40));
        })));
      if (!sets.length) return null;
      this.filterCount = make("span", { class: "muted" });
      return make("details", { class: "filters", id: "filters" }, make("summary", {}, "Filter ", this.filterCount), make("div", { class: "sets" }, ...sets));
    }

    /* A figure's box; `make` gives the figure from the runs that pass, and is asked again whenever something changes. */
    figure(id, title, compute, { kind = "", height = 300, extra = [] } = {}) {
      const legend = make("div", { class: "legend" });
      const picture = make("div", { class: "picture" });
      const notes = make("figcaption", { class: "muted" });
      const heading = make("h3", {});
      const save = make("button", { type: "button", class: "no-print save", on: { click: () => Results.saveSvg(`${shown(this.data.name, 60)}: ${heading.textContent}`, spec.made, this.data.name, heading.textContent) } }, "SVG");
      const box = make("figure", { id, class: `panel ${kind}` }, make("div", { class: "figure-head" }, heading, ...extra, save), legend, picture, notes);
      const spec = { box, picture, made: null, height, update: null, paint: null };
      spec.update = (rows) => {
        spec.made = compute(rows);
        heading.textContent = typeof title === "function" ? title() : title;
        legend.replaceChildren(...(spec.made.empty ? [] : legendOf(spec.made)));
        const said = spec.made.notes || [];
        notes.textContent = said.length ? `${said.join("; ")}.` : "";
        save.disabled = Boolean(spec.made.empty);
        spec.width = 0;
        spec.paint();
      };
      spec.paint = () => {
        const width = Math.floor(picture.clientWidth);
        if (!width || !spec.made || spec.width === width) return;
        spec.width = width;
        picture.replaceChildren(spec.made.empty ? make("p", { class: "muted empty" }, spec.made.empty) : spec.made.draw(width, height));
      };
      this.figures.push(spec);
      return box;
    }

    body() {
      const { runs, choice } = this;
      const label = (key) => runs.columns.get(key)?.label ?? "";
      const by = () => (choice.x ? ` by ${label(choice.x)}` : "");
      const boxes = [];
      if (runs.measures.length) {
        boxes.push(
          this.figure("medians", () => `Medians: ${label(choice.y)}${by()}`, (rows) => Results.medians(runs, choice, rows), { height: 330 }),
          this.figure("scatter", () => `Single runs: ${label(choice.y)}${by()}`, (rows) => Results.scatter(runs, choice, rows, (row) => this.show(row)), { height: 330 }),
        );
      }
      for (const [key, name] of [["messages", "Messages"], ["bytes", "Bytes"], ["nccc", "NCCC"]]) {
        if (runs.columns.get(key)?.role !== "measure") continue;
        boxes.push(this.figure(`by-${key}`, () => `${name}${by()}`, (rows) => Results.medians(runs, { ...choice, y: key, facet: "", yLog: "auto" }, rows), { kind: "third", height: 230 }));
      }
      boxes.push(this.figure("endings", "How runs ended", (rows) => Results.endings(runs, choice, rows)));
      runs.curves.forEach((curve, i) => {
        const title = curve.name === "cost" ? "Cost over time" : curve.name.endsWith(".curve") ? `Leakage over time: ${words(curve.name.slice(0, -6), 30)}` : `${words(curve.name, 30)} over time`;
        boxes.push(this.figure(`curve-${i}`, title, (rows) => Results.curves(runs, choice, rows, curve), { height: 270, extra: [...(curve.name === "cost" ? [this.toggle("relative", "above best known")] : []), this.toggle("timeLog", "log time")] }));
      });
      const quantities = [...d3.group(runs.measures.filter((m) => m.finding), (m) => `${m.finding[0]} ${m.finding[1]}`).values()].map((ms) => ms[0].finding);
      if (quantities.length) {
        quantities.sort((a, b) => (b[1] === "aggregate") - (a[1] === "aggregate"));
        let chosen = 0;
        const pick = choose("quantity", "", [["", quantities.map((q, i) => [String(i), shown(`${q[0]}: ${q[1]}`, 40)])]], "0", (value) => { chosen = Number(value); this.draw(); });
        boxes.push(this.figure("leakage", "What leaked", (rows) => Results.leakage(runs, choice, rows, quantities[chosen]), { extra: [...(quantities.length > 1 ? [pick] : []), this.toggle("leakLog", "log")] }));
      }
      this.tables = make("div", { class: "tables" });
      return [make("div", { class: "figures" }, ...boxes), this.tables];
    }

    toggle(key, text) {
      const button = make("button", { type: "button", class: "no-print", "aria-pressed": String(this.choice[key]), on: { click: () => {
        this.choice[key] = !this.choice[key];
        for (const other of this.root.querySelectorAll(`[data-toggle="${key}"]`)) other.setAttribute("aria-pressed", String(this.choice[key]));
        this.draw();
      } }, "data-toggle": key }, text);
      return button;
    }

    fillTables(rows) {
      const { runs, choice } = this;
      const shownKeys = [...new Set([choice.x, choice.colour, choice.facet])].filter((key) => key && runs.discrete(key));
      const every = this.byEvery ?? true;
      const keys = every ? runs.grid.filter((key) => runs.columns.get(key).varied) : shownKeys;
      const groups = Results.groupTable(runs, keys, rows);
      const pick = choose("grouping", "grouped by", [["", [["grid", "everything varied"], ["figure", "what the figures show"]]]], every ? "grid" : "figure", (value) => { this.byEvery = value === "grid"; this.draw(); });
      const single = Results.runTable(runs, rows, (row) => this.show(row));
      const opened = this.tables.querySelector("#runs")?.open ?? false;
      const medians = panel(`Medians by group (${count(groups.size)})`, make("div", { class: "tools no-print" }, pick, csvButton(groups, this.data.name, "medians")),
        make("p", { class: "muted" }, "Median [exact 95 % interval]; ≥: runs that hit a limit decide it. Click on a head to sort."), groups.table);
      medians.id = "groups";
      const all = folded(`Single runs (${count(single.size)}${runs.whole ? "" : `, of ${count(runs.total)}`})`, opened, make("div", { class: "tools no-print" }, csvButton(single, this.data.name, "runs")),
        make("p", { class: "muted" }, "Click on a row to see where it comes from."), single.table);
      all.id = "runs";
      this.tables.replaceChildren(medians, all);
    }

    draw() {
      if (!this.runs) return;
      const rows = this.runs.passing();
      if (this.filterCount) this.filterCount.textContent = rows.length === this.runs.size ? `(all ${count(rows.length)} runs)` : `(${count(rows.length)} of ${count(this.runs.size)} runs)`;
      for (const figure of this.figures) figure.update(rows);
      this.fillTables(rows);
    }

    paint() {
      for (const figure of this.figures) figure.paint();
    }

    /* Everything that is known of one run. */
    show(row) {
      const columns = [...this.runs.columns.values()];
      // A parameter stands among all parameters.
      const origins = columns.filter((column) => column.role !== "measure" && column.key !== "setting" && !/^(problem|solver)\./.test(column.key));
      const measured = columns.filter((column) => column.role === "measure");
      origins.sort((a, b) => rankOf(a.key) - rankOf(b.key));
      const facts = [...origins, ...measured].map((column) => [column, this.runs.value(row, column.key)]).filter(([, value]) => value !== null && value !== "");
      document.getElementById("run-facts").replaceChildren(...facts.flatMap(([column, value]) => {
        const bound = column.grows && this.runs.kinds[row] === "stopped" ? " or more" : "";
        const text = typeof value === "number" ? `${column.role === "measure" ? number(value, 8) : String(value)}${bound}` : shown(value, 2000);
        return [make("dt", {}, Results.labelOf(column)), make("dd", {}, text)];
      }));
      document.getElementById("run").showModal();
    }
  }

  const ORIGINS = ["status", "error", "limit", "cell", "version", "python", "generator", "file", "problem", "problem_parameters", "problem_seed",
    "objective", "variables", "constraints", "agents", "solver", "solver_parameters", "network", "observers", "seed"];

  function rankOf(key) {
    const at = ORIGINS.indexOf(key);
    return at < 0 ? ORIGINS.length : at;
  }

  function legendOf(made) {
    const items = (made.legend || []).map((item) => make("span", { class: "key" }, make("span", { class: item.mark ? "mark" : "swatch", style: `color: ${item.colour}` }, item.mark || ""), item.text));
    return items.length ? [make("span", { class: "muted" }, made.legendName), ...items] : [];
  }

  function theme() {
    const button = document.getElementById("theme");
    const modes = [["", "Auto", "as the system"], ["light", "Light", "light"], ["dark", "Dark", "dark"]];
    let at = 0;
    button.addEventListener("click", () => {
      at = (at + 1) % modes.length;
      const [mode, text, name] = modes[at];
      if (mode) document.documentElement.dataset.theme = mode;
      else delete document.documentElement.dataset.theme;
      button.textContent = text;
      button.setAttribute("aria-label", `Colours: ${name}`);
    });
  }

  async function start() {
    const index = await unpacked(document.getElementById("index"));
    document.getElementById("title").textContent = shown(index.title, 120);
    theme();
    const tabs = document.getElementById("tabs");
    const made = new Map();
    const buttons = index.sections.map((entry, i) => make("button", {
      type: "button", role: "tab", id: `tab-${i}`, "aria-controls": "main", "aria-selected": "false", tabindex: "-1", title: shown(entry.name, 1000), on: { click: () => open(i) },
    }, shown(entry.name, 40)));

    async function open(i) {
      document.documentElement.dataset.state = "opening";
      buttons.forEach((button, k) => { button.setAttribute("aria-selected", String(k === i)); button.tabIndex = k === i ? 0 : -1; });
      if (!made.has(i)) made.set(i, new Section(await unpacked(document.getElementById(`section-${i}`))));
      section = made.get(i);
      main.replaceChildren(...index.notes.map((text) => note(text)), section.root);
      if (section.drawn) section.paint();
      else { section.drawn = true; section.draw(); }
      document.documentElement.dataset.state = "ready";
    }

    if (buttons.length > 1) {
      tabs.hidden = false;
      tabs.append(...buttons);
      main.setAttribute("role", "tabpanel");
      tabs.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!step) return;
        const next = (buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length;
        buttons[next].focus();
        open(next);
      });
    }
    await open(0);
    let waiting = 0;
    new ResizeObserver(() => {
      cancelAnimationFrame(waiting);
      waiting = requestAnimationFrame(() => section.paint());
    }).observe(main);
  }

  start();
})();
