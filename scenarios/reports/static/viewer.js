"use strict";
/* The page: opens the data, holds what is chosen (time, agent, delivery, theme), plays, and draws each part once a
   frame when something that it shows has changed. */

(() => {
  const { shown, make, named, number, count, Trace, Palette, Axis, Live, unpacked } = Viewer;
  const get = (id) => document.getElementById(id);

  class App {
    constructor(trace) {
      this.trace = trace;
      this.palette = new Palette();
      this.cursor = 0;
      this.phase = 0; // between this delivery and the next, while playing
      this.agent = -1;
      this.delivery = -1;
      this.matches = [];
      this.hiddenTypes = new Set();
      this.playing = false;
      this.changed = new Set();
      this.frames = []; // milliseconds that the last frames took to draw
      this.still = matchMedia("(prefers-reduced-motion: reduce)").matches;
      this.axis = new Axis(this);
      this.parts = [];
      this.describe();
      this.finder = new Viewer.Finder(this);
      this.parts.push(new Viewer.Graph(this), new Viewer.Lanes(this), new Viewer.Curves(this), new Viewer.Minimap(this),
        new Viewer.AgentView(this), new Viewer.DeliveryView(this), new Viewer.RunView(this), this.finder);
      // Where everything happens at once the axis of time shows nothing.
      if (trace.count && trace.startTime() === trace.lastTime) this.setAxis("order");
      this.axis.fit();
      this.wire();
      this.setTypes();
      this.touch("cursor", "data", "agent", "delivery");
    }

    /* Says that something has changed; what shows it is drawn in the next frame. */
    touch(...names) {
      if (!this.changed.size) requestAnimationFrame(() => this.draw());
      for (const name of names) this.changed.add(name);
    }

    draw() {
      const start = performance.now();
      const changed = this.changed;
      this.changed = new Set();
      this.axis.gutter = window.innerWidth < 800 ? 84 : 124;
      if (changed.has("cursor") || changed.has("data")) this.drawTransport();
      for (const part of this.parts) part.render(changed);
      this.frames.push(performance.now() - start);
      if (this.frames.length > 1000) this.frames.shift();
    }

    drawTransport() {
      const { trace, cursor } = this;
      const scrub = get("scrub");
      scrub.max = trace.count;
      scrub.value = cursor;
      const delivery = cursor ? count(trace.number(cursor - 1)) : trace.count ? `before ${trace.number(0) === 1 ? "the first" : count(trace.number(0))}` : "none";
      const time = number(trace.timeAt(cursor), 6);
      scrub.setAttribute("aria-valuetext", `delivery ${delivery} of ${count(trace.count)}, time ${time}`);
      get("clock-delivery").textContent = trace.count ? `${delivery} of ${count(trace.number(trace.count - 1))}` : `no deliveries${trace.head.live ? " yet" : ""}`;
      get("clock-time").textContent = `t = ${time}`;
      const root = get("viewer");
      if (root.dataset.count === String(trace.count)) {
        root.dataset.cursor = cursor;
        return;
      }
      root.style.setProperty("--number-width", `${Math.max(4, count(trace.count + (trace.first || 0)).length)}ch`);
      root.style.setProperty("--time-width", `${number(trace.lastTime).length + 1}ch`);
      root.dataset.cursor = cursor;
      root.dataset.count = trace.count;
    }

    windowText() {
      const { trace } = this;
      if (!trace.count) return "none";
      const total = trace.head.window?.total;
      const range = `${count(trace.number(0))} to ${count(trace.number(trace.count - 1))}`;
      return total && total > trace.count ? `${range} of ${count(total)}` : `${count(trace.count)}`;
    }

    /* The top of the page: what ran, how it ended, what to know about the log. */
    describe() {
      const { head, result } = this.trace;
      const name = get("run-name");
      name.textContent = shown(head.name || "a problem", 200);
      name.title = shown(head.name || "", 2000);
      const badge = (label, text, kind = "", title = "") => make("span", { class: `badge ${kind}`, title: title || `${label} ${shown(text, 2000)}` },
        make("b", {}, label), shown(text, 120));
      const parameters = Object.entries(head.params || {}).map(([k, v]) => `${k}=${typeof v === "object" ? JSON.stringify(v) : v}`).join(", ");
      const good = result && ["optimal", "finished"].includes(result.status);
      get("run-facts").replaceChildren(
        badge("solver", head.solver, "", shown(parameters, 2000)),
        badge("seed", String(head.seed ?? "–")),
        badge("network", head.network),
        ...(result ? [badge("status", result.status, good ? "good" : "bad")] : []),
        ...(result && result.cost !== null ? [badge(head.objective === "max" ? "utility" : "cost", number(result.cost))] : []),
        badge("deliveries", this.windowText()));
      const notes = [...head.notes];
      get("notes-button").hidden = !notes.length;
      get("notes-button").textContent = notes.length === 1 ? "1 note" : `${count(notes.length)} notes`;
      get("notes").replaceChildren(...notes.map((note) => make("div", { class: "note" }, shown(note, 1000))));
      // What the reader must know is seen at once; more than that waits behind its button.
      if (this.noted === undefined) this.noted = notes.length > 0 && notes.length <= 2;
      this.showNotes(this.noted && notes.length > 0);
    }

    showNotes(open) {
      get("notes").hidden = !open;
      get("notes-button").setAttribute("aria-expanded", open);
    }

    setTypes() {
      const { tally } = this.trace;
      get("types").replaceChildren(...d3.range(tally.length).filter((type) => tally[type]).map((type) => {
        const chip = make("button", { type: "button", "aria-pressed": !this.hiddenTypes.has(type), "data-type": type },
          make("i", { class: "swatch" }), named(this.trace.types[type] ?? "?", {}, 40), make("span", { class: "muted" }, count(tally[type])));
        chip.firstChild.style.setProperty("--chip", `var(--series-${(type % 8) + 1})`);
        chip.addEventListener("click", () => {
          if (!this.hiddenTypes.delete(type)) this.hiddenTypes.add(type);
          chip.setAttribute("aria-pressed", !this.hiddenTypes.has(type));
          this.touch("types");
        });
        return chip;
      }));
    }

    /* A live log has grown. */
    grown() {
      if (this.axis.whole) this.axis.fit();
      this.setTypes();
      this.describe();
      this.touch("data");
    }

    nodeName(node) {
      const found = this.trace.head.nodes[node];
      if (!found) return "outside";
      const agent = this.trace.head.agents[found.agent];
      return agent === undefined || agent === found.name ? found.name : `${found.name} (${agent})`;
    }

    /* A node's own name, cut. */
    shortName(node) {
      return shown(this.trace.head.nodes[node]?.name ?? "outside", 60);
    }

    lossText(agent, verb = true) {
      const loss = this.trace.loss(agent, this.cursor);
      if (loss === null) return "not analysed";
      const text = number(loss, 3);
      return verb ? `leaked ${text} so far` : text;
    }

    /* Moves to a cursor. stay: this is the log that grows, not the reader who goes elsewhere. */
    seek(cursor, { stay = false } = {}) {
      const to = Math.max(0, Math.min(this.trace.count, Math.round(cursor)));
      if (!stay && this.live?.following && to < this.trace.count) this.live.follow(false);
      this.phase = 0;
      if (to === this.cursor) return;
      this.cursor = to;
      if (stay || this.playing) this.axis.reveal(this.axis.ofCursor(to));
      this.touch("cursor");
    }

    chooseAgent(agent) {
      if (agent === this.agent) return;
      this.agent = agent;
      if (agent >= 0 && get("pane-agent").hidden) this.openTab("agent");
      this.touch("agent", "cursor");
    }

    chooseDelivery(i, open = true) {
      this.delivery = i;
      if (i >= 0) {
        this.pause();
        this.seek(i + 1);
        this.axis.reveal(this.axis.arrival(i));
        if (open) this.openTab("delivery");
      }
      this.touch("delivery");
    }

    openTab(name) {
      for (const tab of document.querySelectorAll('[role="tab"]')) {
        const chosen = tab.id === `tab-${name}`;
        tab.setAttribute("aria-selected", chosen);
        tab.tabIndex = chosen ? 0 : -1;
        get(tab.getAttribute("aria-controls")).hidden = !chosen;
      }
      this.touch("cursor", "matches");
    }

    setAxis(mode) {
      this.axis.setMode(mode);
      get("axis-time").setAttribute("aria-pressed", mode === "time");
      get("axis-order").setAttribute("aria-pressed", mode === "order");
      this.touch("axis");
    }

    play() {
      if (this.playing) return;
      if (this.cursor >= this.trace.count) this.seek(0);
      this.playing = true;
      this.showPlaying();
      let last = null;
      const frame = (now) => {
        if (!this.playing) return;
        const passed = last === null ? 0 : Math.min(0.25, (now - last) / 1000);
        last = now;
        const phase = this.phase + passed * Number(get("speed").value);
        const whole = Math.floor(phase);
        if (whole) this.seek(this.cursor + whole);
        this.phase = phase - whole;
        if (this.cursor >= this.trace.count) {
          this.pause();
          return;
        }
        this.touch("phase");
        requestAnimationFrame(frame);
      };
      requestAnimationFrame(frame);
    }

    pause() {
      if (!this.playing) return;
      this.playing = false;
      this.phase = 0;
      this.showPlaying();
      this.touch("phase");
    }

    showPlaying() {
      const button = get("play");
      button.setAttribute("aria-label", this.playing ? "Pause" : "Play");
      get("viewer").dataset.playing = this.playing;
    }

    step(by) {
      this.pause();
      this.seek(this.cursor + by);
      this.axis.reveal(this.axis.ofCursor(this.cursor));
    }

    tooltip(event, ...lines) {
      const tip = get("tooltip");
      tip.hidden = !event;
      if (!event) return;
      tip.replaceChildren(...lines.map((line) => make("div", {}, shown(line, 300))));
      const { offsetWidth: width, offsetHeight: height } = tip;
      tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, window.innerWidth - width - 8))}px`;
      tip.style.top = `${event.clientY + 18 + height > window.innerHeight ? event.clientY - height - 10 : event.clientY + 18}px`;
    }

    wire() {
      const on = (id, listener, event = "click") => get(id).addEventListener(event, listener);
      on("play", () => (this.playing ? this.pause() : this.play()));
      on("step-back", () => this.step(-1));
      on("step-forward", () => this.step(1));
      on("to-start", () => this.step(-Infinity));
      on("to-end", () => this.end());
      on("scrub", () => {
        this.pause();
        this.seek(Number(get("scrub").value));
      }, "input");
      on("axis-time", () => this.setAxis("time"));
      on("axis-order", () => this.setAxis("order"));
      on("zoom-in", () => this.zoomIn());
      on("zoom-out", () => this.axis.zoom(0.5));
      on("zoom-fit", () => this.axis.fit());
      on("notes-button", () => this.showNotes((this.noted = get("notes").hidden)));
      on("keys-button", () => get("keys").showModal());
      const tabs = [...document.querySelectorAll('[role="tab"]')];
      tabs.forEach((tab, k) => {
        tab.addEventListener("click", () => this.openTab(tab.id.slice(4)));
        tab.addEventListener("keydown", (event) => {
          const to = { ArrowRight: k + 1, ArrowLeft: k - 1 + tabs.length, Home: 0, End: tabs.length - 1 }[event.key];
          if (to === undefined) return;
          event.stopPropagation();
          event.preventDefault();
          tabs[to % tabs.length].focus();
          tabs[to % tabs.length].click();
        });
      });
      this.wireTheme();
      document.addEventListener("keydown", (event) => this.key(event));
      new ResizeObserver(() => this.touch("size")).observe(get("lanes"));
      new ResizeObserver(() => this.touch("size")).observe(get("graph"));
    }

    zoomIn() {
      const here = this.axis.ofCursor(this.cursor);
      const [a, b] = this.axis.view;
      this.axis.zoom(2, here >= a && here <= b ? here : undefined);
    }

    end() {
      this.step(Infinity);
      this.live?.follow(true);
    }

    wireTheme() {
      const root = document.documentElement;
      const button = get("theme");
      const show = () => {
        const theme = root.dataset.theme || "auto";
        button.textContent = { auto: "Auto", light: "Light", dark: "Dark" }[theme];
        button.setAttribute("aria-label", `Colours: ${theme === "auto" ? "as the system" : theme}`);
        this.palette.read();
        this.touch("theme");
      };
      button.addEventListener("click", () => {
        const next = { auto: "dark", dark: "light", light: "auto" }[root.dataset.theme || "auto"];
        if (next === "auto") delete root.dataset.theme;
        else root.dataset.theme = next;
        show();
      });
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
    }

    key(event) {
      const target = event.target;
      const typing = target.matches("input:not([type=range]), select, textarea, [contenteditable]");
      if (event.key === "Escape" && !get("keys").open) {
        if (typing) target.blur();
        else {
          this.chooseAgent(-1);
          this.chooseDelivery(-1);
        }
        return;
      }
      if (typing || event.ctrlKey || event.metaKey || event.altKey || get("keys").open) return;
      const far = Math.max(1, Math.round(this.trace.count / 100));
      const actions = {
        " ": () => (this.playing ? this.pause() : this.play()),
        ArrowRight: () => this.step(event.shiftKey ? far : 1),
        ArrowLeft: () => this.step(event.shiftKey ? -far : -1),
        Home: () => this.step(-Infinity),
        End: () => this.end(),
        "/": () => this.finder.open(),
        n: () => this.finder.go(1),
        p: () => this.finder.go(-1),
        "+": () => this.zoomIn(),
        "=": () => this.zoomIn(),
        "-": () => this.axis.zoom(0.5),
        0: () => this.axis.fit(),
        "?": () => get("keys").showModal(),
      };
      // A button in focus is what the space bar presses.
      if (event.key === " " && target.matches("button, summary, a")) return;
      if (!Object.hasOwn(actions, event.key)) return;
      event.preventDefault();
      actions[event.key]();
    }
  }

  async function open() {
    const item = (id) => document.querySelector(`script[type="application/octet-stream"][id="${id}"]`);
    const head = item("head") ? await unpacked(item("head")) : await Live.get("head");
    document.title = shown(`${head.name || "a problem"}: replay of ${head.solver}`, 120);
    const trace = new Trace(head, async (source) => (source instanceof Element ? unpacked(source) : JSON.parse(source)));
    const cores = [...document.querySelectorAll('script[type="application/octet-stream"][id^="core-"]')]
      .map((element) => [Number(element.id.slice(5)), element]).sort(([a], [b]) => a - b);
    const increments = await Promise.all(cores.map(([, element]) => unpacked(element)));
    increments.forEach((increment, k) => trace.add(increment, item(`details-${cores[k][0]}`)));
    return trace;
  }

  async function start() {
    try {
      const trace = await open();
      const app = new App(trace);
      Viewer.app = app;
      get("viewer").dataset.state = "ready";
      if (trace.head.live) app.live = new Live(app, document.querySelectorAll('script[id^="core-"]').length);
      // After the first frame has been painted.
      requestAnimationFrame(() => setTimeout(() => {
        performance.mark("agentsim-ready");
        document.documentElement.dataset.ready = "true";
      }));
    } catch (error) {
      get("viewer").dataset.state = "failed";
      get("loading").textContent = typeof DecompressionStream === "undefined"
        ? "This browser cannot unpack the page's data; any browser of 2023 or later can."
        : `The data of this page cannot be read: ${shown(error.message, 300)}`;
      console.error(error);
    }
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
