"use strict";
/* The inspector: an agent (values, leakage, mailbox, what others believe of it and it of others), a delivery
   (payload, what it disclosed), and the run. */

(() => {
  const { make, named, shown, number, count, LongList, countBelow } = Viewer;
  const ROW = 28;
  const SOME = -1; // in place of a value: some value of the variable
  const MOST_ROWS = 200; // of a table of beliefs
  const MOST_COLUMNS = 60;
  const MOST_FLYING = 1000;
  const EVERY = 70; // milliseconds

  /* A row of a long list that shows a delivery and selects it. */
  function deliveryRow(app, i, far = null) {
    const { trace } = app;
    const type = trace.type.data[i];
    const ends = `${app.shortName(trace.src.data[i])} → ${app.shortName(trace.dst.data[i])}`;
    const swatch = make("i", { class: "swatch" });
    swatch.style.setProperty("--chip", `var(--series-${(type % 8) + 1})`);
    return make("button", {
      type: "button",
      class: `row${i === app.delivery ? " chosen" : ""}`,
      "data-delivery": i,
      on: { click: () => app.chooseDelivery(i) },
    },
      make("span", { class: "number" }, count(trace.number(i))),
      make("span", { class: "type" }, swatch, named(trace.types[type] ?? "?", {}, 40)),
      far === null ? named(ends, {}, 120) : named(app.nodeName(far), {}, 80),
      make("span", { class: "number", title: "virtual time of arrival" }, number(trace.at.data[i])));
  }

  function heading(text, ...more) {
    return make("h3", {}, text, make("span", { class: "spring" }), ...more);
  }

  function facts(pairs) {
    return make("dl", { class: "facts-list" }, ...pairs.flatMap(([term, value]) =>
      value === null || value === undefined ? [] : [make("dt", {}, term), make("dd", {}, value instanceof Node ? value : shown(value, 300))]));
  }

  class AgentView {
    constructor(app) {
      this.app = app;
      this.trace = app.trace;
      this.last = -Infinity;
      this.waiting = null;
      this.box = document.getElementById("agent-view");
      this.choice = document.getElementById("agent-choice");
      this.trace.head.agents.forEach((name, agent) => this.choice.append(make("option", { value: agent }, shown(name, 60))));
      this.choice.addEventListener("change", () => app.chooseAgent(Number(this.choice.value)));
      this.build();
    }

    build() {
      const { app, trace } = this;
      this.choice.value = app.agent;
      this.drawn = null;
      if (app.agent < 0) {
        this.box.replaceChildren(make("p", { class: "placeholder" },
          "Choose an agent here, in the drawing, or by the name of its lane, to see its values, its mailbox, and what the others believe of it."));
        return;
      }
      const { head } = trace;
      const nodes = trace.agentNodes[app.agent];
      this.figure = make("dd", { id: "agent-loss" });
      this.bar = make("i");
      this.valueCells = nodes.map(() => make("td", { class: "value" }));
      const table = make("table", { class: "node-table" }, make("tbody", {}, ...nodes.slice(0, MOST_ROWS).map((node, k) =>
        make("tr", { "data-node": node }, make("td", {}, named(head.nodes[node].name)), this.valueCells[k],
          make("td", { class: "muted number" }, `of ${count(head.nodes[node].domain.length)}`)))));
      this.mailCount = make("small", { id: "mailbox-count" });
      this.mailbox = make("div", { class: "long-list", id: "mailbox", role: "group", "aria-label": "Messages received, newest first" });
      this.flyingCount = make("small", { id: "flying-count" });
      this.flying = make("div", { class: "long-list", id: "flying", role: "group", "aria-label": "Messages on their way" });
      this.others = make("div", { class: "beliefs-box", id: "beliefs-about", tabindex: 0 });
      this.own = make("div", { class: "beliefs-box", id: "beliefs-of", tabindex: 0 });
      const subject = trace.subjects.has(app.agent);
      const alone = nodes.length === 1; // of several it matters which of them a message is for
      this.box.replaceChildren(
        make("p", { class: "big-name", id: "agent-name" }, named(head.agents[app.agent], {}, 200)),
        make("dl", { class: "facts-list" }, make("dt", {}, "leaked so far"), this.figure),
        subject ? make("div", { class: "meter" }, this.bar) : make("span"),
        heading(nodes.length === 1 ? "Variable" : `Variables (${count(nodes.length)})`), table,
        heading("Mailbox", this.mailCount), this.mailbox,
        heading("On its way here", this.flyingCount), this.flying,
        heading("What others believe of its private costs"), this.others,
        heading("What it believes of others'"), this.own,
      );
      this.mailList = new LongList(this.mailbox, ROW, (k) => {
        const i = trace.incoming[app.agent].data[this.mailLength - 1 - k];
        return deliveryRow(app, i, alone ? trace.src.data[i] : null);
      });
      this.flyingList = new LongList(this.flying, ROW, (k) => deliveryRow(app, this.flyingNow[k], alone ? trace.src.data[this.flyingNow[k]] : null));
      this.tables = [this.makeBeliefs(this.others, app.agent, true), this.makeBeliefs(this.own, app.agent, false)];
    }

    render(changed) {
      if (changed.has("agent")) this.build();
      if (changed.has("data")) this.tables = this.app.agent < 0 ? [] : [
        this.makeBeliefs(this.others, this.app.agent, true), this.makeBeliefs(this.own, this.app.agent, false)];
      if (this.app.agent < 0 || document.getElementById("pane-agent").hidden) return;
      if (changed.has("cursor") && !changed.has("agent") && this.soon()) return;
      if (this.drawn === this.app.cursor && !changed.has("data") && !changed.has("delivery") && !changed.has("theme")) return;
      this.drawn = this.app.cursor;
      this.draw();
    }

    /* Whether it was drawn just now: while the time runs, some times a second are enough for lists and tables. */
    soon() {
      const now = performance.now();
      const wait = this.last + EVERY - now;
      if (wait > 0) {
        this.waiting ??= setTimeout(() => {
          this.waiting = null;
          this.app.touch("cursor");
        }, wait);
        return true;
      }
      this.last = now;
      return false;
    }

    draw() {
      const { app, trace } = this;
      const loss = trace.loss(app.agent, app.cursor);
      this.figure.textContent = app.lossText(app.agent, false);
      if (loss !== null) {
        this.bar.style.width = `${Math.min(100, (100 * loss) / trace.lossLimit())}%`;
        this.bar.style.background = app.palette.ramp(Math.min(1, Math.max(0.25, loss / trace.lossLimit())));
      }
      trace.agentNodes[app.agent].slice(0, MOST_ROWS).forEach((node, k) => {
        const value = trace.values[node].at(app.cursor);
        const text = value === undefined ? "no value yet" : shown(trace.head.nodes[node].domain[value] ?? "?", 60);
        if (this.valueCells[k].textContent !== text) this.valueCells[k].textContent = text;
      });
      const mail = trace.incoming[app.agent];
      this.mailLength = countBelow(mail.data, mail.length, app.cursor);
      this.mailCount.textContent = `${count(this.mailLength)} received`;
      this.mailbox.dataset.length = this.mailLength;
      this.mailList.update(this.mailLength);
      this.flyingNow = trace.underWay(app.cursor, MOST_FLYING, app.agent);
      const many = this.flyingNow.length === MOST_FLYING ? "at least " : "";
      this.flyingCount.textContent = this.flyingNow.length ? `${many}${count(this.flyingNow.length)}` : "nothing";
      this.flying.dataset.length = this.flyingNow.length;
      this.flyingList.update(this.flyingNow.length);
      for (const draw of this.tables) draw();
    }

    /* A table of beliefs: about the agent's variables, by viewer; or of the agent, by variable of others.
       Returns what fills its cells in for the present cursor. */
    makeBeliefs(box, agent, about) {
      const { trace } = this;
      const { head } = trace;
      const rows = [];
      for (const [key, byValue] of trace.beliefs) {
        const [viewer, node] = key.split(" ").map(Number);
        if (!head.nodes[node] || !head.nodes[node].scale) continue;
        if (about ? trace.agentOfNode[node] === agent : viewer === agent) rows.push({ viewer, node, byValue });
      }
      rows.sort((a, b) => a.node - b.node || a.viewer - b.viewer);
      const cut = rows.splice(MOST_ROWS).length;
      const nothing = make("p", { class: "placeholder", style: "padding-inline: 10px" });
      if (!rows.length) {
        nothing.textContent = !head.leak ? "Not analysed." : about ? "Nobody has learnt anything of them in this log." : "It learns nothing in this log.";
        box.replaceChildren(nothing);
        return () => {};
      }
      const width = Math.min(MOST_COLUMNS, d3.max(rows, ({ node }) => head.nodes[node].domain.length));
      const several = new Set(rows.map(({ node }) => node)).size > 1;
      const domains = new Set(rows.map(({ node }) => JSON.stringify(head.nodes[node].domain.slice(0, width))));
      const titles = domains.size === 1 ? head.nodes[rows[0].node].domain : d3.range(1, width + 1).map((k) => `value ${k}`);
      // Of some messages follows only that some value, nobody knows which, costs at most so much.
      const some = rows.some(({ byValue }) => byValue.has(SOME));
      const first = about ? (several ? "who, on what" : "who") : "of";
      const lines = rows.map((row) => {
        const who = about ? head.agents[row.viewer] + (several ? `, on ${head.nodes[row.node].name}` : "") : this.app.nodeName(row.node);
        const values = d3.range(Math.min(width, head.nodes[row.node].domain.length));
        const cells = (some ? [SOME, ...values] : values).map((value) => {
          const text = make("span");
          const bar = make("i");
          const cell = make("td", { "data-value": value }, text, make("span", { class: "span" }, bar));
          return { cell, text, bar, steps: row.byValue.get(value), value, shownAs: undefined };
        });
        return { ...row, cells, who };
      });
      box.replaceChildren(make("table", { class: "beliefs" },
        make("thead", {}, make("tr", {}, make("th", { scope: "col" }, first),
          some ? make("th", { scope: "col", title: "what some value costs at most, nobody knows which" }, "some") : "",
          ...titles.slice(0, width).map((title) => make("th", { scope: "col", title: shown(title, 300) }, shown(title, 30))))),
        make("tbody", {}, ...lines.map(({ cells, who, viewer, node }) => make("tr", { "data-viewer": viewer, "data-node": node },
          make("th", { scope: "row", title: shown(who, 500) }, shown(who, 60)), ...cells.map(({ cell }) => cell))))),
        cut ? make("p", { class: "muted", style: "padding-inline: 10px" }, `${count(cut)} more rows are not shown.`) : "");
      return () => {
        for (const { cells, node } of lines) {
          for (const cell of cells) this.fillBelief(cell, head.nodes[node]);
        }
      };
    }

    fillBelief(cell, node) {
      const belief = cell.steps?.at(this.app.cursor);
      if (belief === cell.shownAs && cell.cell.className) return;
      cell.shownAs = belief;
      const { levels, labels } = node.scale;
      const [low, high] = belief || [1, levels];
      const label = (level) => labels[level - 1] ?? number(level);
      const exact = low === high;
      const unknown = low <= 1 && high >= levels;
      const range = exact ? label(low) : `${label(low)} … ${label(high)}`;
      const which = cell.value === SOME ? "some value, nobody knows which" : shown(node.domain[cell.value] ?? "?", 120);
      cell.cell.className = exact ? "exact" : unknown ? "unknown" : "narrowed";
      cell.text.textContent = unknown ? "?" : cell.value === SOME ? `≤ ${shown(label(high), 22)}` : shown(exact ? label(low) : `${label(low)}–${label(high)}`, 24);
      cell.cell.title = `${which}: ${unknown ? "anything from " : ""}${shown(range, 120)}`;
      cell.bar.style.left = `${(100 * (low - 1)) / levels}%`;
      cell.bar.style.width = `${(100 * (high - low + 1)) / levels}%`;
    }
  }

  /* Plain data as a tree that opens and closes. */
  function tree(key, value, open = true) {
    const label = key === null ? [] : [make("span", { class: "key" }, `${shown(key, 120)}: `)];
    if (value === null || typeof value !== "object") {
      const text = typeof value === "string" ? `“${shown(value, 5000)}”` : typeof value === "number" ? number(value, 12) : String(value);
      return make("div", { class: "leaf" }, ...label, make("span", { class: typeof value === "string" ? "text" : "digit" }, text));
    }
    // An array that the trace cut: its shape, its type, and its first entries.
    const isArray = !Array.isArray(value) && Array.isArray(value.shape) && Array.isArray(value.first);
    const entries = isArray ? value.first.map((x, k) => [k, x]) : Array.isArray(value) ? value.map((x, k) => [k, x]) : Object.entries(value);
    const flat = entries.length > 0 && (isArray || Array.isArray(value)) && entries.every(([, x]) => x === null || typeof x !== "object");
    const total = isArray ? value.shape.reduce((a, b) => a * b, 1) : entries.length;
    const what = isArray ? `${shown(value.dtype, 20)} array ${value.shape.join(" × ") || "of one"}` : Array.isArray(value) ? `list of ${entries.length}` : entries.length ? "" : "empty";
    const box = make("details", { open: open && entries.length <= 100 }, make("summary", {}, ...label, make("span", { class: "muted" }, what)));
    const rest = total > entries.length ? ` … and ${count(total - entries.length)} more` : "";
    if (flat) {
      box.append(make("div", { class: "leaf digit" }, entries.map(([, x]) => (typeof x === "number" ? number(x, 8) : shown(x, 200))).join(", ") + rest));
    } else {
      const most = 500;
      for (const [k, x] of entries.slice(0, most)) box.append(tree(k, x, entries.length <= 12));
      if (entries.length > most || rest) box.append(make("div", { class: "leaf muted" }, rest || `… and ${count(entries.length - most)} more`));
    }
    return box;
  }

  class DeliveryView {
    constructor(app) {
      this.app = app;
      this.box = document.getElementById("pane-delivery");
      this.build();
    }

    render(changed) {
      if (changed.has("delivery")) this.build();
    }

    build() {
      const { app } = this;
      const { trace } = app;
      const i = app.delivery;
      if (i < 0) {
        this.box.replaceChildren(make("p", { class: "placeholder" },
          "Choose a delivery: click its line in the diagram, or a row of a mailbox or of what was found."));
        return;
      }
      const [src, dst] = [trace.src.data[i], trace.dst.data[i]];
      const agentLink = (node) => make("button", { type: "button", class: "link", on: { click: () => {
        app.chooseAgent(trace.agentOf(node));
        app.openTab("agent");
      } } }, named(app.nodeName(node), {}, 200));
      const swatch = make("i", { class: "swatch" });
      swatch.style.setProperty("--chip", `var(--series-${(trace.type.data[i] % 8) + 1})`);
      const step = (label, to, id) => make("button", { type: "button", id, disabled: to < 0, on: { click: () => app.chooseDelivery(to) } }, label);
      this.payload = make("div", { class: "json", id: "payload" }, make("span", { class: "muted" }, "unpacking …"));
      this.said = make("ul", { class: "said", id: "said" });
      const took = trace.at.data[i] - trace.sent.data[i];
      this.box.replaceChildren(
        make("p", { class: "big-name", id: "delivery-type" }, swatch, named(trace.types[trace.type.data[i]] ?? "?", {}, 200)),
        facts([
          ["from", agentLink(src)], ["to", agentLink(dst)],
          ["delivery", make("span", { id: "delivery-number" }, count(trace.number(i)))],
          ["sent", number(trace.sent.data[i], 8)], ["arrived", `${number(trace.at.data[i], 8)}${took > 0 ? `, after ${number(took, 6)}` : ""}`],
          ["step", number(trace.step.data[i])], ["message", `${count(trace.n.data[i])} of its sender${trace.copy.data[i] ? `, copy ${count(trace.copy.data[i])}` : ""}`],
          ["size", `${count(trace.bytes.data[i])} bytes`], ["NCCC", number(trace.stamp.data[i])],
        ]),
        make("div", { class: "steps" },
          make("span", { class: "muted" }, "on this channel"), step("‹ previous", trace.alongChannel(i, -1), "channel-previous"),
          step("next ›", trace.alongChannel(i, 1), "channel-next")),
        heading("Payload"), this.payload,
        heading("What it tells its receiver"), this.said,
      );
      this.fill(i);
    }

    async fill(i) {
      let found = null;
      try {
        found = await this.app.trace.details.of(i);
      } catch (error) {
        this.payload.replaceChildren(make("span", { class: "muted" }, `The payload could not be unpacked (${shown(error.message, 200)}).`));
        return;
      }
      if (this.app.delivery !== i) return;
      if (!found) {
        this.payload.replaceChildren(make("span", { class: "muted" }, "Not in this trace."));
        return;
      }
      const [payload, said] = found;
      const fields = payload !== null && typeof payload === "object" && !Array.isArray(payload) ? Object.entries(payload) : [["payload", payload]];
      this.payload.replaceChildren(...(fields.length ? fields.map(([key, value]) => tree(key, value)) : [make("span", { class: "muted" }, "no fields")]));
      this.payload.dataset.of = i;
      this.said.replaceChildren(...(said.length ? said.map((sentence) => make("li", {}, shown(sentence, 1000)))
        : [make("li", { class: "muted" }, "nothing")]));
    }
  }

  class RunView {
    constructor(app) {
      this.app = app;
      this.box = document.getElementById("pane-run");
      this.build();
    }

    render(changed) {
      if (changed.has("data")) this.build();
    }

    build() {
      const { app } = this;
      const { head, result, marks, fates, count: deliveries } = app.trace;
      const parameters = Object.entries(head.params || {});
      const kinds = d3.rollup(fates, (all) => all.length, (fate) => fate.kind);
      const jump = (event, text) => make("li", {}, make("button", { type: "button", on: { click: () => app.seek(event.cursor) } },
        make("span", { class: "number" }, number(event.time)), named(text, {}, 300)));
      this.box.replaceChildren(
        heading("What ran"),
        facts([["problem", named(head.name)], ["solver", named(head.solver)], ["seed", head.seed], ["network", head.network],
          ["objective", head.objective], ["agents", count(head.agents.length)], ["variables", count(head.nodes.length)],
          ["constraints", count(head.edges.length)], ["agentsim", head.package]]),
        heading("Parameters"),
        parameters.length ? facts(parameters.map(([key, value]) => [named(key, {}, 60), value === null ? "–" : typeof value === "object" ? JSON.stringify(value) : typeof value === "number" ? number(value, 8) : String(value)]))
          : make("p", { class: "muted" }, "none"),
        heading("Result"),
        result ? facts([["status", result.status], ["cost", result.cost === null ? "no assignment" : number(result.cost)], ["bound", result.bound === null ? null : number(result.bound)],
          ["limit", result.limit || null], ["virtual time", number(result.virtual_time)], ["messages", number(result.messages)],
          ["bytes", number(result.bytes)], ["NCCC", number(result.nccc)]])
          : make("p", { class: "muted" }, head.live ? "The run goes on." : "The log ends before the result."),
        heading("In this page"),
        facts([["deliveries", app.windowText()], ...[...kinds].map(([kind, n]) => [kind, count(n)])]),
        heading(`Events (${count(marks.length)})`),
        marks.length ? make("ul", { class: "marks", id: "marks" }, ...marks.slice(0, 300).map((mark) => jump(mark, mark.text))) : make("p", { class: "muted" }, deliveries ? "none" : "nothing has happened yet"),
        marks.length > 300 ? make("p", { class: "muted" }, `${count(marks.length - 300)} more are on the diagram.`) : "",
      );
    }
  }

  Object.assign(Viewer, { AgentView, DeliveryView, RunView, deliveryRow });
})();
