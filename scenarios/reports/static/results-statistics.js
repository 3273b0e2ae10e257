"use strict";
/* Medians and their intervals, as scenarios/reports/statistics.py defines them. */

var Viewer = {}; // what the pages share is added to it by viewer-base.js
const Results = {};

(() => {
  const CONFIDENCE = 0.95;
  const ranks = new Map();

  /* The k for which the k-th least and k-th greatest of n values hold the median, 0 if there is none. */
  function rank(n) {
    if (ranks.has(n)) return ranks.get(n);
    let low = Math.floor(n / 2);
    let term = 1; // of the binomial law, at its middle
    for (let i = 1; i <= low; i++) term *= (2 * i - 1) / (2 * i);
    const even = n % 2 === 0;
    if (!even) term *= n / (n + 1);
    let covered = even ? term : 2 * term;
    while (covered < CONFIDENCE && low > 0) {
      term *= low / (n - low + 1);
      low -= 1;
      covered += 2 * term;
    }
    ranks.set(n, low);
    return low;
  }

  function middle(ordered) {
    const n = ordered.length;
    const low = ordered[(n - 1) >> 1];
    const high = ordered[n >> 1];
    if (!Number.isFinite(low)) return low;
    return Number.isFinite(high) ? low + (high - low) / 2 : high;
  }

  /* The median of values, of which censored[i] says whether values[i] is a lower bound only. */
  function median(values, censored) {
    const n = values.length;
    if (n === 0) return { n, censored: 0, value: null, at_least: false, low: null, high: null };
    const least = Float64Array.from(values).sort();
    const count = censored ? censored.reduce((sum, mark) => sum + (mark ? 1 : 0), 0) : 0;
    const most = count ? Float64Array.from(values, (v, i) => (censored[i] ? Infinity : v)).sort() : least;
    const k = rank(n);
    const value = middle(least);
    return {
      n, censored: count, value, at_least: value !== middle(most),
      low: k ? least[k - 1] : null, high: k ? most[n - k] : null,
    };
  }

  Object.assign(Results, { median, rank });
})();
