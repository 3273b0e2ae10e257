"use strict";
/* The horizontal axis that the space-time diagram, the leakage curves and the overview have in common,
   and what they share in drawing: two canvas layers, wheel and drag.

   Positions along the axis are virtual times, or numbers of deliveries when the axis shows their order (many
   networks deliver a thousand messages in the same instant). */

(() => {
  const { countUpTo, countBelow } = Viewer;

  class Axis {
    constructor(app) {
      this.app = app;
      this.trace = app.trace;
      this.mode = "time";
      this.view = [0, 1];
      this.whole = true; // the view is everything, and stays so as a live log grows
      this.gutter = 120;
      this.width = 600;
    }

    get sent() {
      return this.mode === "time" ? this.trace.sent.data : this.trace.sentRank.data;
    }

    /* Where delivery i ends. */
    arrival(i) {
      return this.mode === "time" ? this.trace.at.data[i] : i + 1;
    }

    ofCursor(cursor) {
      return this.mode === "time" ? this.trace.timeAt(cursor) : cursor;
    }

    /* Of something that happened between deliveries, at a time of its own. */
    ofEvent(event) {
      return this.mode === "time" ? event.time : this.trace.cursorAtTime(event.time);
    }

    cursorAt(x) {
      const cursor = this.mode === "time" ? this.trace.cursorAtTime(x) : Math.round(x);
      return Math.max(0, Math.min(this.trace.count, cursor));
    }

    extent() {
      const trace = this.trace;
      const range = this.mode === "time" ? [trace.startTime(), Math.max(trace.lastTime, trace.lastFate)] : [0, trace.count];
      return range[1] > range[0] ? range : [range[0] - 0.5, range[0] + 0.5];
    }

    /* Deliveries [from, to) of which some part may lie within the view. */
    visible() {
      const trace = this.trace;
      const [a, b] = this.view;
      if (this.mode === "order") {
        return [Math.max(0, Math.floor(a) - 1), Math.min(trace.count, Math.ceil(b + trace.longestRank))];
      }
      return [countBelow(trace.at.data, trace.count, a), countUpTo(trace.at.data, trace.count, b + trace.longest)];
    }

    px(x) {
      return this.gutter + ((x - this.view[0]) / (this.view[1] - this.view[0])) * (this.width - this.gutter - 10);
    }

    x(px) {
      return this.view[0] + ((px - this.gutter) / (this.width - this.gutter - 10)) * (this.view[1] - this.view[0]);
    }

    show(a, b) {
      const [start, end] = this.extent();
      const margin = (end - start) * 0.01;
      const least = this.mode === "time" ? Math.max((end - start) * 1e-6, 1e-9) : 4;
      const span = Math.min(Math.max(b - a, least), end - start + 2 * margin);
      const middle = (a + b) / 2;
      const from = Math.max(start - margin, Math.min(middle - span / 2, end + margin - span));
      this.view = [from, from + span];
      this.whole = span >= end - start;
      this.app.touch("view");
    }

    fit() {
      const [start, end] = this.extent();
      this.show(start - (end - start), end + (end - start));
    }

    zoom(factor, around = (this.view[0] + this.view[1]) / 2) {
      const [a, b] = this.view;
      this.show(around - (around - a) / factor, around + (b - around) / factor);
    }

    pan(px) {
      const shift = (px / (this.width - this.gutter - 10)) * (this.view[1] - this.view[0]);
      const [start, end] = this.extent();
      const margin = (end - start) * 0.01;
      const bounded = Math.max(start - margin - this.view[0], Math.min(shift, end + margin - this.view[1]));
      this.show(this.view[0] + bounded, this.view[1] + bounded);
    }

    /* Moves the view so that a position is within it. */
    reveal(x) {
      const [a, b] = this.view;
      if (x >= a && x <= b) return;
      this.show(x - (b - a) / 2, x + (b - a) / 2);
    }

    setMode(mode) {
      const cursors = this.view.map((x) => this.cursorAt(x));
      this.mode = mode;
      if (this.whole) this.fit();
      else this.show(...cursors.map((cursor) => this.ofCursor(cursor)));
    }
  }

  /* A canvas with the data, drawn when the view changes, and one above it for what moves with the time. */
  class Layers {
    constructor(box, label) {
      this.box = box;
      this.canvases = ["data", "moving"].map((kind) => {
        const canvas = Viewer.make("canvas", { "data-layer": kind });
        if (kind === "data") {
          canvas.setAttribute("role", "img");
          canvas.setAttribute("aria-label", label);
        } else canvas.setAttribute("aria-hidden", "true");
        return canvas;
      });
      box.prepend(...this.canvases);
      [this.data, this.moving] = this.canvases.map((canvas) => canvas.getContext("2d"));
      this.width = this.height = 0;
    }

    /* Fits the canvases to their box; true if they changed (and are empty now). Asking for a size makes the browser
       lay the page out, so it is asked for only when sizes may have changed. */
    measure(changed) {
      if (this.width && !changed.has("size")) return false;
      const ratio = Math.min(window.devicePixelRatio || 1, 2);
      const { clientWidth: width, clientHeight: height } = this.box;
      if (width === this.width && height === this.height && ratio === this.ratio) return false;
      Object.assign(this, { width, height, ratio });
      for (const canvas of this.canvases) {
        canvas.width = Math.max(1, Math.round(width * ratio));
        canvas.height = Math.max(1, Math.round(height * ratio));
        canvas.getContext("2d").setTransform(ratio, 0, 0, ratio, 0, 0);
      }
      return true;
    }

    clear(context) {
      context.clearRect(0, 0, this.width, this.height);
    }
  }

  /* Wheel and drag on a box that lies along the axis. handlers: hover(x, y, event), leave(), click(x, y),
     scrubs(y): whether a drag that starts there moves the time instead of the view, scrub(x). */
  function along(box, axis, handlers) {
    const at = (event) => {
      const bounds = box.getBoundingClientRect();
      return [event.clientX - bounds.left, event.clientY - bounds.top];
    };
    box.addEventListener("wheel", (event) => {
      const [x] = at(event);
      const sideways = Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey;
      const scrolls = document.documentElement.scrollHeight > window.innerHeight + 4;
      if (sideways) axis.pan(event.deltaX || event.deltaY);
      else if (scrolls && !event.ctrlKey) return;
      else axis.zoom(2 ** (-event.deltaY * (event.deltaMode ? 0.05 : 0.003)), axis.x(Math.max(x, axis.gutter)));
      event.preventDefault();
    }, { passive: false });
    let drag = null;
    box.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      const [x, y] = at(event);
      drag = { start: x, last: x, moved: false, scrub: handlers.scrubs?.(y) && x >= axis.gutter };
      box.setPointerCapture(event.pointerId);
      if (drag.scrub) handlers.scrub(axis.x(x));
    });
    box.addEventListener("pointermove", (event) => {
      const [x, y] = at(event);
      if (!drag) {
        handlers.hover(x, y, event);
        return;
      }
      if (Math.abs(x - drag.start) > 4) drag.moved = true;
      if (drag.scrub) handlers.scrub(axis.x(x));
      else if (drag.moved) {
        handlers.leave();
        axis.pan(drag.last - x);
      }
      if (drag.moved) drag.last = x;
    });
    box.addEventListener("pointerup", (event) => {
      const [x, y] = at(event);
      const was = drag;
      drag = null;
      if (was && !was.moved && !was.scrub) handlers.click(x, y);
    });
    box.addEventListener("pointercancel", () => (drag = null));
    box.addEventListener("pointerleave", () => handlers.leave());
  }

  /* The page's font as a canvas takes it: the shorthand of a computed style may be empty. */
  function canvasFont(element) {
    return `12px ${getComputedStyle(element).fontFamily}`;
  }

  /* Text cut to a width. */
  function fitted(context, text, width) {
    let line = Viewer.shown(text, 60);
    if (context.measureText(line).width <= width) return line;
    while (line.length > 1 && context.measureText(`${line}…`).width > width) line = line.slice(0, -1);
    return `${line}…`;
  }

  Object.assign(Viewer, { Axis, Layers, along, canvasFont, fitted });
})();
