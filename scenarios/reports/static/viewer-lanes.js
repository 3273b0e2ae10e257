"use strict";
/* The space-time diagram: a lane for each agent, time to the right, each delivery a line from where and when it was
   sent to where and when it arrived. Where more deliveries lie in view than lines could be told apart, the lanes show
   how many arrive, by type, instead. Below all of it the overview of the whole log, with a frame around the view. */

(() => {
  const { shown, number, count, Layers, along, fitted } = Viewer;
  const RULER = 24;
  const MOST_LINES = 4000;
  const LOST = /lost|drop|undelivered|gave up/;
  const BIN = 4; // pixels of one column of the density

  class Lanes {
    constructor(app) {
      this.app = app;
      this.trace = app.trace;
      this.axis = app.axis;
      this.box = document.getElementById("lanes");
      this.layers = new Layers(this.box, "Messages between agents over time");
      this.note = document.getElementById("lanes-note");
      this.hovered = -1;
      this.lines = [];
      along(this.box, this.axis, {
        hover: (x, y, event) => this.hover(x, y, event),
        leave: () => this.leave(),
        click: (x, y) => this.click(x, y),
        scrubs: (y) => y < RULER,
        scrub: (x) => app.seek(this.axis.cursorAt(x)),
      });
    }

    lane(agent) {
      const agents = Math.max(1, this.trace.head.agents.length);
      return RULER + ((this.layers.height - RULER - 4) * (agent + 0.5)) / agents;
    }

    laneHeight() {
      return (this.layers.height - RULER - 4) / Math.max(1, this.trace.head.agents.length);
    }

    render(changed) {
      const resized = this.layers.measure(changed);
      this.axis.width = this.layers.width || this.axis.width;
      if (resized || changed.has("view") || changed.has("data") || changed.has("theme") || changed.has("types") ||
          changed.has("agent")) {
        this.drawData();
        this.drawMoving();
      } else if (changed.has("cursor") || changed.has("delivery") || changed.has("hover")) this.drawMoving();
    }

    drawData() {
      const { layers, axis, trace, app } = this;
      const context = layers.data;
      layers.clear(context);
      this.drawGround(context);
      const [from, to] = axis.visible();
      const [a, b] = axis.view;
      this.lines = [];
      let inView = 0;
      const sent = axis.sent;
      const types = app.hiddenTypes.size ? trace.type.data : null;
      for (let i = from; i < to; i++) {
        if (sent[i] > b || (types && app.hiddenTypes.has(types[i]))) continue;
        if (++inView <= MOST_LINES) this.lines.push(i);
      }
      this.dense = inView > MOST_LINES;
      context.save();
      context.beginPath();
      context.rect(axis.gutter, 0, layers.width - axis.gutter, layers.height);
      context.clip();
      if (this.dense) {
        this.lines = [];
        this.drawDensity(context, from, to, a, b);
      } else this.drawLines(context);
      this.drawFates(context, a, b);
      this.drawMarks(context, a, b);
      context.restore();
      const said = this.dense ? "density" : "";
      if (this.note.textContent !== said) this.note.textContent = said;
      this.note.title = `${count(inView)} deliveries are in view, so the lanes show how many arrive; below ${count(MOST_LINES)} each is a line`;
      this.box.dataset.drawing = this.dense ? "density" : "lines";
      this.box.dataset.inView = inView;
    }

    drawGround(context) {
      const { layers, axis, app, trace } = this;
      const { palette } = app;
      context.font = Viewer.canvasFont(this.box);
      context.textBaseline = "middle";
      const scale = d3.scaleLinear(axis.view, [axis.px(axis.view[0]), axis.px(axis.view[1])]);
      const ticks = scale.ticks(Math.max(2, Math.floor((layers.width - axis.gutter) / 110)));
      const format = scale.tickFormat(Math.max(2, Math.floor((layers.width - axis.gutter) / 110)));
      context.lineWidth = 1;
      context.strokeStyle = palette.grid;
      context.fillStyle = palette.muted;
      context.textAlign = "center";
      context.beginPath();
      for (const tick of ticks) {
        const x = Math.round(scale(tick)) + 0.5;
        if (axis.mode === "order" && !Number.isInteger(tick)) continue;
        context.moveTo(x, RULER - 5);
        context.lineTo(x, layers.height);
        const text = axis.mode === "order" ? count(trace.number(tick) - 1) : format(tick);
        const half = context.measureText(text).width / 2;
        if (x - half >= axis.gutter - 4 && x + half <= layers.width) context.fillText(text, x, RULER / 2 - 1);
      }
      context.moveTo(axis.gutter, RULER - 0.5);
      context.lineTo(layers.width, RULER - 0.5);
      context.stroke();
      const height = this.laneHeight();
      const every = Math.max(1, Math.ceil(14 / height));
      context.textAlign = "right";
      context.strokeStyle = height >= 5 ? palette.grid : palette.surface;
      context.beginPath();
      trace.head.agents.forEach((name, agent) => {
        const y = Math.round(this.lane(agent)) + 0.5;
        context.moveTo(axis.gutter, y);
        context.lineTo(layers.width, y);
        const chosen = agent === app.agent;
        const tooNear = app.agent >= 0 && Math.abs(agent - app.agent) * height < 14;
        if (!chosen && (agent % every || tooNear)) return;
        context.fillStyle = chosen ? palette.accent : palette.muted;
        context.fillText(fitted(context, name, axis.gutter - 18), axis.gutter - 8, y);
      });
      context.stroke();
      context.textAlign = "left";
      context.fillStyle = palette.muted;
      context.fillText(axis.mode === "time" ? "virtual time" : "delivery", 10, RULER / 2 - 1);
    }

    touches(i) {
      const { app, trace } = this;
      return app.agent < 0 || trace.agentOf(trace.src.data[i]) === app.agent || trace.agentOf(trace.dst.data[i]) === app.agent;
    }

    drawLines(context) {
      const { app, trace } = this;
      const crowd = this.lines.length;
      const alpha = crowd > 1500 ? 0.45 : crowd > 300 ? 0.65 : 0.9;
      for (const near of app.agent < 0 ? [true] : [false, true]) {
        const paths = new Map();
        const heads = new Map();
        for (const i of this.lines) {
          if (app.agent >= 0 && this.touches(i) !== near) continue;
          const type = trace.type.data[i];
          if (!paths.has(type)) {
            paths.set(type, new Path2D());
            heads.set(type, new Path2D());
          }
          const [, , x, y] = this.trail(paths.get(type), i);
          if (crowd <= 800) {
            heads.get(type).moveTo(x + 2.2, y);
            heads.get(type).arc(x, y, 2.2, 0, 7);
          }
        }
        context.globalAlpha = near ? alpha : 0.12;
        context.lineWidth = near && app.agent >= 0 ? 1.4 : 1;
        for (const [type, path] of paths) {
          context.strokeStyle = context.fillStyle = app.palette.type(type);
          context.stroke(path);
          context.fill(heads.get(type));
        }
      }
      context.globalAlpha = 1;
    }

    /* Adds the line of delivery i to a path; its ends. A message between nodes of one agent bows over its lane. */
    trail(path, i) {
      const { axis, trace } = this;
      const from = trace.agentOf(trace.src.data[i]);
      const to = trace.agentOf(trace.dst.data[i]);
      const [x0, y0, x1, y1] = [axis.px(axis.sent[i]), this.lane(from), axis.px(axis.arrival(i)), this.lane(to)];
      path.moveTo(x0, y0);
      if (from === to) path.quadraticCurveTo((x0 + x1) / 2, y0 - Math.min(16, this.laneHeight() * 0.7), x1, y1);
      else path.lineTo(x1, y1);
      return [x0, y0, x1, y1];
    }

    drawDensity(context, from, to, a, b) {
      const { axis, app, trace, layers } = this;
      const agents = trace.head.agents.length;
      const bins = Math.ceil((layers.width - axis.gutter) / BIN);
      // One count for each type, unless that would be very many.
      const kinds = trace.types.length * agents * bins < 2e6 ? trace.types.length : 1;
      const counts = new Uint32Array(agents * bins * kinds);
      const totals = new Uint32Array(agents * bins);
      const left = axis.px(0) - axis.gutter;
      const perUnit = axis.px(1) - axis.px(0);
      const [types, dst] = [trace.type.data, trace.dst.data];
      const at = axis.mode === "time" ? trace.at.data : null;
      let most = 1;
      const hidden = app.hiddenTypes;
      for (let i = from; i < to; i++) {
        const x = at ? at[i] : i + 1;
        if (x < a || x > b || (hidden.size && hidden.has(types[i]))) continue;
        const bin = Math.floor((left + x * perUnit) / BIN);
        const agent = trace.agentOfNode[dst[i]];
        if (bin < 0 || bin >= bins || !(agent >= 0)) continue;
        const cell = agent * bins + bin;
        counts[cell * kinds + (kinds > 1 ? types[i] : 0)]++;
        if (++totals[cell] > most) most = totals[cell];
      }
      const room = Math.max(1, this.laneHeight() - (this.laneHeight() > 6 ? 2 : 0));
      const paths = Array.from({ length: kinds }, () => new Path2D());
      for (let agent = 0; agent < agents; agent++) {
        const bottom = this.lane(agent) + room / 2;
        for (let bin = 0; bin < bins; bin++) {
          const cell = agent * bins + bin;
          if (!totals[cell]) continue;
          const height = Math.max(1, room * Math.sqrt(totals[cell] / most));
          let y = bottom;
          for (let kind = 0; kind < kinds; kind++) {
            const part = (height * counts[cell * kinds + kind]) / totals[cell];
            if (part) paths[kind].rect(axis.gutter + bin * BIN, (y -= part), BIN - 0.5, part);
          }
        }
      }
      paths.forEach((path, kind) => {
        context.fillStyle = kinds > 1 ? app.palette.type(kind) : app.palette.accent;
        context.globalAlpha = 0.85;
        context.fill(path);
      });
      context.globalAlpha = 1;
    }

    /* What was lost: a line that sets out towards its receiver and ends in a cross; what else the network did
       (sent again, doubled, altered): a ring on the sender's lane. */
    drawFates(context, a, b) {
      const { axis, app, trace } = this;
      const lines = new Path2D();
      const crosses = new Path2D();
      const rings = new Path2D();
      let drawn = 0;
      this.crosses = [];
      for (const fate of trace.fates) {
        if (fate.kind === "acknowledged") continue; // what one expects
        const x = axis.ofEvent(fate);
        if (x < a || x > b || app.hiddenTypes.has(fate.type)) continue;
        if (++drawn > MOST_LINES) break;
        const from = this.lane(trace.agentOf(fate.src));
        const to = this.lane(trace.agentOf(fate.dst));
        if (trace.agentOf(fate.src) < 0 || trace.agentOf(fate.dst) < 0) continue;
        const lost = LOST.test(fate.kind);
        const arm = this.dense ? 1.8 : 3;
        const [x0, x1, y1] = [axis.px(x), axis.px(x) + (lost ? 7 : 0), from + (lost && !this.dense ? (to - from) * 0.45 : 0)];
        if (!lost && this.dense) continue;
        this.crosses.push([x1, y1, fate]);
        if (!lost) {
          rings.moveTo(x1 + arm, y1);
          rings.arc(x1, y1, arm, 0, 7);
          continue;
        }
        if (!this.dense) {
          lines.moveTo(x0, from);
          lines.lineTo(x1, y1);
        }
        crosses.moveTo(x1 - arm, y1 - arm);
        crosses.lineTo(x1 + arm, y1 + arm);
        crosses.moveTo(x1 + arm, y1 - arm);
        crosses.lineTo(x1 - arm, y1 + arm);
      }
      const crowded = drawn > 400 ? 0.5 : 1;
      context.strokeStyle = app.palette.bad;
      context.globalAlpha = 0.6 * crowded;
      context.lineWidth = 1;
      context.setLineDash([3, 2]);
      context.stroke(lines);
      context.setLineDash([]);
      context.globalAlpha = crowded;
      context.lineWidth = 1.5;
      context.stroke(crosses);
      context.strokeStyle = app.palette.warning;
      context.stroke(rings);
      context.globalAlpha = 1;
    }

    drawMarks(context, a, b) {
      const { axis, app, trace, layers } = this;
      context.fillStyle = context.strokeStyle = app.palette.warning;
      const positions = new Set();
      for (const mark of trace.marks) {
        const x = axis.ofEvent(mark);
        if (x >= a && x <= b) positions.add(Math.round(axis.px(x)) + 0.5);
      }
      for (const px of positions) {
        context.globalAlpha = positions.size > 12 ? 0.15 : 0.45;
        context.beginPath();
        context.moveTo(px, RULER);
        context.lineTo(px, layers.height);
        context.stroke();
        context.globalAlpha = 1;
        context.beginPath();
        context.moveTo(px - 4, RULER - 8);
        context.lineTo(px + 4, RULER - 8);
        context.lineTo(px, RULER - 1);
        context.fill();
      }
    }

    drawMoving() {
      const { layers, axis, app, trace } = this;
      const context = layers.moving;
      layers.clear(context);
      const x = axis.px(axis.ofCursor(app.cursor));
      context.save();
      context.beginPath();
      context.rect(axis.gutter - 6, 0, layers.width, layers.height);
      context.clip();
      const strong = (i, width, colour) => {
        if (i < 0 || i >= trace.count) return;
        const path = new Path2D();
        const ends = this.trail(path, i);
        context.lineWidth = width + 3;
        context.strokeStyle = app.palette.surface;
        context.stroke(path);
        context.lineWidth = width;
        context.strokeStyle = context.fillStyle = colour;
        context.stroke(path);
        for (let k = 0; k < 4; k += 2) {
          context.beginPath();
          context.arc(ends[k], ends[k + 1], k ? 4 : 2.5, 0, 7);
          context.fill();
        }
      };
      strong(app.cursor - 1, 2, app.palette.text);
      strong(app.delivery, 2.5, app.palette.accent);
      if (this.hovered >= 0) strong(this.hovered, 2, app.palette.type(trace.type.data[this.hovered]));
      context.restore();
      if (x >= axis.gutter - 1 && x <= layers.width) {
        context.fillStyle = app.palette.accent;
        context.fillRect(Math.round(x) - 0.5, 0, 1.5, layers.height);
        context.beginPath();
        context.moveTo(x - 6, 0);
        context.lineTo(x + 6, 0);
        context.lineTo(x + 6, 7);
        context.lineTo(x, 13);
        context.lineTo(x - 6, 7);
        context.fill();
      }
    }

    /* The delivery whose line passes nearest to a point, or -1. */
    nearest(x, y) {
      let best = -1;
      let least = 8;
      for (const i of this.lines) {
        const [x0, y0, x1, y1] = this.trail(nowhere, i);
        if (x < Math.min(x0, x1) - 8 || x > Math.max(x0, x1) + 8) continue;
        const [dx, dy] = [x1 - x0, y1 - y0];
        const along01 = Math.max(0, Math.min(1, ((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy || 1)));
        // Ends are worth more than passing by: a crowded crossing is not what somebody points at.
        const distance = Math.hypot(x0 + along01 * dx - x, y0 + along01 * dy - y) + (along01 > 0.9 ? 0 : 0.5);
        if (distance < least) [best, least] = [i, distance];
      }
      return best;
    }

    agentAt(y) {
      const agent = Math.floor((y - RULER) / this.laneHeight());
      return y >= RULER && agent < this.trace.head.agents.length ? agent : -1;
    }

    hover(x, y, event) {
      const { app, trace, axis } = this;
      const mark = y < RULER && trace.marks.find((m) => Math.abs(axis.px(axis.ofEvent(m)) - x) < 5);
      const cross = (this.crosses || []).find(([cx, cy]) => Math.hypot(cx - x, cy - y) < 6);
      const hovered = mark || cross || x < axis.gutter ? -1 : this.nearest(x, y);
      if (hovered !== this.hovered) {
        this.hovered = hovered;
        app.touch("hover");
      }
      const agent = this.agentAt(y);
      if (mark) app.tooltip(event, mark.text, `at ${number(mark.time)}`);
      else if (cross) app.tooltip(event, ...fateLines(app, cross[2]));
      else if (hovered >= 0) app.tooltip(event, ...deliveryLines(app, hovered));
      else if (x < axis.gutter && agent >= 0) app.tooltip(event, trace.head.agents[agent], app.lossText(agent));
      else app.tooltip(null);
    }

    leave() {
      this.app.tooltip(null);
      if (this.hovered < 0) return;
      this.hovered = -1;
      this.app.touch("hover");
    }

    click(x, y) {
      const { app, axis } = this;
      const agent = this.agentAt(y);
      const delivery = x < axis.gutter ? -1 : this.nearest(x, y);
      if (delivery >= 0) app.chooseDelivery(delivery);
      else if (x < axis.gutter && agent >= 0) app.chooseAgent(agent === app.agent ? -1 : agent);
      else if (x >= axis.gutter) app.seek(axis.cursorAt(axis.x(x)));
    }
  }

  const nowhere = { moveTo() {}, lineTo() {}, quadraticCurveTo() {} };

  function deliveryLines(app, i) {
    const { trace } = app;
    return [
      `${trace.types[trace.type.data[i]]} from ${shown(app.nodeName(trace.src.data[i]), 40)} to ${shown(app.nodeName(trace.dst.data[i]), 40)}`,
      `delivery ${count(trace.number(i))}, sent ${number(trace.sent.data[i])}, arrived ${number(trace.at.data[i])}`,
    ];
  }

  function fateLines(app, fate) {
    return [
      `${fate.kind}: ${app.trace.types[fate.type] ?? "message"} from ${shown(app.nodeName(fate.src), 40)} to ${shown(app.nodeName(fate.dst), 40)}`,
      `at ${number(fate.time)}${fate.reason ? `, ${fate.reason}` : ""}`,
    ];
  }

  Object.assign(Viewer, { Lanes });
})();
