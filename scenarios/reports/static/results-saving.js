"use strict";
/* Files that the page gives away: figures as SVG that stand alone, tables as CSV. */

(() => {
  const { make } = Viewer;
  const { words } = Results;
  const NAMESPACE = "http://www.w3.org/2000/svg";
  const WIDTH = 900;
  const HEIGHT = 360;
  const FONT = "Helvetica, Arial, sans-serif";

  /* A name that any file system takes. */
  function fileName(...parts) {
    const name = parts.map((part) => words(part, 60)).join("-").replace(/[^A-Za-z0-9.]+/g, "-").replace(/^[-.]+|[-.]+$/g, "");
    return name.slice(0, 100) || "figure";
  }

  function save(text, type, name) {
    const address = URL.createObjectURL(new Blob([text], { type }));
    make("a", { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  }

  function element(tag, attributes, text) {
    const made = document.createElementNS(NAMESPACE, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text !== undefined) made.textContent = text;
    return made;
  }

  /* What var(--name) is in light colours, whatever the page shows. */
  function lightColours() {
    const probe = make("span", { style: "color-scheme: light", hidden: true });
    document.body.append(probe);
    const known = new Map();
    const light = (_, name) => {
      if (!known.has(name)) {
        probe.style.color = `var(${name})`;
        known.set(name, getComputedStyle(probe).color);
      }
      return known.get(name);
    };
    const replace = (text) => text.replace(/var\((--[a-z0-9-]+)\)/g, light);
    return { replace, done: () => probe.remove() };
  }

  /* Words in lines of at most `limit` characters. */
  function wrapped(text, limit) {
    const lines = [""];
    for (const word of text.split(" ")) {
      if (lines.at(-1).length + word.length > limit) lines.push("");
      lines.push(`${lines.pop()} ${word}`.trim());
    }
    return lines;
  }

  /* A figure as the text of an SVG file: light, with its title, legend and notes inside. */
  function figureAsSvg(title, figure) {
    const picture = figure.draw(WIDTH - 20, HEIGHT);
    const outer = element("svg", { xmlns: NAMESPACE, "font-family": FONT, "font-size": 12, fill: "black" });
    outer.append(element("text", { x: 10, y: 22, "font-size": 15, "font-weight": "bold" }, title));
    let [left, top] = [10, 46];
    for (const item of figure.legend || []) {
      const width = 22 + 6.6 * item.text.length;
      if (left + width > WIDTH && left > 10) [left, top] = [10, top + 18];
      if (item.mark) outer.append(element("text", { x: left + 2, y: top, fill: item.colour }, item.mark));
      else outer.append(element("line", { x1: left, x2: left + 13, y1: top - 4, y2: top - 4, stroke: item.colour, "stroke-width": 4 }));
      outer.append(element("text", { x: left + 18, y: top }, item.text));
      left += width + 12;
    }
    top += 8;
    const inner = picture.tagName.toLowerCase() === "svg" ? picture : picture.querySelector("svg");
    inner.setAttribute("x", "10");
    inner.setAttribute("y", String(top));
    inner.style.color = "black";
    outer.append(inner);
    top += Number(inner.getAttribute("height")) + 14;
    for (const line of wrapped(figure.notes.join("; "), 150)) {
      outer.append(element("text", { x: 10, y: top, "font-size": 11, fill: "#444" }, line));
      top += 15;
    }
    outer.setAttribute("width", String(WIDTH));
    outer.setAttribute("height", String(top));
    outer.setAttribute("viewBox", `0 0 ${WIDTH} ${top}`);
    outer.prepend(element("rect", { width: "100%", height: "100%", fill: "white" }));
    const colours = lightColours();
    const text = colours.replace(new XMLSerializer().serializeToString(outer)).replaceAll("font-family=\"inherit\"", `font-family="${FONT}"`);
    colours.done();
    return `<?xml version="1.0" encoding="UTF-8"?>\n${text}\n`;
  }

  /* Rows of cells as CSV. A text that a spreadsheet would take for a formula gets an apostrophe. */
  function asCsv(rows) {
    const cell = (value) => {
      if (value === null || value === undefined) return "";
      if (typeof value === "number" || typeof value === "boolean") {
        return value === Infinity ? "inf" : value === -Infinity ? "-inf" : String(value);
      }
      const text = String(value);
      const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
      return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
    };
    return rows.map((row) => `${row.map(cell).join(",")}\n`).join("");
  }

  const saveSvg = (title, figure, ...name) => save(figureAsSvg(title, figure), "image/svg+xml", `${fileName(...name)}.svg`);
  const saveCsv = (rows, ...name) => save(asCsv(rows), "text/csv", `${fileName(...name)}.csv`);

  Object.assign(Results, { fileName, figureAsSvg, asCsv, saveSvg, saveCsv });
})();
