"use strict";
/* Search: by agent, by type, and for text in what was sent or disclosed. Texts lie packed, so that part goes through
   the increments one after the other, can be overtaken by another search, and shows what it has found so far. */

(() => {
  const { shown, make, count, LongList, deliveryRow, countBelow, countUpTo } = Viewer;

  class Finder {
    constructor(app) {
      this.app = app;
      this.trace = app.trace;
      const get = (id) => document.getElementById(id);
      this.form = get("find-form");
      [this.agent, this.role, this.type, this.text] = ["find-agent", "find-role", "find-type", "find-text"].map(get);
      [this.previous, this.next] = ["find-previous", "find-next"].map(get);
      this.status = get("find-count");
      this.trace.head.agents.forEach((name, k) => this.agent.append(make("option", { value: k }, shown(name, 60))));
      this.fillTypes();
      this.list = new LongList(get("find-results"), 28, (k) => deliveryRow(app, app.matches[k]));
      this.list.box.dataset.length = 0;
      this.number = 0; // of the search: an older one that still goes on stops
      this.form.addEventListener("submit", (event) => {
        event.preventDefault();
        this.search();
      });
      for (const choice of [this.agent, this.role, this.type]) choice.addEventListener("change", () => this.search());
      this.next.addEventListener("click", () => this.go(1));
      this.previous.addEventListener("click", () => this.go(-1));
    }

    fillTypes() {
      const { types } = this.trace;
      for (let k = this.type.options.length - 1; k < types.length; k++) this.type.append(make("option", { value: k }, shown(types[k], 60)));
    }

    render(changed) {
      if (changed.has("data")) this.fillTypes();
      if (changed.has("delivery") || changed.has("matches")) {
        this.list.box.dataset.length = this.app.matches.length;
        this.list.update(this.app.matches.length);
        const k = countBelow(this.app.matches, this.app.matches.length, this.app.delivery);
        if (changed.has("delivery") && this.app.matches[k] === this.app.delivery) this.list.reveal(k);
      }
      const some = this.app.matches.length > 0;
      this.previous.disabled = this.next.disabled = !some;
    }

    open() {
      this.app.openTab("find");
      this.text.focus();
      this.text.select();
    }

    async search() {
      const search = ++this.number;
      const { trace } = this;
      const [agent, type] = [Number(this.agent.value), Number(this.type.value)];
      const role = this.role.value;
      const wanted = this.text.value.trim().toLowerCase();
      const candidates = [];
      for (let i = 0; i < trace.count; i++) {
        if (type >= 0 && trace.type.data[i] !== type) continue;
        if (agent >= 0) {
          const sends = role !== "dst" && trace.agentOf(trace.src.data[i]) === agent;
          const receives = role !== "src" && trace.agentOf(trace.dst.data[i]) === agent;
          if (!sends && !receives) continue;
        }
        candidates.push(i);
      }
      if (!wanted) {
        this.found(candidates, "");
        return;
      }
      const found = [];
      try {
        for (let k = 0; k < candidates.length; ) {
          const block = await trace.details.around(candidates[k]);
          if (search !== this.number) return;
          const end = block.start + block.entries.length;
          if (end <= candidates[k]) {
            k++; // an increment without details
            continue;
          }
          for (; k < candidates.length && candidates[k] < end; k++) {
            if (textOf(block.entries[candidates[k] - block.start]).includes(wanted)) found.push(candidates[k]);
          }
          this.found([...found], k < candidates.length ? ` so far, ${Math.round((100 * k) / candidates.length)} % searched` : "");
          await new Promise((resolve) => setTimeout(resolve)); // the page stays responsive
          if (search !== this.number) return;
        }
      } catch (error) {
        this.status.textContent = `The payloads could not be unpacked (${shown(error.message, 200)}).`;
        return;
      }
      if (!candidates.length) this.found([], "");
    }

    found(matches, more) {
      this.app.matches = matches;
      this.status.textContent = `${matches.length ? count(matches.length) : "no"} ${matches.length === 1 ? "delivery" : "deliveries"}${more}`;
      this.status.dataset.count = matches.length;
      this.status.dataset.done = more === "";
      this.app.touch("matches");
    }

    /* To the next (1) or previous (-1) match from the present delivery on, around the ends. */
    go(direction) {
      const { matches, cursor } = this.app;
      if (!matches.length) return;
      const here = cursor - 1;
      const k = direction > 0 ? countUpTo(matches, matches.length, here) : countBelow(matches, matches.length, here) - 1;
      this.app.chooseDelivery(matches[(k + matches.length) % matches.length], false);
    }
  }

  const texts = new WeakMap();

  /* What a search looks through: names of fields, values, sentences. */
  function textOf(entry) {
    if (!entry) return "";
    let text = texts.get(entry);
    if (text === undefined) {
      const parts = [];
      const gather = (value) => {
        if (value !== null && typeof value === "object") {
          for (const key of Object.keys(value)) {
            if (!Array.isArray(value)) parts.push(key);
            gather(value[key]);
          }
        } else parts.push(String(value));
      };
      gather(entry);
      texts.set(entry, (text = parts.join(" ").toLowerCase()));
    }
    return text;
  }

  Object.assign(Viewer, { Finder });
})();
