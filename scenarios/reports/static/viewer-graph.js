"use strict";
/* The constraint graph and the pseudo-tree: nodes coloured by what their agent has leaked so far, messages under way
   as dots on their way, the last delivery as an arrow. */

(() => {
  const { make, shown, number } = Viewer;
  const MOST_DOTS = 120;
  const MARGIN = 34;
  const WIDEST = 2.4;

  /* From each point to the one nearest to it, as far as neighbours in a triangulation tell. */
  function gaps(points) {
    if (points.length < 2) return [];
    const net = d3.Delaunay.from(points);
    return points.map((p, i) => d3.min(net.neighbors(i), (j) => Math.hypot(p[0] - points[j][0], p[1] - points[j][1])) ?? 80);
  }

  class Graph {
    constructor(app) {
      this.app = app;
      this.trace = app.trace;
      this.box = document.getElementById("graph");
      const { head } = this.trace;
      this.places = {
        graph: head.layout.graph.map(([x, y]) => [x, y]),
        tree: head.layout.tree ? head.layout.tree.map(([x, y]) => [x, y]) : null,
      };
      this.shape = "graph";
      this.names = head.nodes.map((node) => shown(node.name, 18));
      this.crowd = head.nodes.length;
      this.radius = 12;
      this.scale = 1;
      this.build();
      this.switchers();
      this.legend();
    }

    build() {
      const { trace, app } = this;
      const { head } = trace;
      this.svg = d3.select(this.box).append("svg").attr("role", "group").attr("aria-label", "Agents and constraints");
      const hatch = this.svg.append("defs").append("pattern").attr("id", "hatch").attr("width", 5).attr("height", 5)
        .attr("patternUnits", "userSpaceOnUse").attr("patternTransform", "rotate(45)");
      hatch.append("rect").attr("width", 5).attr("height", 5).attr("fill", "var(--surface-sunken)");
      hatch.append("rect").attr("width", 1.5).attr("height", 5).attr("fill", "var(--border-strong)");
      this.root = this.svg.append("g").style("--k", 1);
      this.hulls = this.root.append("g");
      this.edges = this.root.append("g");
      this.moving = this.root.append("g");
      this.nodes = this.root.append("g");
      this.flights = this.root.append("g");
      this.current = this.moving.append("path").attr("class", "current-line");
      this.arrow = this.flights.append("path").attr("class", "current-head");

      const nodes = this.nodes.selectAll("g").data(d3.range(this.crowd)).join("g").attr("class", "node")
        .attr("role", "button").attr("tabindex", -1).attr("data-node", (i) => i)
        .attr("data-agent", (i) => head.nodes[i].agent)
        .attr("aria-label", (i) => shown(app.nodeName(i), 80));
      nodes.append("circle").attr("r", this.radius);
      const texts = nodes.append("text");
      texts.append("tspan").attr("class", "node-name").text((i) => this.names[i]);
      texts.append("tspan").attr("class", "node-value");
      nodes.on("click", (event, i) => {
        event.stopPropagation();
        app.chooseAgent(head.nodes[i].agent);
      });
      nodes.on("pointerenter", (event, i) => app.tooltip(event, ...this.story(i)));
      nodes.on("pointerleave", () => app.tooltip(null));
      nodes.call(d3.drag().clickDistance(4).on("drag", (event, i) => {
        app.tooltip(null);
        this.points[i] = [this.points[i][0] + event.dx, this.points[i][1] + event.dy];
        this.draw();
      }));
      this.circles = nodes.select("circle").nodes();
      this.valueTexts = nodes.select(".node-value").nodes();
      this.groups = nodes.nodes();
      this.leaks = new Array(this.crowd);
      this.valuesShown = new Array(this.crowd);

      this.zoom = d3.zoom().scaleExtent([0.3, 30]).on("zoom", ({ transform }) => {
        this.root.attr("transform", transform);
        this.rescale(transform.k);
      });
      this.svg.call(this.zoom).on("dblclick.zoom", null);
      this.svg.on("click", () => app.chooseAgent(-1));
      // Wheel belongs to the page while the page itself scrolls.
      this.zoom.filter((event) => !event.button && (event.type !== "wheel" || event.ctrlKey ||
        document.documentElement.scrollHeight <= window.innerHeight + 4));
      this.rescale(1);
      if (!head.nodes.length) this.box.append(make("p", { class: "graph-hint" }, "There are no agents."));
    }

    /* Texts and lines keep their size on the screen; names of a crowd appear when there is room. */
    rescale(k) {
      this.scale = k;
      this.root.style("--k", k);
      const room = Math.sqrt(((this.width || 900) * (this.height || 400)) / Math.max(1, this.crowd)) * k;
      const radius = this.radius / Math.sqrt(k);
      const beside = this.shape === "tree" && !this.sideways;
      this.svg.classed("crowded", beside ? (this.closest || 20) * k < 13 : room < 82).classed("beside", beside);
      for (const circle of this.circles) circle.setAttribute("r", radius);
      for (const { lastChild: text } of this.groups) {
        const [name, value] = text.childNodes;
        name.setAttribute("x", beside ? radius + 6 / k : 0);
        name.setAttribute("y", beside ? 4 / k : -radius - 5 / k);
        if (beside) {
          for (const place of ["x", "y"]) value.removeAttribute(place);
          value.setAttribute("dx", 7 / k);
        } else {
          value.setAttribute("x", 0);
          value.setAttribute("y", radius + 14 / k);
          value.removeAttribute("dx");
        }
      }
      this.hulls.selectAll("path").attr("stroke-width", (2.6 * this.radius) / Math.sqrt(k));
    }

    switchers() {
      const [graph, tree] = ["show-graph", "show-tree"].map((id) => document.getElementById(id));
      if (!this.places.tree || !this.trace.head.places) {
        tree.disabled = true;
        tree.title = "This solver puts its agents into no tree and no order";
      } else if (this.trace.head.places.every((p) => !p.pseudo.length) && this.isChain()) tree.textContent = "Order";
      graph.addEventListener("click", () => this.setShape("graph"));
      tree.addEventListener("click", () => this.setShape("tree"));
      document.getElementById("graph-fit").addEventListener("click", () => {
        this.svg.transition().duration(this.app.still ? 0 : 250).call(this.zoom.transform, d3.zoomIdentity);
      });
    }

    isChain() {
      const children = new Map();
      for (const { parent } of this.trace.head.places) if (parent !== null) children.set(parent, (children.get(parent) || 0) + 1);
      return children.size > 0 && [...children.values()].every((n) => n === 1);
    }

    setShape(shape) {
      if (this.shape === shape || !this.places[shape]) return;
      this.shape = shape;
      document.getElementById("show-graph").setAttribute("aria-pressed", shape === "graph");
      document.getElementById("show-tree").setAttribute("aria-pressed", shape === "tree");
      this.box.dataset.shape = shape;
      this.drawEdges();
      const from = this.points;
      const to = this.fitted();
      const move = (t) => {
        this.points = from.map(([x, y], i) => [x + (to[i][0] - x) * t, y + (to[i][1] - y) * t]);
        this.draw();
      };
      this.rescale(this.scale);
      this.timer?.stop();
      if (this.app.still || this.crowd > 400) {
        move(1);
        return;
      }
      this.timer = d3.timer((elapsed) => {
        const t = Math.min(1, elapsed / 450);
        move(d3.easeCubicInOut(t));
        if (t === 1) this.timer.stop();
      });
    }

    legend() {
      const box = document.getElementById("leak-legend");
      const { leak } = this.trace.head;
      const hatched = [make("span", { class: "hatched" }), make("span", {}, "not analysed")];
      if (!leak) {
        box.replaceChildren(...hatched);
        return;
      }
      const all = leak.subjects.length === this.trace.head.agents.length;
      this.legendTop = make("span", {}, "1");
      box.replaceChildren(make("span", {
        title: `the share of its private costs that others know (${shown(leak.metric, 60)}, in ${shown(leak.unit, 60)}; rule ${shown(leak.rule, 60)})`,
      }, "leaked"),
        make("span", {}, "0"), make("span", { class: "ramp" }), this.legendTop, ...(all ? [] : hatched));
    }

    /* Edges of the present drawing: constraints, or what binds a tree together. */
    drawEdges() {
      const { head } = this.trace;
      this.links = [];
      this.factors = [];
      if (this.shape === "graph" || !head.places) {
        head.edges.forEach(({ scope, tie, name }) => {
          if (scope.length === 2) this.links.push({ a: scope[0], b: scope[1], kind: tie ? "edge tie" : "edge", name });
          else if (scope.length > 2) {
            const factor = this.factors.push({ scope, name }) - 1;
            for (const a of scope) this.links.push({ a, factor, kind: "edge" });
          }
        });
      } else {
        for (const { node, parent, pseudo } of head.places) {
          if (parent !== null) this.links.push({ a: parent, b: node, kind: "edge tree" });
          for (const other of pseudo) this.links.push({ a: other, b: node, kind: "edge pseudo" });
        }
      }
      const many = this.links.length > 250 ? " many" : "";
      this.lines = this.edges.selectAll(".edge").data(this.links).join("path").attr("class", (link) => link.kind + many)
        .attr("fill", "none");
      this.squares = this.edges.selectAll(".factor").data(this.factors).join("rect").attr("class", "factor");
      const groups = this.shape === "graph" ? this.trace.agentNodes.map((nodes, agent) => ({ nodes, agent })).filter(({ nodes }) => nodes.length > 1) : [];
      this.groupPaths = this.hulls.selectAll("path").data(groups).join("path").attr("class", "hull")
        .attr("stroke-width", (2.6 * this.radius) / Math.sqrt(this.scale));
    }

    /* Where each node of the present drawing goes in the panel. Both directions are stretched to use the panel, but
       not at the price of distances that say nothing any more; a deep tree lies on its side. */
    fitted() {
      const given = this.places[this.shape];
      const levels = this.shape === "tree" ? 1 + d3.max(this.trace.head.places, ({ depth }) => depth) : 1;
      const margins = [MARGIN + 20, MARGIN];
      const panel = [Math.max(10, this.width - 2 * margins[0]), Math.max(10, this.height - 2 * margins[1] - 6)];
      this.sideways = levels > 1 && panel[1] / levels < 46 && panel[0] / levels > panel[1] / levels;
      const at = this.sideways ? given.map(([x, y]) => [y, x]) : given;
      const ends = [0, 1].map((axis) => d3.extent(at, (p) => p[axis]));
      const extents = ends.map(([low, high]) => high - low);
      const fill = extents.map((extent, axis) => (extent > 0 ? panel[axis] / extent : Infinity));
      const stretch = this.shape === "tree" ? 8 : WIDEST;
      const even = Math.min(...fill);
      const scales = fill.map((each) => (each === Infinity ? 0 : Math.min(each, even * stretch)));
      const points = at.map((p) => [0, 1].map((axis) =>
        margins[axis] + (panel[axis] - extents[axis] * scales[axis]) / 2 + (p[axis] - ends[axis][0]) * scales[axis]));
      this.closest = d3.quantile(gaps(points), 0.1) ?? 80;
      this.radius = Math.max(3, Math.min(15, this.closest * 0.32));
      return points;
    }

    place() {
      if (!this.lines) this.drawEdges();
      this.points = this.fitted();
      this.draw();
    }

    /* Puts everything where its node is. */
    draw() {
      const points = this.points;
      const middles = this.factors.map(({ scope }) => [d3.mean(scope, (i) => points[i][0]), d3.mean(scope, (i) => points[i][1])]);
      this.lines.attr("d", ({ a, b, factor, kind }) => {
        const [x0, y0] = points[a];
        const [x1, y1] = b === undefined ? middles[factor] : points[b];
        if (kind !== "edge pseudo") return `M${x0},${y0}L${x1},${y1}`;
        const bow = 0.14; // aside of the chain of tree edges that it spans
        return `M${x0},${y0}Q${(x0 + x1) / 2 + (y1 - y0) * bow + 12},${(y0 + y1) / 2 - (x1 - x0) * bow} ${x1},${y1}`;
      });
      this.squares.attr("transform", (_, k) => `translate(${middles[k]})`).attr("x", -4).attr("y", -4).attr("width", 8).attr("height", 8);
      this.groups.forEach((group, i) => group.setAttribute("transform", `translate(${points[i]})`));
      this.groupPaths.attr("d", ({ nodes }) => {
        const corners = nodes.map((i) => points[i]);
        const hull = corners.length > 2 ? d3.polygonHull(corners) || corners : corners;
        return `M${hull.join("L")}Z`;
      });
      this.drawFlights();
    }

    render(changed) {
      if (!this.width || changed.has("size")) {
        Object.assign(this, { width: this.box.clientWidth, height: this.box.clientHeight });
        this.place();
        this.rescale(this.scale);
      }
      if (changed.has("theme")) this.leaks.fill(undefined);
      if (changed.has("cursor") || changed.has("data") || changed.has("theme")) this.drawStates();
      if (changed.has("agent") || changed.has("cursor")) this.drawChoice();
      if (["cursor", "phase", "data", "theme", "delivery", "types"].some((name) => changed.has(name))) this.drawFlights();
    }

    drawStates() {
      const { trace, app } = this;
      const limit = trace.lossLimit();
      if (this.legendTop) this.legendTop.textContent = number(limit, 3);
      for (let i = 0; i < this.crowd; i++) {
        const loss = trace.loss(trace.agentOfNode[i], app.cursor);
        if (loss !== this.leaks[i]) {
          this.leaks[i] = loss;
          this.circles[i].setAttribute("fill", loss === null ? "url(#hatch)" : app.palette.ramp(Math.min(1, loss / limit)));
          this.groups[i].dataset.leak = loss === null ? "" : loss;
        }
        const value = trace.values[i].at(app.cursor) ?? null;
        if (value !== this.valuesShown[i]) {
          this.valuesShown[i] = value;
          this.valueTexts[i].textContent = value === null ? "" : shown(trace.head.nodes[i].domain[value] ?? "?", 14);
        }
      }
    }

    drawChoice() {
      const { trace, app } = this;
      const i = app.cursor - 1;
      const named = i >= 0 ? [trace.src.data[i], trace.dst.data[i]] : [];
      this.groups.forEach((group, node) => {
        group.classList.toggle("chosen", app.agent >= 0 && trace.agentOfNode[node] === app.agent);
        group.classList.toggle("named", named.includes(node));
      });
      this.groupPaths?.classed("chosen", ({ agent }) => agent === app.agent);
    }

    /* A straight line from node to node, shortened by their circles. */
    between(a, b, gap = 3) {
      const [[x0, y0], [x1, y1]] = [this.points[a], this.points[b]];
      const length = Math.hypot(x1 - x0, y1 - y0) || 1;
      const cut = Math.min(length / 2, this.radius / Math.sqrt(this.scale) + gap / this.scale);
      const [ux, uy] = [(x1 - x0) / length, (y1 - y0) / length];
      return [x0 + ux * cut, y0 + uy * cut, x1 - ux * cut, y1 - uy * cut, ux, uy];
    }

    drawFlights() {
      const { app, trace, scale } = this;
      if (!this.points) return;
      const i = app.cursor - 1;
      const known = (d) => this.points[trace.src.data[d]] && this.points[trace.dst.data[d]];
      if (i >= 0 && i < trace.count && known(i)) {
        const colour = app.palette.type(trace.type.data[i]);
        const [x0, y0, x1, y1, ux, uy] = this.between(trace.src.data[i], trace.dst.data[i]);
        this.current.attr("d", `M${x0},${y0}L${x1 - (ux * 8) / scale},${y1 - (uy * 8) / scale}`).style("stroke", colour);
        const [w, l] = [6 / scale, 12 / scale];
        this.arrow.attr("d", `M${x1},${y1}L${x1 - ux * l - uy * w},${y1 - uy * l + ux * w}L${x1 - ux * l + uy * w},${y1 - uy * l - ux * w}Z`)
          .style("fill", colour);
      } else {
        this.current.attr("d", "");
        this.arrow.attr("d", "");
      }
      const flying = trace.underWay(app.cursor, MOST_DOTS).filter((d) => known(d) && !app.hiddenTypes.has(trace.type.data[d]));
      const now = trace.timeAt(app.cursor);
      const next = trace.timeAt(Math.min(app.cursor + 1, trace.count));
      const phase = app.still ? 0 : app.phase;
      const time = now + (next - now) * phase;
      this.flights.selectAll(".flight").data(flying).join("circle").attr("class", "flight")
        .attr("r", (this.crowd > 150 ? 3 : 4.5) / Math.sqrt(scale))
        .each((d, k, all) => {
          const [x0, y0, x1, y1] = this.between(trace.src.data[d], trace.dst.data[d], 6);
          const whole = trace.at.data[d] - trace.sent.data[d];
          // Of messages that arrive in the same instant, which stands still meanwhile, the next one moves by itself.
          const instant = next === now && d === app.cursor;
          const part = instant ? phase : whole > 0 ? Math.max(0, Math.min(1, (time - trace.sent.data[d]) / whole)) : 0;
          all[k].setAttribute("cx", x0 + (x1 - x0) * part);
          all[k].setAttribute("cy", y0 + (y1 - y0) * part);
          all[k].style.fill = app.palette.type(trace.type.data[d]);
        });
    }

    story(i) {
      const { trace, app } = this;
      const node = trace.head.nodes[i];
      const value = trace.values[i].at(app.cursor);
      return [
        app.nodeName(i),
        value === undefined ? "no value yet" : `value ${shown(node.domain[value] ?? "?", 60)}`,
        app.lossText(node.agent),
      ];
    }
  }

  Object.assign(Viewer, { Graph });
})();
