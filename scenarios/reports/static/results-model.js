"use strict";
/* The runs of one folder as the page holds them: columns, what is filtered, groups and their medians. */

(() => {
  const { count, number, shown } = Viewer;
  const FINISHED = new Set(["optimal", "finished", "infeasible", "abandoned"]);
  const STOPPED = new Set(["timeout", "deadlock", "interrupted"]);
  const MOST_COLOURS = 20;
  const MOST_FACETS = 12;
  const MOST_TICKS = 40;
  const ORDER = ["optimal", "finished", "infeasible", "abandoned", "timeout", "deadlock", "interrupted", "error", "refused", "died"];

  function kindOf(status) {
    return FINISHED.has(status) ? "finished" : STOPPED.has(status) ? "stopped" : "failed";
  }

  /* A number that came as JSON, which has no infinity. */
  function revived(x) {
    return x === "inf" ? Infinity : x === "-inf" ? -Infinity : x;
  }

  function compare(a, b) {
    if (a === null || b === null) return (a === null) - (b === null);
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return String(a).localeCompare(String(b), "en", { numeric: true });
  }

  /* A level or value in words, of at most `limit` characters. */
  function words(value, limit = 28) {
    if (value === null || value === undefined) return "none";
    return typeof value === "number" ? number(value) : shown(value, limit);
  }

  class Runs {
    constructor(summary) {
      Object.assign(this, summary);
      this.columns = new Map(summary.columns.map((column) => [column.key, { ...column, label: shown(column.label, 80) }]));
      for (const [key, column] of this.columns) {
        if (!column.levels) this.rows[key] = this.rows[key].map(revived);
        else column.varied = column.levels.length > 1;
      }
      this.size = this.rows.status.length;
      const kinds = this.columns.get("status").levels.map((level) => kindOf(level));
      this.kinds = this.rows.status.map((code) => kinds[code]);
      this.statusNames = Object.keys(this.statuses).sort((a, b) => rankOf(a) - rankOf(b) || compare(a, b));
      this.measures = [...this.columns.values()].filter((column) => column.role === "measure");
      this.axes = [...this.columns.values()].filter((column) => column.role === "axis");
      this.numbers = [...this.columns.values()].filter((column) => column.role === "number");
      if (this.groups) this.groups.size = (this.groups.statuses[this.statusNames[0]] || []).length;
      this.hidden = new Map(); // key of an axis or "status" -> texts of the levels that are not shown
    }

    value(row, key) {
      const column = this.columns.get(key);
      return column.levels ? column.levels[this.rows[key][row]] : this.rows[key][row];
    }

    /* What a run held at a time of a curve's grid, null if nothing yet. */
    curveValue(curve, run, t) {
      return revived(curve.values[run][t]);
    }

    /* Levels of an axis in their order. */
    levels(key) {
      return [...this.columns.get(key).levels].sort(compare);
    }

    colours() {
      return this.axes.filter((axis) => axis.levels.length <= MOST_COLOURS);
    }

    facets() {
      return this.axes.filter((axis) => axis.levels.length <= MOST_FACETS);
    }

    /* Whether a column has so few values, or texts, that runs can be grouped by it. */
    discrete(key) {
      const column = this.columns.get(key);
      if (column.levels) return true;
      return column.role === "number" && new Set(this.rows[key]).size <= MOST_TICKS;
    }

    numeric(key) {
      const column = this.columns.get(key);
      return (column.levels || this.rows[key]).every((value) => value === null || typeof value === "number");
    }

    hide(key, level, hidden) {
      const texts = this.hidden.get(key) || new Set();
      if (hidden) texts.add(String(level));
      else texts.delete(String(level));
      if (texts.size) this.hidden.set(key, texts);
      else this.hidden.delete(key);
    }

    isHidden(key, level) {
      return this.hidden.has(key) && this.hidden.get(key).has(String(level));
    }

    /* Numbers of the runs that pass the filters. */
    passing() {
      const tests = [...this.hidden].map(([key, texts]) => {
        const codes = this.columns.get(key).levels.map((level) => !texts.has(String(level)));
        return (row) => codes[this.rows[key][row]];
      });
      return d3.range(this.size).filter((row) => tests.every((test) => test(row)));
    }

    /* The runs in groups by these columns, in the order of their levels: [{levels, rows, exact}].
       `exact` is the number of the group that was counted over all runs, where the runs here are a sample. */
    grouped(rows, keys) {
      const groups = new Map();
      for (const row of rows) {
        const mark = keys.map((key) => this.rows[key][row]).join(" ");
        if (!groups.has(mark)) groups.set(mark, { levels: keys.map((key) => this.value(row, key)), rows: [], exact: null });
        groups.get(mark).rows.push(row);
      }
      const found = [...groups.values()];
      if (this.groups) this.join(found, keys);
      return found.sort((a, b) => a.levels.reduce((sign, level, i) => sign || compare(level, b.levels[i]), 0));
    }

    join(found, keys) {
      if (this.hidden.has("status") || !keys.every((key) => key in this.groups.levels)) return;
      const cuts = [...this.hidden].filter(([key]) => key in this.groups.levels);
      const whole = new Map();
      for (let g = 0; g < this.groups.size; g++) {
        if (cuts.some(([key, texts]) => texts.has(String(this.groups.levels[key][g])))) continue;
        const mark = JSON.stringify(keys.map((key) => this.groups.levels[key][g]));
        whole.set(mark, whole.has(mark) ? null : g);
        if (!found.some((group) => JSON.stringify(group.levels) === mark)) {
          found.push({ levels: keys.map((key) => this.groups.levels[key][g]), rows: [], exact: null });
        }
      }
      for (const group of found) group.exact = whole.get(JSON.stringify(group.levels)) ?? null;
    }

    /* How many runs of a group ended how. */
    ends(group) {
      if (group.exact !== null) {
        const counts = this.statusNames.map((name) => [name, this.groups.statuses[name][group.exact]]);
        return new Map(counts.filter(([, n]) => n));
      }
      const counts = d3.rollup(group.rows, (rows) => rows.length, (row) => String(this.value(row, "status") ?? "?"));
      return new Map(this.statusNames.filter((name) => counts.has(name)).map((name) => [name, counts.get(name)]));
    }

    /* The median of a measure over a group, with how many runs stopped, failed or have no value. */
    median(group, key) {
      const ends = this.ends(group);
      const size = d3.sum(ends.values());
      const of = (kind) => d3.sum(ends, ([status, n]) => (kindOf(status) === kind ? n : 0));
      const about = { size, failed: of("failed"), stopped: of("stopped"), exact: group.exact !== null || this.whole };
      if (group.exact !== null) {
        const fields = this.groups.measures[key];
        const found = Object.fromEntries(Object.entries(fields).map(([name, values]) => [name, revived(values[group.exact])]));
        return { ...about, ...found, missing: size - about.failed - found.n };
      }
      const grows = this.columns.get(key).grows;
      const kept = group.rows.filter((row) => this.kinds[row] !== "failed" && this.rows[key][row] !== null);
      const found = Results.median(
        kept.map((row) => this.rows[key][row]),
        grows ? kept.map((row) => this.kinds[row] === "stopped") : null,
      );
      return { ...about, ...found, missing: size - about.failed - found.n };
    }
  }

  function rankOf(status) {
    const at = ORDER.indexOf(status);
    return at < 0 ? ORDER.length : at;
  }

  /* "12 optimal, 3 timeout" */
  function endsInWords(ends) {
    return [...ends].map(([status, n]) => `${count(n)} ${shown(status, 20)}`).join(", ");
  }

  Object.assign(Results, { Runs, compare, words, revived, kindOf, endsInWords });
})();
