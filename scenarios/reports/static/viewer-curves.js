"use strict";
/* Under the space-time diagram and along the same axis: what each agent has leaked so far, and aggregates of it.
   And at the bottom the overview of the whole log, with a frame around what is shown. */

(() => {
  const { make, named, number, shown, Layers, along, countUpTo } = Viewer;
  const DASHES = [[], [7, 4], [2, 3], [9, 3, 2, 3]];

  class Curves {
    constructor(app) {
      this.app = app;
      this.trace = app.trace;
      this.axis = app.axis;
      this.box = document.getElementById("curves");
      this.layers = new Layers(this.box, "What each agent has leaked, over time");
      this.hovered = null;
      const { leak, leak_note: note } = this.trace.head;
      this.names = leak ? leak.aggregators : [];
      const usual = ["average", "max"].map((name) => this.names.indexOf(name)).filter((k) => k >= 0);
      this.shownAggregates = new Set(usual.length ? usual : d3.range(Math.min(2, this.names.length)));
      this.agentsShown = true;
      const paragraph = document.getElementById("leak-note");
      paragraph.hidden = Boolean(leak) && !note;
      paragraph.textContent = note ? shown(note, 600) : leak ? "" : "What leaked was not analysed.";
      this.box.hidden = !leak;
      if (!leak) return;
      this.fillChips();
      along(this.box, this.axis, {
        hover: (x, y, event) => this.hover(x, y, event),
        leave: () => this.leave(),
        click: (x, y) => this.click(x, y),
      });
    }

    colour(k) {
      return this.app.palette.series[k % 8];
    }

    fillChips() {
      const box = document.getElementById("aggregates");
      const agents = make("button", { type: "button", "aria-pressed": "true" }, make("i", { class: "swatch line" }), "each agent");
      agents.firstChild.style.setProperty("--chip", "var(--muted)");
      agents.addEventListener("click", () => {
        this.agentsShown = !this.agentsShown;
        agents.setAttribute("aria-pressed", this.agentsShown);
        this.app.touch("curves");
      });
      this.chips = this.names.map((name, k) => {
        const figure = make("b", {});
        const chip = make("button", { type: "button", "aria-pressed": this.shownAggregates.has(k) },
          make("i", { class: "swatch line" }), named(name, {}, 60), figure);
        chip.firstChild.style.setProperty("--chip", `var(--series-${(k % 8) + 1})`);
        chip.addEventListener("click", () => {
          if (!this.shownAggregates.delete(k)) this.shownAggregates.add(k);
          chip.setAttribute("aria-pressed", this.shownAggregates.has(k));
          this.app.touch("curves");
        });
        return { chip, figure };
      });
      box.replaceChildren(agents, ...this.chips.map(({ chip }) => chip));
    }

    y(p) {
      return this.layers.height - 8 - (p / this.trace.lossLimit()) * (this.layers.height - 16);
    }

    render(changed) {
      if (!this.chips) return;
      const resized = this.layers.measure(changed);
      if (resized || ["view", "data", "theme", "agent", "curves"].some((name) => changed.has(name))) this.drawData();
      if (resized || changed.size) this.drawMoving();
      if (changed.has("cursor") || changed.has("data")) {
        const values = this.trace.aggregates.at(this.app.cursor) || [];
        this.chips.forEach(({ figure }, k) => (figure.textContent = number(values[k] ?? null, 3)));
      }
    }

    drawData() {
      const { layers, axis, app, trace } = this;
      const context = layers.data;
      layers.clear(context);
      context.font = Viewer.canvasFont(this.box);
      context.textBaseline = "middle";
      context.textAlign = "right";
      context.lineWidth = 1;
      context.strokeStyle = app.palette.grid;
      context.fillStyle = app.palette.muted;
      context.beginPath();
      for (const tick of d3.ticks(0, trace.lossLimit(), layers.height > 110 ? 4 : 2)) {
        const y = Math.round(this.y(tick)) + 0.5;
        context.moveTo(axis.gutter, y);
        context.lineTo(layers.width, y);
        context.fillText(number(tick), axis.gutter - 8, y);
      }
      context.stroke();
      context.save();
      context.beginPath();
      context.rect(axis.gutter, 0, layers.width - axis.gutter, layers.height);
      context.clip();
      context.lineJoin = "round";
      const few = trace.subjects.size <= 8;
      if (this.agentsShown) {
        let k = 0;
        for (const agent of trace.subjects) {
          const chosen = agent === app.agent;
          context.globalAlpha = chosen ? 1 : app.agent >= 0 ? 0.25 : few ? 0.6 : 0.4;
          context.strokeStyle = chosen ? app.palette.accent : app.palette.muted;
          context.lineWidth = chosen ? 2.5 : 1.1;
          context.setLineDash(few && !chosen ? DASHES[Math.floor(k / 2) % 4] : []);
          this.strokeSteps(context, trace.losses[agent], (p) => p, 0);
          k++;
        }
      }
      context.globalAlpha = 1;
      for (const k of this.shownAggregates) {
        context.strokeStyle = this.colour(k);
        context.lineWidth = 2;
        context.setLineDash(DASHES[Math.floor(k / 8) % 4]);
        this.strokeSteps(context, trace.aggregates, (values) => values[k], null);
      }
      context.setLineDash([]);
      context.restore();
    }

    /* A step line; steps within one pixel are drawn as their last. */
    strokeSteps(context, steps, valueOf, before) {
      const { axis, trace } = this;
      const cursors = steps.cursors;
      const [a, b] = axis.view;
      const start = Math.max(0, countUpTo(cursors.data, cursors.length, axis.cursorAt(a)) - 1);
      const end = axis.px(Math.min(b, axis.ofCursor(trace.count)));
      context.beginPath();
      let y = before === null ? null : this.y(before);
      let drawnTo = axis.px(Math.max(a, axis.extent()[0]));
      if (y !== null) context.moveTo(drawnTo, y);
      for (let k = start; k < cursors.length; k++) {
        const x = axis.px(axis.ofCursor(cursors.data[k]));
        if (x > end) break;
        const next = k + 1 < cursors.length ? axis.px(axis.ofCursor(cursors.data[k + 1])) : Infinity;
        if (next - x < 0.5 && k + 1 < cursors.length && next <= end) continue;
        const value = valueOf(steps.values[k]);
        if (value === null || value === undefined) continue;
        if (y === null) context.moveTo(Math.max(x, drawnTo), this.y(value));
        else {
          context.lineTo(x, y);
          context.lineTo(x, this.y(value));
        }
        y = this.y(value);
        drawnTo = x;
      }
      if (y !== null) context.lineTo(end, y);
      context.stroke();
    }

    drawMoving() {
      const { layers, axis, app, trace } = this;
      const context = layers.moving;
      layers.clear(context);
      if (this.hovered) {
        context.save();
        context.beginPath();
        context.rect(axis.gutter, 0, layers.width - axis.gutter, layers.height);
        context.clip();
        context.strokeStyle = this.hovered.agent >= 0 ? app.palette.text : this.colour(this.hovered.aggregate);
        context.lineWidth = 2.5;
        if (this.hovered.agent >= 0) this.strokeSteps(context, trace.losses[this.hovered.agent], (p) => p, 0);
        else this.strokeSteps(context, trace.aggregates, (values) => values[this.hovered.aggregate], null);
        context.restore();
      }
      const x = axis.px(axis.ofCursor(app.cursor));
      if (x < axis.gutter - 1 || x > layers.width) return;
      context.fillStyle = app.palette.accent;
      context.fillRect(Math.round(x) - 0.5, 0, 1.5, layers.height);
      const dot = (p, colour) => {
        context.beginPath();
        context.arc(x, this.y(p), 3, 0, 7);
        context.fillStyle = colour;
        context.fill();
      };
      const values = trace.aggregates.at(app.cursor) || [];
      for (const k of this.shownAggregates) if (Number.isFinite(values[k])) dot(values[k], this.colour(k));
      const own = app.agent >= 0 ? trace.loss(app.agent, app.cursor) : null;
      if (own !== null) dot(own, app.palette.accent);
    }

    /* The curve nearest to a point: {agent} or {aggregate}, and its value there. */
    nearest(x, y) {
      if (x < this.axis.gutter) return null;
      const cursor = this.axis.cursorAt(this.axis.x(x));
      let best = null;
      let least = 14;
      const consider = (value, what) => {
        const distance = Math.abs(this.y(value) - y);
        if (Number.isFinite(value) && distance < least) [best, least] = [{ agent: -1, value, ...what }, distance];
      };
      const values = this.trace.aggregates.at(cursor) || [];
      for (const k of this.shownAggregates) if (values[k] !== null) consider(values[k], { aggregate: k });
      if (this.agentsShown) for (const agent of this.trace.subjects) consider(this.trace.loss(agent, cursor), { agent });
      return best;
    }

    hover(x, y, event) {
      const { app } = this;
      const found = this.nearest(x, y);
      if (found?.agent !== this.hovered?.agent || found?.aggregate !== this.hovered?.aggregate) app.touch("hover");
      this.hovered = found;
      if (!found) {
        app.tooltip(null);
        return;
      }
      const name = found.agent >= 0 ? this.trace.head.agents[found.agent] : this.names[found.aggregate];
      const same = found.agent < 0 ? 0 : [...this.trace.subjects].filter((agent) =>
        agent !== found.agent && Math.abs(this.y(this.trace.loss(agent, this.axis.cursorAt(this.axis.x(x)))) - this.y(found.value)) < 1).length;
      app.tooltip(event, `${shown(name, 60)}${same ? ` and ${same} more` : ""}`,
        `leaked ${number(found.value)} at ${this.axis.mode === "time" ? "time" : "delivery"} ${number(this.axis.x(x))}`);
    }

    leave() {
      this.app.tooltip(null);
      if (!this.hovered) return;
      this.hovered = null;
      this.app.touch("hover");
    }

    click(x, y) {
      const found = this.nearest(x, y);
      if (found && found.agent >= 0) this.app.chooseAgent(found.agent);
      else if (x >= this.axis.gutter) this.app.seek(this.axis.cursorAt(this.axis.x(x)));
    }
  }

  class Minimap {
    constructor(app) {
      this.app = app;
      this.axis = app.axis;
      this.trace = app.trace;
      this.box = document.getElementById("minimap");
      this.layers = new Layers(this.box, "Deliveries over the whole log");
      let drag = null;
      const at = (event) => this.x(event.clientX - this.box.getBoundingClientRect().left);
      this.box.addEventListener("pointerdown", (event) => {
        if (event.button !== 0) return;
        this.box.setPointerCapture(event.pointerId);
        const x = at(event);
        const [a, b] = this.axis.view;
        const near = Math.abs(this.x(8) - this.x(0));
        const edge = Math.abs(x - a) < near ? "a" : Math.abs(x - b) < near ? "b" : null;
        const within = x > a && x < b && !this.axis.whole;
        drag = { mode: edge || (within ? "move" : "new"), start: x, a, b, moved: false };
      });
      this.box.addEventListener("pointermove", (event) => {
        if (!drag) return;
        const x = at(event);
        if (Math.abs(x - drag.start) > Math.abs(this.x(3) - this.x(0))) drag.moved = true;
        if (!drag.moved) return;
        if (drag.mode === "move") this.axis.show(drag.a + x - drag.start, drag.b + x - drag.start);
        else if (drag.mode === "a") this.axis.show(Math.min(x, drag.b), Math.max(x, drag.b));
        else if (drag.mode === "b") this.axis.show(Math.min(x, drag.a), Math.max(x, drag.a));
        else this.axis.show(Math.min(x, drag.start), Math.max(x, drag.start));
      });
      this.box.addEventListener("pointerup", () => {
        if (drag && !drag.moved && drag.mode === "new") {
          const half = (drag.b - drag.a) / 2;
          if (!this.axis.whole) this.axis.show(drag.start - half, drag.start + half);
          app.seek(this.axis.cursorAt(drag.start));
        }
        drag = null;
      });
      this.box.addEventListener("pointercancel", () => (drag = null));
    }

    px(x) {
      const [a, b] = this.axis.extent();
      return this.axis.gutter + ((x - a) / (b - a)) * (this.layers.width - this.axis.gutter - 10);
    }

    x(px) {
      const [a, b] = this.axis.extent();
      return a + ((px - this.axis.gutter) / (this.layers.width - this.axis.gutter - 10)) * (b - a);
    }

    render(changed) {
      const resized = this.layers.measure(changed);
      if (resized || ["data", "theme", "types", "axis", "matches"].some((name) => changed.has(name))) this.drawData();
      if (resized || changed.has("view") || changed.has("cursor") || changed.has("data") || changed.has("theme")) this.drawMoving();
    }

    drawData() {
      const { app, axis, layers, trace } = this;
      const context = layers.data;
      layers.clear(context);
      context.font = Viewer.canvasFont(this.box);
      context.textBaseline = "middle";
      context.fillStyle = app.palette.muted;
      context.fillText(this.trace.partial() ? "this part" : "whole log", 10, layers.height / 2);
      const bins = Math.max(1, Math.ceil((layers.width - axis.gutter - 10) / 2));
      const counts = new Uint32Array(bins);
      const [a, b] = axis.extent();
      const perUnit = bins / (b - a);
      for (let i = 0; i < trace.count; i++) {
        if (app.hiddenTypes.size && app.hiddenTypes.has(trace.type.data[i])) continue;
        counts[Math.max(0, Math.min(bins - 1, Math.floor((axis.arrival(i) - a) * perUnit)))]++;
      }
      const most = d3.max(counts) || 1;
      const room = layers.height - 10;
      context.fillStyle = app.palette.strong;
      counts.forEach((n, bin) => {
        const height = n && Math.max(1, room * Math.sqrt(n / most));
        context.fillRect(axis.gutter + bin * 2, layers.height - 4 - height, 1.5, height);
      });
      context.fillStyle = app.palette.series[1];
      let last = -1;
      for (const i of app.matches) {
        const x = Math.round(this.px(axis.arrival(i)));
        if (x === last) continue;
        context.fillRect(x - 0.5, 1, 2, 6);
        last = x;
      }
    }

    drawMoving() {
      const { app, axis, layers } = this;
      const context = layers.moving;
      layers.clear(context);
      const [a, b] = axis.view.map((x) => Math.max(axis.gutter, Math.min(layers.width - 10, this.px(x))));
      if (!axis.whole) {
        context.fillStyle = app.palette.surface;
        context.globalAlpha = 0.65;
        context.fillRect(axis.gutter, 0, a - axis.gutter, layers.height);
        context.fillRect(b, 0, layers.width - 10 - b, layers.height);
        context.globalAlpha = 1;
      }
      context.strokeStyle = app.palette.accent;
      context.lineWidth = 1.5;
      context.strokeRect(a, 1.5, Math.max(3, b - a), layers.height - 3);
      context.fillStyle = app.palette.accent;
      context.fillRect(this.px(axis.ofCursor(app.cursor)) - 0.75, 0, 1.5, layers.height);
    }
  }

  Object.assign(Viewer, { Curves, Minimap });
})();
