"use strict";
/* The trace in memory: columns of deliveries, and indices by which the state after any delivery is found by
   binary search, never by replaying from the start.

   A *cursor* c says how many deliveries of the window have been seen: 0 .. trace.count. Delivery i (from 0) is seen
   at every cursor > i. The log's own number of delivery i is trace.number(i). */

var Viewer = (() => {
  const TRANSPORT = new Set(["packet lost", "retransmitted", "acknowledged"]);

  /* A typed array that grows; `data` may be longer than `length`. */
  class Column {
    constructor(Type, capacity = 4096) {
      this.data = new Type(capacity);
      this.length = 0;
    }

    extend(values) {
      const need = this.length + values.length;
      if (need > this.data.length) {
        const grown = new this.data.constructor(Math.max(need, 2 * this.data.length));
        grown.set(this.data.subarray(0, this.length));
        this.data = grown;
      }
      this.data.set(values, this.length);
      this.length = need;
    }

    push(value) {
      if (this.length === this.data.length) this.extend([value]);
      else this.data[this.length++] = value;
    }
  }

  /* How many of the first `length` entries of an ascending array are <= x. */
  function countUpTo(array, length, x) {
    let low = 0;
    let high = length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (array[middle] <= x) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /* How many of them are < x. */
  function countBelow(array, length, x) {
    let low = 0;
    let high = length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (array[middle] < x) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /* Values that change at cursors: at(c) is the last one set at or before c. */
  class Steps {
    constructor() {
      this.cursors = new Column(Int32Array, 4); // there are very many of these
      this.values = [];
    }

    set(cursor, value) {
      const last = this.cursors.length - 1;
      if (last >= 0 && this.cursors.data[last] === cursor) {
        this.values[last] = value;
        return;
      }
      this.cursors.push(cursor);
      this.values.push(value);
    }

    position(cursor) {
      return countUpTo(this.cursors.data, this.cursors.length, cursor) - 1;
    }

    at(cursor) {
      const position = this.position(cursor);
      return position < 0 ? undefined : this.values[position];
    }
  }

  /* Where an increment's details lie packed until somebody asks for them. */
  class Details {
    constructor(unpack, kept = 6) {
      this.unpack = unpack;
      this.kept = kept;
      this.starts = [];
      this.sources = [];
      this.open = new Map();
    }

    add(start, source) {
      this.starts.push(start);
      this.sources.push(source);
    }

    /* [first delivery, its details, those of the next ones...] of the increment that holds delivery i. */
    async around(i) {
      const k = countUpTo(this.starts, this.starts.length, i) - 1;
      if (k < 0) return null;
      let found = this.open.get(k);
      if (!found) {
        const source = this.sources[k];
        found = source === null ? Promise.resolve([]) : this.unpack(source);
        this.open.set(k, found);
        if (this.open.size > this.kept) this.open.delete(this.open.keys().next().value);
      }
      return { start: this.starts[k], entries: await found };
    }

    /* [payload, said] of one delivery, or null where the trace has none. */
    async of(i) {
      const block = await this.around(i);
      return (block && block.entries[i - block.start]) || null;
    }
  }

  class Trace {
    constructor(head, unpack) {
      this.head = head;
      this.count = 0;
      this.first = null; // the log's number of delivery 0
      this.sent = new Column(Float64Array);
      this.at = new Column(Float64Array);
      this.sentRank = new Column(Float64Array); // deliveries seen by the time this one was sent
      this.step = new Column(Int32Array);
      this.src = new Column(Int32Array);
      this.dst = new Column(Int32Array);
      this.type = new Column(Int32Array);
      this.n = new Column(Float64Array);
      this.copy = new Column(Int32Array);
      this.bytes = new Column(Float64Array);
      this.stamp = new Column(Float64Array);
      this.details = new Details(unpack);
      this.types = [...head.types];
      this.longest = 0; // the longest time under way, in time and in deliveries: how far a search must look
      this.longestRank = 0;
      this.lastTime = 0;

      this.agentNodes = head.agents.map(() => []);
      this.agentOfNode = head.nodes.map((node, i) => {
        if (this.agentNodes[node.agent]) this.agentNodes[node.agent].push(i);
        return node.agent;
      });
      this.values = head.nodes.map(() => new Steps());
      this.losses = head.agents.map(() => new Steps());
      this.aggregates = new Steps();
      this.subjects = new Set(head.leak ? head.leak.subjects : []);
      this.maxLoss = 0;
      this.incoming = head.agents.map(() => new Column(Int32Array, 64));
      this.tally = []; // deliveries of each type
      this.beliefs = new Map(); // "viewer node" -> Map value index -> Steps of [low, high]
      this.fates = [];
      this.lastFate = 0; // time of the latest one that ended a message
      this.marks = [];
      this.result = null;
    }

    /* Whether the log has more deliveries than are here. */
    partial() {
      return (this.head.window?.total ?? 0) > this.count;
    }

    number(i) {
      return this.first + i;
    }

    /* The cursor of an event that happened when the log had seen `seq` deliveries. */
    cursorOf(seq) {
      return this.first === null ? 0 : Math.max(0, seq - this.first + 1);
    }

    agentOf(node) {
      const agent = this.agentOfNode[node];
      return agent === undefined ? -1 : agent;
    }

    /* The virtual time at a cursor: of the last delivery seen. */
    timeAt(cursor) {
      return cursor > 0 ? this.at.data[Math.min(cursor, this.count) - 1] : this.startTime();
    }

    startTime() {
      return this.count ? Math.min(this.sent.data[0], this.at.data[0]) : 0;
    }

    cursorAtTime(time) {
      return countUpTo(this.at.data, this.count, time);
    }

    add(increment, detailSource) {
      const columns = increment.deliveries;
      if (columns && columns.at && columns.at.length) this.addDeliveries(columns, detailSource);
      else if (this.first === null && columns && Number.isFinite(columns.seq0)) this.first = columns.seq0;
      if (this.first === null) this.first = this.head.window ? this.head.window.from : 1;
      this.addEvents(increment);
    }

    addDeliveries(columns, detailSource) {
      const start = this.count;
      if (this.first === null) this.first = columns.seq0;
      for (const name of ["sent", "at", "step", "src", "dst", "type", "n", "copy", "bytes", "stamp"]) {
        this[name].extend(columns[name]);
      }
      this.count = this.at.length;
      const at = this.at.data;
      const sent = this.sent.data;
      for (let i = start; i < this.count; i++) {
        // A message sent before the window began has no rank of its own; 0 is its edge.
        const rank = Math.min(countUpTo(at, this.count, sent[i]), i);
        this.sentRank.push(rank);
        this.longest = Math.max(this.longest, at[i] - sent[i]);
        this.longestRank = Math.max(this.longestRank, i + 1 - rank);
        this.incoming[this.agentOf(this.dst.data[i])]?.push(i);
        const type = this.type.data[i];
        this.tally[type] = (this.tally[type] || 0) + 1;
      }
      this.lastTime = at[this.count - 1];
      this.details.add(start, detailSource);
    }

    addEvents(increment) {
      for (const [seq, , node, value] of increment.values || []) this.values[node]?.set(this.cursorOf(seq), value);
      // What was learnt after the last delivery that is shown is not part of the picture.
      const shown = ([seq]) => this.cursorOf(seq) <= this.count;
      for (const [seq, agent, p] of (increment.losses || []).filter(shown)) {
        this.losses[agent]?.set(this.cursorOf(seq), p);
        if (p > this.maxLoss) this.maxLoss = p;
      }
      for (const [seq, values] of (increment.aggregates || []).filter(shown)) {
        this.aggregates.set(this.cursorOf(seq), values);
        for (const value of values) if (value > this.maxLoss) this.maxLoss = value;
      }
      for (const [seq, viewer, node, value, low, high] of increment.beliefs || []) {
        const key = `${viewer} ${node}`;
        let byValue = this.beliefs.get(key);
        if (!byValue) this.beliefs.set(key, (byValue = new Map()));
        let steps = byValue.get(value);
        if (!steps) byValue.set(value, (steps = new Steps()));
        steps.set(this.cursorOf(seq), [low, high]);
      }
      for (const [seq, time, kind, src, dst, type, n, reason] of increment.fates || []) {
        this.fates.push({ cursor: this.cursorOf(seq), time, kind, src, dst, type, n, reason });
        // Networks say beforehand when they would send a packet again: long after the run, perhaps.
        if (!TRANSPORT.has(kind)) this.lastFate = Math.max(this.lastFate, time);
      }
      for (const [seq, time, text] of increment.marks || []) {
        this.marks.push({ cursor: this.cursorOf(seq), time, text });
      }
      if (increment.result) this.result = increment.result;
    }

    /* Deliveries that had been sent by this cursor and arrive later, at most `most`; of one receiver if asked. */
    underWay(cursor, most, agent = -1) {
      const found = [];
      const now = this.timeAt(cursor);
      const list = agent < 0 ? null : this.incoming[agent];
      const from = list ? countBelow(list.data, list.length, cursor) : cursor;
      const end = list ? list.length : this.count;
      // Whatever arrives later than the longest journey from now on cannot have been sent yet. A look at each
      // of very many is not worth a frame.
      for (let k = from, seen = 0; k < end && seen < 20000 && found.length < most; k++, seen++) {
        const i = list ? list.data[k] : k;
        if (this.at.data[i] > now + this.longest) break;
        if (this.sent.data[i] <= now && this.sentRank.data[i] <= cursor) found.push(i);
      }
      return found;
    }

    /* The delivery before (-1) or after (+1) delivery i from the same sender node to the same receiver node. */
    alongChannel(i, direction) {
      const list = this.incoming[this.agentOf(this.dst.data[i])];
      if (!list) return -1;
      const src = this.src.data[i];
      const dst = this.dst.data[i];
      for (let k = countBelow(list.data, list.length, i) + direction; k >= 0 && k < list.length; k += direction) {
        const other = list.data[k];
        if (this.src.data[other] === src && this.dst.data[other] === dst) return other;
      }
      return -1;
    }

    loss(agent, cursor) {
      return this.subjects.has(agent) ? this.losses[agent].at(cursor) ?? 0 : null;
    }

    /* Top of the scale of leakage: a round share that none exceeds. */
    lossLimit() {
      return [0.05, 0.1, 0.2, 0.5, 1].find((limit) => this.maxLoss <= limit) ?? this.maxLoss;
    }
  }

  return { Column, Steps, Trace, countUpTo, countBelow };
})();
