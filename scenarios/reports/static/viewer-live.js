"use strict";
/* A run that goes on: asks its server for what has happened since, appends it, and follows the end unless the reader
   has gone elsewhere. The address is the page's own; nothing else is ever asked. */

(() => {
  const SOON = 250; // milliseconds between questions while much happens
  const LATE = 1000;

  class Live {
    constructor(app, unread) {
      this.app = app;
      this.after = unread;
      this.state = document.getElementById("live-state");
      this.button = document.getElementById("follow");
      this.following = true;
      this.failures = 0;
      this.button.hidden = this.state.hidden = false;
      this.button.addEventListener("click", () => this.follow(!this.following));
      this.say("on", "live");
      this.poll();
    }

    static address(what) {
      // The page is at /TOKEN/ or /TOKEN; its data beside it.
      const base = location.href.split(/[?#]/)[0];
      return new URL(what, base.endsWith("/") ? base : `${base}/`);
    }

    static async get(what) {
      const response = await fetch(Live.address(what), { cache: "no-store" });
      if (!response.ok) throw new Error(`status ${response.status}`);
      return response.json();
    }

    say(state, text) {
      this.state.dataset.live = state;
      this.state.textContent = text;
    }

    follow(wanted) {
      this.following = wanted;
      this.button.setAttribute("aria-pressed", wanted);
      if (wanted) this.app.seek(this.app.trace.count, { stay: true });
    }

    async poll() {
      let wait = LATE;
      try {
        const { increments, next, ended } = await Live.get(`trace?after=${this.after}`);
        this.failures = 0;
        const { app } = this;
        const { trace } = app;
        for (const increment of increments) trace.add(increment, increment.details ? JSON.stringify(increment.details) : null);
        this.after = next;
        if (increments.length) {
          const newest = trace.tally.length - 1;
          if (newest >= trace.types.length || ended) await this.renew();
          app.grown();
          if (this.following) app.seek(trace.count, { stay: true });
          wait = SOON;
        }
        if (ended) {
          await this.renew();
          trace.head.live = false;
          this.say("ended", "ended");
          this.button.hidden = true;
          app.grown();
          return;
        }
        const most = trace.head.window.to;
        const full = most > 0 && trace.count >= most;
        this.say("on", full ? `live; the first ${Viewer.count(trace.count)} deliveries are shown` : "live");
      } catch (error) {
        this.failures++;
        // A server that is gone for good is not asked for ever.
        if (this.failures > 40) {
          this.say("lost", "connection lost");
          return;
        }
        this.say("lost", "connection lost, trying again");
        wait = Math.min(10000, LATE * 1.3 ** this.failures);
      }
      setTimeout(() => this.poll(), wait);
    }

    /* Types, notes and window grow with the run. */
    async renew() {
      const head = await Live.get("head");
      const { trace } = this.app;
      trace.types.splice(0, trace.types.length, ...head.types);
      Object.assign(trace.head, { notes: head.notes, window: head.window, types: head.types, leak_note: head.leak_note });
      this.app.describe();
    }
  }

  Object.assign(Viewer, { Live });
})();
