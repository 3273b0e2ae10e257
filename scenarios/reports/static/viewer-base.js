"use strict";
/* What the viewer's parts share: names made safe to show, numbers, elements, colours, unpacking. */

(() => {
  // Characters that nobody sees but that break a line, turn it around or hide it are shown by their number.
  const plain = { "\t": "\\t", "\n": "\\n", "\r": "\\r" };
  const hidden = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/g;

  /* A text from outside as one visible line of at most `limit` characters. */
  function shown(text, limit = 300) {
    let line = String(text);
    const whole = line.length;
    if (whole > limit) line = `${line.slice(0, limit - 1)}…`;
    return line.replace(hidden, (c) => plain[c] ?? `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
  }

  /* An element with attributes, properties of `data-`, and children (texts are text, never markup). */
  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || (value === false && !name.startsWith("aria-"))) continue;
      if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
      else element.setAttribute(name, value === true && !name.startsWith("aria-") ? "" : value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  }

  /* A name in one line, cut by the layout, whole (up to a bound) in its tooltip. */
  function named(text, attributes = {}, limit = 120) {
    return make("span", { ...attributes, class: `name ${attributes.class || ""}`, title: shown(text, 2000) }, shown(text, limit));
  }

  const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

  function count(n) {
    return grouped.format(n);
  }

  /* At most `digits` significant digits below the thousands, without trailing zeros. */
  function number(x, digits = 4) {
    if (x === null || x === undefined) return "–";
    if (typeof x !== "number") return shown(x, 60);
    if (!Number.isFinite(x)) return x > 0 ? "∞" : x < 0 ? "−∞" : "not a number";
    if (Number.isInteger(x) && Math.abs(x) < 1e15) return grouped.format(x).replace("-", "−");
    if (Math.abs(x) >= 1e15) return x.toExponential(digits - 1).replaceAll("-", "−");
    if (Math.abs(x) >= 1000) return new Intl.NumberFormat("en", { maximumFractionDigits: 1 }).format(x).replace("-", "−");
    return String(Number(x.toPrecision(digits))).replace("-", "−");
  }

  /* The page's colours as a canvas and an interpolation need them; read anew when the theme changes. */
  class Palette {
    constructor() {
      this.probe = make("span", { hidden: true });
      document.body.append(this.probe);
      this.read();
    }

    token(name) {
      this.probe.style.color = `var(--${name})`;
      return getComputedStyle(this.probe).color;
    }

    read() {
      for (const name of ["background", "surface", "border", "grid", "text", "muted", "accent", "bad", "warning", "focus"]) {
        this[name] = this.token(name);
      }
      this.sunken = this.token("surface-sunken");
      this.strong = this.token("border-strong");
      this.series = d3.range(1, 9).map((k) => this.token(`series-${k}`));
      this.ramp = d3.piecewise(d3.interpolateLab, d3.range(1, 6).map((k) => this.token(`ramp-${k}`)));
    }

    type(t) {
      return this.series[t % this.series.length];
    }
  }

  /* What a data item holds: base64 of deflated JSON. */
  async function unpacked(element) {
    const text = element.textContent.trim();
    const bytes = Uint8Array.fromBase64 ? Uint8Array.fromBase64(text) : Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return JSON.parse(await new Response(stream).text());
  }

  /* A long list of rows of one height, of which only the visible ones exist.
     row(k) gives the element of entry k; update(length) shows the list anew. */
  class LongList {
    constructor(box, rowHeight, row) {
      this.box = box;
      this.rowHeight = rowHeight;
      this.row = row;
      this.length = 0;
      this.sheet = make("div", { class: "long-sheet", role: "presentation" });
      box.replaceChildren(this.sheet);
      // Kept, because asking for them while rows change makes the browser lay the page out each time.
      this.top = this.height = 0;
      box.addEventListener("scroll", () => {
        this.top = box.scrollTop;
        this.draw();
      }, { passive: true });
      new ResizeObserver(() => {
        this.height = box.clientHeight;
        this.draw();
      }).observe(box);
    }

    update(length) {
      this.length = length;
      // Browsers stop laying out somewhere above ten million pixels.
      this.sheet.style.height = `${Math.min(length * this.rowHeight, 8e6)}px`;
      this.drawn = "";
      this.draw();
    }

    draw() {
      const first = Math.max(0, Math.floor(this.top / this.rowHeight) - 3);
      const last = Math.min(this.length, Math.ceil((this.top + this.height) / this.rowHeight) + 3);
      const drawn = `${first} ${last}`;
      if (drawn === this.drawn) return;
      this.drawn = drawn;
      const rows = [];
      for (let k = first; k < last; k++) {
        const element = this.row(k);
        element.style.top = `${k * this.rowHeight}px`;
        rows.push(element);
      }
      this.sheet.replaceChildren(...rows);
    }

    reveal(k) {
      const top = k * this.rowHeight;
      if (top < this.top || top + this.rowHeight > this.top + this.height) {
        this.box.scrollTop = this.top = Math.max(0, top - this.height / 2);
      }
      this.drawn = "";
      this.draw();
    }
  }

  Object.assign(Viewer, { shown, make, named, count, number, Palette, unpacked, LongList });
})();
