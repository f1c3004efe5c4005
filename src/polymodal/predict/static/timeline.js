/* Shows a timeline (what `polymodal predict --json` prints) and keeps it in step with its clip. What
 * `polymodal measure --html` shows is one as well: numbers without baseline and contributions, and `whole`, their values
 * over the clip.
 *
 *   polymodal.renderTimeline(container, timeline, media) -> {select(index), destroy()}
 *
 * `media` is the <video> or <audio> element of the clip, or null. No dependency and no build. Text of the timeline
 * only ever becomes text nodes: a transcript can hold no markup. Styles are set through properties and attributes, not
 * `style="..."`, so that a page may forbid inline styles. What is drawn per utterance is one path per colour, however
 * many utterances there are. */
"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const PLOT = 150, LANE = 46, CLASS_LANE = 30, GAP = 14, AXIS = 24, COLOURS = 7, SHADES = 9;
  const views = new WeakMap();
  let patterns = 0;

  function html(tag, properties, ...children) {
    const node = Object.assign(document.createElement(tag), properties);
    node.append(...children);
    return node;
  }

  function described(node, attributes) {
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    return node;
  }

  function svg(tag, attributes, text) {
    const node = described(document.createElementNS(SVG, tag), attributes);
    if (text !== undefined) node.textContent = text;
    return node;
  }

  const box = (x, y, width, height) => `M${x} ${y}h${width}v${height}h${-width}z`;
  const cut = (text, width) => text.length * 6.6 <= width ? text : `${text.slice(0, Math.floor(width / 6.6) - 1)}…`;
  const written = (value, digits = 3) => value.toFixed(digits).replace("-", "−");
  const signed = (value, digits = 3) => (value < 0 ? "" : "+") + written(value, digits);
  const percent = (value) => `${Math.round(value * 1000) / 10}%`;
  const digitsOf = (value) => Math.min(Math.max(Math.ceil(-Math.log10(Math.abs(value) || 1)) + 1, 1), 4);
  const inUnit = (text, target) => (target.unit ? `${text} (${target.unit})` : text);
  const total = (values) => values.reduce((sum, value) => sum + value, 0);

  function clock(seconds, digits = 1) {
    const tenths = Math.round(seconds * 10 ** digits) / 10 ** digits;
    const minutes = Math.floor(tenths / 60);
    return `${minutes}:${(tenths - 60 * minutes).toFixed(digits).padStart(digits ? 3 + digits : 2, "0")}`;
  }

  /* Round numbers in [low, high], about `count` of them. */
  function ticks(low, high, count, steps = [1, 2, 5, 10]) {
    const wanted = (high - low) / count, power = 10 ** Math.floor(Math.log10(wanted));
    const step = steps.find((s) => s * power >= wanted * 0.999) * power;
    const found = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(i * step);
    return found;
  }

  function timeTicks(duration, count) {
    const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];
    const step = steps.find((s) => duration / s <= count);
    if (duration <= 2 || !step) return ticks(0, duration, count);
    return Array.from({ length: Math.floor(duration / step) + 1 }, (_, i) => i * step);
  }

  class View {
    constructor(container, timeline, media) {
      Object.assign(this, { container, timeline, media, target: timeline.targets[0], zoom: 1, selected: -1, now: -1 });
      this.hatch = `pm-hatch-${++patterns}`;
      this.utterances = [...timeline.utterances].sort((a, b) => a.start - b.start);
      // Predictions from features have no times: their number takes the place of seconds.
      this.timed = timeline.duration > 0 || this.utterances.some((u) => u.end > 0);
      this.spans = this.utterances.map((u, i) => (this.timed ? [u.start, u.end] : [i, i + 1]));
      this.end = Math.max(timeline.duration, ...this.spans.map((s) => s[1]), 0.1);
      this.build();
      this.listen();
      this.choose(this.target);
      this.select(0);
    }

    // ---- the frame

    build() {
      this.tabs = described(html("div", { className: "pm-tabs" }), { role: "group", "aria-label": "What to show" });
      this.classes = html("label", { className: "pm-classes" }, "Contributions to ");
      this.zooms = described(html("div", { className: "pm-zooms" }), { role: "group", "aria-label": "Zoom" });
      for (const [sign, name, factor] of [["−", "Zoom out", 0.5], ["+", "Zoom in", 2]]) {
        const button = html("button", { type: "button", title: name, onclick: () => this.magnify(factor) }, sign);
        this.zooms.append(described(button, { "aria-label": name }));
      }
      this.gutter = svg("svg", { class: "pm-gutter", "aria-hidden": "true" });
      this.plot = svg("svg", { class: "pm-plot", role: "img" });
      this.scroller = described(html("div", { className: "pm-scroll", tabIndex: 0 }, this.plot), {
        role: "group", "aria-label": "Chart: arrow keys move between utterances, Enter goes to the selected one",
      });
      this.legend = html("ul", { className: "pm-legend" });
      this.list = described(html("div", { className: "pm-transcript" }), {
        role: "listbox", "aria-label": "Transcript: arrow keys move between utterances, Enter goes to the selected one",
      });
      this.details = described(html("section", { className: "pm-details" }), {
        "aria-label": "Selected utterance", "aria-live": "polite",
      });
      this.options = this.utterances.map((u, i) => this.option(u, i));
      this.list.append(...this.options);
      const empty = this.utterances.length ? [] : [html("p", { className: "pm-soft" }, "There is no utterance.")];
      this.root = html("div", { className: "pm-timeline" },
        html("p", { className: "pm-soft pm-summary" }, this.summary()),
        html("div", { className: "pm-bar" }, this.tabs, this.classes, this.zooms),
        html("div", { className: "pm-chart" }, this.gutter, this.scroller), this.legend, ...empty,
        html("div", { className: "pm-columns" },
          html("section", {}, html("h2", {}, "Transcript"), this.list), this.details),
        ...this.notes());
      if (this.timeline.whole) this.tabs.append(this.menu());
      else for (const target of this.timeline.targets) {
        this.tabs.append(html("button", { type: "button", onclick: () => this.choose(target) }, target.name));
      }
      this.tabs.hidden = this.timeline.targets.length < 2;
      this.container.replaceChildren(this.root);
    }

    /* Measures are too many for tabs. */
    menu() {
      const options = this.timeline.targets.map((t, i) => html("option", { value: String(i) }, t.name.replaceAll("_", " ")));
      const choice = html("select", { onchange: () => this.choose(this.timeline.targets[Number(choice.value)]) }, ...options);
      return html("label", {}, "Measure ", choice);
    }

    summary() {
      const { timeline } = this, parts = [timeline.run ? `${timeline.method} (${timeline.run})` : timeline.method];
      if (this.timed) parts.push(clock(timeline.duration));
      parts.push(`${this.utterances.length} utterance${this.utterances.length === 1 ? "" : "s"}`);
      if (timeline.seconds.total !== undefined) parts.push(`computed in ${timeline.seconds.total.toFixed(1)} s`);
      return parts.join(" · ");
    }

    notes() {
      if (!this.timeline.notes.length) return [];
      const items = this.timeline.notes.map((note) => html("li", {}, note));
      return [html("section", { className: "pm-notes" }, html("h2", {}, "Notes"), html("ul", {}, ...items))];
    }

    option(utterance, index) {
      const when = this.timed ? clock(utterance.start) : `row ${index + 1}`;
      const node = html("div", { className: "pm-utterance", tabIndex: -1 },
        html("span", { className: "pm-time" }, when), " ");
      if (utterance.speaker) node.append(html("b", {}, `${utterance.speaker}: `));
      if (utterance.words.length) {
        utterance.words.forEach((word, i) => {
          const span = html("span", { className: "pm-word", onclick: () => this.seek(word.start) }, word.text);
          node.append(i ? " " : "", span);
        });
      } else {
        node.append(utterance.text || html("i", { className: "pm-soft" }, "no transcript"));
      }
      node.addEventListener("click", (event) => {
        this.select(index, true);
        if (!event.target.classList.contains("pm-word")) this.seek(utterance.start);
      });
      return described(node, { role: "option", "aria-selected": "false" });
    }

    listen() {
      const keys = (event) => this.key(event);
      this.list.addEventListener("keydown", keys);
      this.scroller.addEventListener("keydown", keys);
      this.plot.addEventListener("click", (event) => {
        const at = this.timeAt(event), index = this.nearest(at);
        if (index < 0) return;
        this.select(index);
        this.seek(Math.min(Math.max(at, this.spans[index][0]), this.spans[index][1]));
      });
      this.observer = new ResizeObserver(() => this.draw());
      this.observer.observe(this.scroller.parentElement);
      this.gone = new AbortController();
      if (!this.media) return;
      for (const event of ["timeupdate", "seeking", "seeked", "play", "pause", "loadedmetadata"]) {
        this.media.addEventListener(event, () => this.follow(), { signal: this.gone.signal });
      }
    }

    destroy() {
      this.observer.disconnect();
      this.gone.abort();
      cancelAnimationFrame(this.frame);
      this.root.remove();
    }

    // ---- what is chosen

    choose(target) {
      this.target = target;
      [...this.tabs.querySelectorAll("button")].forEach((button, i) =>
        button.setAttribute("aria-pressed", String(this.timeline.targets[i] === target)));
      this.classes.hidden = target.answer !== "classes";
      if (!this.classes.hidden) {
        const options = target.classes.map((name) => html("option", { value: name }, name));
        const choice = html("select", { onchange: () => { this.klass = choice.value; this.redraw(); this.tell(); } }, ...options);
        this.klass = choice.value;
        this.classes.replaceChildren("Contributions to ", choice);
      }
      this.redraw();
      this.tell();
    }

    /* Keeps what is selected in the middle. */
    magnify(factor) {
      this.zoom = Math.min(Math.max(this.zoom * factor, 1), this.deepest());
      this.redraw();
      const [start, end] = this.spans[this.selected];
      this.scroller.scrollLeft = this.x((start + end) / 2) - this.scroller.clientWidth / 2;
    }

    /* The zoom at which an utterance is wide enough to be read. */
    deepest() {
      const mean = total(this.spans.map(([start, end]) => end - start)) / Math.max(this.spans.length, 1);
      return Math.max(1, 2 ** Math.ceil(Math.log2((80 * this.end) / Math.max(mean, 0.05) / this.scroller.clientWidth)));
    }

    select(index, focus = false) {
      if (!this.options[index]) return;
      const before = this.options[this.selected];
      if (before) described(before, { "aria-selected": "false" }).tabIndex = -1;
      this.selected = index;
      const node = described(this.options[index], { "aria-selected": "true" });
      node.tabIndex = 0;
      if (focus) node.focus({ preventScroll: true });
      this.reveal(node);
      this.show(this.spans[index]);
      this.mark(this.chosen, index);
      this.tell();
    }

    key(event) {
      const last = this.options.length - 1, { selected } = this;
      const moves = { ArrowDown: selected + 1, ArrowRight: selected + 1, ArrowUp: selected - 1, ArrowLeft: selected - 1,
        Home: 0, End: last };
      if (event.key in moves) {
        this.select(Math.min(Math.max(moves[event.key], 0), last), event.currentTarget === this.list);
      } else if (event.key === "Enter" || event.key === " ") {
        this.seek(this.utterances[selected].start);
      } else {
        return;
      }
      event.preventDefault();
    }

    // ---- in step with the clip

    seek(seconds) {
      if (this.media && this.timed) this.media.currentTime = seconds;
    }

    follow() {
      cancelAnimationFrame(this.frame);
      const at = this.media.currentTime, index = this.indexAt(at), playing = !this.media.paused && !this.media.ended;
      if (this.head) described(this.head, { x1: this.x(at), x2: this.x(at) });
      this.details.setAttribute("aria-live", playing ? "off" : "polite");
      if (index !== this.now) {
        this.options[this.now]?.classList.remove("pm-now");
        this.options[this.now]?.removeAttribute("aria-current");
        this.now = index;
        this.mark(this.current, index);
        this.options[index]?.classList.add("pm-now");
        this.options[index]?.setAttribute("aria-current", "true");
        if (playing && index >= 0) this.select(index);
      }
      if (!playing) return;
      if (this.zoom > 1) this.show([at, at]);
      this.frame = requestAnimationFrame(() => this.follow());
    }

    /* Index of the last utterance that began by `at`; -1 before the first. */
    before(at) {
      let low = 0, high = this.spans.length;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (this.spans[middle][0] <= at) low = middle + 1;
        else high = middle;
      }
      return low - 1;
    }

    indexAt(at) {
      const last = this.before(at);
      for (let i = last; i >= 0 && i > last - 20; i--) if (at < this.spans[i][1]) return i;
      return -1;
    }

    nearest(at) {
      const inside = this.indexAt(at), left = this.before(at);
      if (inside >= 0 || left < 0) return Math.max(inside, Math.min(0, this.spans.length - 1));
      const right = this.spans[left + 1];
      return right && right[0] - at < at - this.spans[left][1] ? left + 1 : left;
    }

    timeAt(event) {
      return ((event.clientX - this.plot.getBoundingClientRect().left) / this.width) * this.end;
    }

    /* Scrolls within the transcript only: the page stays where its reader wants it. */
    reveal(node) {
      const top = node.offsetTop - this.list.offsetTop, { list } = this;
      if (top < list.scrollTop) list.scrollTop = top;
      else if (top + node.offsetHeight > list.scrollTop + list.clientHeight) {
        list.scrollTop = top + node.offsetHeight - list.clientHeight;
      }
    }

    /* Brings a stretch of time into the visible part of the chart. */
    show([start, end]) {
      const left = this.x(start), right = this.x(end), { scroller } = this;
      if (left < scroller.scrollLeft || right > scroller.scrollLeft + scroller.clientWidth) {
        scroller.scrollLeft = left - scroller.clientWidth / 4;
      }
    }

    mark(node, index) {
      if (node) node.setAttribute("d", index < 0 ? "" : this.rows(0, this.bottom, [index]));
    }

    // ---- the chart

    x(seconds) {
      return (seconds / this.end) * this.width;
    }

    /* A path of boxes from `top`, `height` high, one per utterance in `indices`; at least one pixel wide. */
    rows(top, height, indices) {
      return indices.map((i) => this.bar(i, top, top + height)).join("");
    }

    bar(index, from, to) {
      const [start, end] = this.spans[index];
      return box(this.x(start).toFixed(2), Math.min(from, to).toFixed(2),
        Math.max(this.x(end) - this.x(start) - 0.6, 1).toFixed(2), Math.abs(to - from).toFixed(2));
    }

    redraw() {
      this.drawn = 0;
      this.draw();
    }

    draw() {
      const room = this.scroller.clientWidth;
      const width = Math.max(room, 40) * this.zoom;
      if (!room || width === this.drawn) return;
      this.drawn = this.width = width;
      this.side = this.gutter.clientWidth;
      this.gutter.replaceChildren();
      this.plot.replaceChildren(this.pattern());
      this.chosen = this.add("path", { class: "pm-selected" });
      this.current = this.add("path", { class: "pm-current" });
      const { answer } = this.target, top = 8;
      const drawn = answer === "number" ? this.values(top) : answer === "classes" ? this.lanes(top) : this.stack(top);
      this.remarks(top, drawn);
      this.bottom = this.contributions(top + drawn + GAP);
      this.axis();
      this.head = this.media && this.timed && this.add("line", { class: "pm-head", y1: 0, y2: this.bottom });
      for (const [node, wide] of [[this.plot, width], [this.gutter, this.side]]) {
        described(node, { width: wide, height: this.bottom + AXIS });
      }
      const below = this.timeline.modalities.length ? ", and below it what each modality contributed," : "";
      this.plot.setAttribute("aria-label", `${this.target.name} over time${below} for ${this.utterances.length} ` +
        "utterances; the same as numbers under Selected utterance");
      this.zooms.hidden = this.deepest() === 1;
      this.mark(this.chosen, this.selected);
      this.mark(this.current, this.now);
      if (this.media) this.follow();
    }

    add(tag, attributes, text) {
      const node = svg(tag, attributes, text);
      this.plot.append(node);
      return node;
    }

    label(y, text, kind = "") {
      const room = this.side - 8, shown = cut(text, room);
      const node = svg("text", { x: room, y: y + 4, "text-anchor": "end", class: kind }, shown);
      if (shown !== text) node.append(svg("title", {}, text));
      this.gutter.append(node);
    }

    line(y, kind) {
      this.add("line", { class: kind, x1: 0, x2: this.width, y1: y, y2: y });
    }

    pattern() {
      const node = svg("pattern", { id: this.hatch, width: 6, height: 6, patternUnits: "userSpaceOnUse",
        patternTransform: "rotate(45)" });
      node.append(svg("line", { x1: 0, x2: 0, y1: 0, y2: 6, class: "pm-hatch" }));
      return node;
    }

    estimates() {
      const { name } = this.target;
      return this.utterances.map((u, i) => [u.estimates[name], i]).filter(([estimate]) => estimate);
    }

    /* Where the run is silent, and what is unlike the training data. */
    remarks(top, height) {
      const silent = this.estimates().filter(([e]) => e.abstained).map(([, i]) => i);
      const unlike = this.utterances.map((_, i) => i).filter((i) => this.utterances[i].unlike?.alarm);
      if (silent.length) this.add("path", { class: "pm-absent", fill: `url(#${this.hatch})`, d: this.rows(top, height, silent) });
      for (const i of silent) this.caption(i, top + height / 2 + 4, "silent", "pm-on");
      if (unlike.length) this.add("path", { class: "pm-unlike", d: this.rows(top, 5, unlike) });
      this.explain([...(silent.length ? [["pm-key-absent", "silent"]] : []),
        ...(unlike.length ? [["pm-unlike", "unlike the training data"]] : [])], true);
    }

    /* A regression: steps, their interval, the baseline. */
    values(top) {
      const found = this.estimates().filter(([e]) => !e.abstained), based = found.filter(([e]) => e.baseline !== null);
      const values = [...found.map(([e]) => e.value), ...based.map(([e]) => e.baseline)];
      const [least, most] = this.target.range || [Math.min(...values, 0), Math.max(...values, 0)];
      const low = Math.min(least, ...values), high = Math.max(most, ...values, low + 1e-6);
      const y = (value) => top + PLOT * (1 - (Math.min(Math.max(value, low), high) - low) / (high - low));
      const places = ticks(low, high, 6), fine = places.length > 1 ? digitsOf(places[1] - places[0]) : 1;
      for (const tick of places) {
        this.line(y(tick), Math.abs(tick) < 1e-9 ? "pm-zero" : "pm-grid");
        this.label(y(tick), written(tick, Number.isInteger(tick) ? 0 : fine), "pm-small");
      }
      const known = found.filter(([e]) => e.low !== null && e.high !== null);
      const step = ([e, i], key) => [this.x(this.spans[i][0]), y(e[key]), Math.max(this.x(this.spans[i][1]), this.x(this.spans[i][0]) + 1)];
      const steps = (list, key) => list.map((one) => step(one, key)).map(([a, h, b]) => `M${a} ${h}H${b}`).join("");
      const follows = (n) => n && found[n][1] === found[n - 1][1] + 1;
      const join = found.map((one) => step(one, "value")).map(([a, h, b], n) => `${follows(n) ? "L" : "M"}${a} ${h}H${b}`);
      const unknown = this.utterances.map((_, i) => i).filter((i) => !this.utterances[i].estimates[this.target.name]);
      if (unknown.length) {
        this.add("path", { class: "pm-absent", fill: `url(#${this.hatch})`, d: this.rows(top, PLOT, unknown) });
      }
      this.add("path", { class: "pm-interval", d: known.map(([e, i]) => this.bar(i, y(e.low), y(e.high))).join("") });
      this.add("path", { class: "pm-baseline", d: steps(based, "baseline") });
      this.add("path", { class: "pm-join", d: join.join("") });
      this.add("path", { class: "pm-value", d: steps(found, "value") });
      this.explain([["pm-key-value", this.target.meaning ? inUnit(this.target.meaning, this.target) : "prediction"],
        ...(known.length ? [["pm-key-interval", `${percent(this.timeline.level)} interval`]] : []),
        ...(based.length ? [["pm-key-baseline", "baseline: nothing is there"]] : []),
        ...(unknown.length ? [["pm-key-absent", "not known"]] : [])]);
      return PLOT;
    }

    /* One of several classes: the likeliest one named, all as stacked probabilities. */
    stack(top) {
      const found = this.estimates(), { classes } = this.target, from = top + 22, height = PLOT - 22;
      for (const share of [0, 0.5, 1]) {
        this.line(from + height * (1 - share), "pm-grid");
        this.label(from + height * (1 - share), percent(share), "pm-small");
      }
      const level = found.map(() => 0);
      classes.forEach((name, c) => {
        const bars = found.map(([e, i], n) => {
          const before = level[n];
          level[n] += e.probabilities ? e.probabilities[name] : Number(e.label === name);
          return this.bar(i, from + height * (1 - before), from + height * (1 - level[n]));
        });
        this.add("path", { class: this.shade(c), d: bars.join("") });
        this.add("path", { class: this.shade(c), d: this.rows(top + 15, 4, found.filter(([e]) => e.label === name && !e.abstained).map(([, i]) => i)) });
      });
      for (const [estimate, i] of found) if (!estimate.abstained) this.caption(i, top + 11, estimate.label);
      this.explain(classes.map((name, c) => [this.shade(c), name]));
      return PLOT;
    }

    /* Any of several classes: one lane of probabilities per class, with a line at one half. */
    lanes(top) {
      const found = this.estimates(), { classes } = this.target;
      classes.forEach((name, c) => {
        const floor = top + (c + 1) * CLASS_LANE - 4, height = CLASS_LANE - 6;
        this.label(floor - height / 2, name);
        this.add("path", { class: this.shade(c),
          d: found.map(([e, i]) => this.bar(i, floor, floor - height * e.probabilities[name])).join("") });
        this.line(floor, "pm-grid");
        this.line(floor - height / 2, "pm-half");
      });
      this.explain([["pm-key-baseline", "a probability of one half"]]);
      return classes.length * CLASS_LANE;
    }

    contribution(estimate, modality) {
      const value = estimate.contributions[modality] ?? 0;
      return typeof value === "number" ? value : value[this.klass];
    }

    /* One lane per modality: bars upwards raise the prediction, bars downwards lower it. */
    contributions(top) {
      const found = this.estimates(), { modalities } = this.timeline;
      const sizes = found.flatMap(([e]) => modalities.map((m) => Math.abs(this.contribution(e, m))));
      const most = Math.max(...sizes, 1e-6), half = LANE / 2 - 4;
      if (!modalities.length) return top - GAP;
      modalities.forEach((modality, m) => {
        const middle = top + LANE * (m + 0.5), absent = [], present = [];
        for (const [estimate, i] of found) {
          (this.utterances[i].present.includes(modality) ? present : absent).push([estimate, i]);
        }
        this.add("path", { class: "pm-absent", fill: `url(#${this.hatch})`,
          d: this.rows(middle - half, 2 * half, absent.map(([, i]) => i)) });
        this.add("path", { class: this.colour(m), d: present.map(([e, i]) =>
          this.bar(i, middle, middle - (half * this.contribution(e, modality)) / most)).join("") });
        this.line(middle, "pm-zero");
        this.label(middle, modality);
        if (absent.length === found.length) this.add("text", { x: 6, y: middle + 4, class: "pm-on" }, `${modality} is absent`);
        else for (const [, i] of absent) this.caption(i, middle + 4, "absent", "pm-on");
      });
      const digits = Math.min(Math.max(1 - Math.floor(Math.log10(most)), 1), 6);
      this.label(top + 4, signed(most, digits), "pm-small");
      this.label(top + LANE * modalities.length - 4, signed(-most, digits), "pm-small");
      const of = { number: "to the prediction", classes: `to the probability of ${this.klass}` }[this.target.answer];
      const items = modalities.map((name, m) => [this.colour(m), name]);
      this.explain([["", `contribution ${of || "to the probability of the likeliest class"}:`], ...items, ["pm-key-absent", "absent"]], true);
      return top + LANE * modalities.length;
    }

    /* A word in an utterance of the chart, where there is room. */
    caption(index, y, text, kind = "") {
      const [start, end] = this.spans[index], room = this.x(end) - this.x(start);
      if (room < 34) return;
      this.add("text", { x: this.x((start + end) / 2), y, "text-anchor": "middle", class: kind }, cut(text, room));
    }

    axis() {
      const count = Math.max(2, Math.floor(this.width / 70));
      const places = this.timed ? timeTicks(this.end, count) : ticks(0, this.end, Math.min(count, this.end));
      const digits = places[1] - places[0] < 1 ? 1 : 0;
      this.line(this.bottom + 2, "pm-grid");
      for (const at of places) {
        const anchor = at === 0 ? "start" : this.x(at) > this.width - 20 ? "end" : "middle";
        this.add("text", { class: "pm-small", x: this.x(at), y: this.bottom + 18, "text-anchor": anchor },
          this.timed ? clock(at, digits) : String(Math.round(at)));
      }
      this.label(this.bottom + 14, this.timed ? "min:s" : "row", "pm-small");
    }

    /* Colour of a modality; those of classes differ from these, so that blue is text and nothing else. */
    colour(index) {
      return `pm-c${index % COLOURS}${index < COLOURS ? "" : " pm-pale"}`;
    }

    shade(index) {
      return `pm-k${index % SHADES}${index < SHADES ? "" : " pm-pale"}`;
    }

    explain(items, more = false) {
      if (!more) this.legend.replaceChildren();
      const nodes = items.map(([kind, text]) => html("li", { className: kind ? "" : "pm-break" },
        ...(kind ? [described(html("span", { className: `pm-key ${kind}` }), { "aria-hidden": "true" })] : []), text));
      this.legend.append(...nodes);
    }

    // ---- the selected utterance in numbers

    tell() {
      const utterance = this.utterances[this.selected], estimate = utterance?.estimates[this.target.name];
      if (utterance && this.timeline.whole) return this.tellMeasures(utterance);
      if (!estimate) return this.details.replaceChildren();
      const when = this.timed ? `${clock(utterance.start)} to ${clock(utterance.end)}` : `row ${this.selected + 1}`;
      const absent = this.timeline.modalities.filter((m) => !utterance.present.includes(m))
        .map((m) => utterance.absent?.[m] ? `${m} (${utterance.absent[m]})` : m);
      const write = { number: this.tellValue, classes: this.tellLabels }[this.target.answer] || this.tellClass;
      return this.details.replaceChildren(
        html("h2", {}, `Utterance ${this.selected + 1} of ${this.utterances.length}`),
        html("p", { className: "pm-soft" }, utterance.speaker ? `${when}, ${utterance.speaker}` : when),
        ...(utterance.text ? [html("blockquote", {}, utterance.text)] : []),
        ...this.warnings(utterance, estimate),
        ...write.call(this, estimate),
        ...this.route(estimate),
        ...this.together(estimate),
        ...(absent.length ? [html("p", { className: "pm-soft" }, `Absent: ${absent.join(", ")}.`)] : []));
    }

    tellMeasures(utterance) {
      const { targets, whole } = this.timeline, when = `${clock(utterance.start)} to ${clock(utterance.end)}`;
      const say = (value, { digits }) => (value === null || value === undefined ? "" : written(value, digits));
      const rows = targets.map((target) => {
        const name = described(html("th", { title: target.meaning }, inUnit(target.name.replaceAll("_", " "), target)), { scope: "row" });
        return html("tr", { className: target === this.target ? "pm-shown" : "" }, name,
          html("td", {}, say(utterance.estimates[target.name]?.value, target)), html("td", {}, say(whole[target.name], target)));
      });
      const heads = ["", "here", "whole clip"].map((text) => described(html("th", {}, text), { scope: "col" }));
      this.details.replaceChildren(
        html("h2", {}, `Row ${this.selected + 1} of ${this.utterances.length}`),
        html("p", { className: "pm-soft" }, utterance.speaker ? `${when}, ${utterance.speaker}` : when),
        html("table", { className: "pm-measures" }, html("thead", {}, html("tr", {}, ...heads)), html("tbody", {}, ...rows)));
    }

    warnings({ unlike }, { abstained }) {
      const asked = this.timeline.abstain_at, found = [];
      if (abstained) found.push(`Silent: not sure enough for a mean error of ${asked}. What follows is not promised.`);
      if (unlike?.alarm) found.push(`Unlike the training data, p = ${written(unlike.p)}; furthest off: ${unlike.modality}.`);
      return found.map((text) => html("p", { className: "pm-warning" }, text));
    }

    together({ together: found }) {
      if (!found) return [];
      const words = { conflict: "Conflict: the modalities pull to both sides.", overlap: "Overlap: they say partly the same.",
        synergy: "Synergy: together they say more than one by one." };
      const alone = Object.entries(found.alone).map(([name, value]) => `${name} ${signed(value)}`).join(", ");
      return [html("p", { className: "pm-soft" }, `${words[found.word] ?? ""} Alone: ${alone}; only together: ${signed(found.joint)}.`.trim())];
    }

    /* Who of the two models of a cascade answered, and what both said. */
    route({ cascade: found }) {
      if (!found) return [];
      const whose = { small: "the small run's answer", large: "the large model's answer", both: "the mean of both, or what both say" };
      const say = (name, one) => `${name}: ${typeof one.answer === "string" ? one.answer : written(one.answer)}, uncertainty ${written(one.uncertainty, 2)}.`;
      const told = [["Small run", found.small], ["Large model", found.large], ["Large model, asked again", found.second]];
      const used = Object.entries(found.usage).filter((pair) => pair[1]).map(([name, count]) => `${count} ${name.replaceAll("_", " ")}`);
      const parts = [`Stage ${found.stage}: ${whose[found.by]}.`, ...told.filter((pair) => pair[1]).map((pair) => say(...pair)),
        `Questions to the large model: ${found.calls}${used.length ? ` (${used.join(", ")})` : ""}.`];
      return [html("p", { className: "pm-soft pm-route" }, parts.join(" "))];
    }

    said(name, value) {
      return html("p", { className: "pm-said" }, `${name} `, html("strong", {}, value));
    }

    tellValue(estimate) {
      const { low, high, value } = estimate;
      const interval = low === null || high === null ? "no interval: the run is not calibrated for this"
        : `${percent(this.timeline.level)} interval: ${written(low)} to ${written(high)}`;
      return [this.said(this.target.name, written(value)), html("p", {}, interval), this.sum(estimate, value, "prediction")];
    }

    tellClass(estimate) {
      if (!estimate.probabilities) return [this.said(this.target.name, estimate.label), this.unknown()];
      return [this.said(this.target.name, estimate.label), this.chances(estimate),
        this.sum(estimate, estimate.probabilities[estimate.label], `probability of ${estimate.label}`)];
    }

    tellLabels(estimate) {
      const own = Object.fromEntries(Object.entries(estimate.contributions).map(([m, parts]) => [m, parts[this.klass]]));
      return [this.said(this.target.name, estimate.labels.join(", ") || "none"), this.chances(estimate),
        this.sum({ baseline: estimate.baseline[this.klass], contributions: own }, estimate.probabilities[this.klass],
          `probability of ${this.klass}`)];
    }

    chances(estimate) {
      const sorted = Object.entries(estimate.probabilities).sort((a, b) => b[1] - a[1]);
      return this.table("Probabilities", sorted.map(([name, share]) => {
        const bar = html("span", { className: `pm-meter ${this.shade(this.target.classes.indexOf(name))}` });
        bar.style.width = percent(share);
        return this.row(name, `${written(100 * share, 1)}%`, bar);
      }));
    }

    table(caption, rows, ...foot) {
      return html("table", {}, html("caption", {}, caption), html("tbody", {}, ...rows), ...foot);
    }

    row(title, cell, bar = "", kind = "") {
      return html("tr", { className: kind }, described(html("th", {}, title), { scope: "row" }), html("td", {}, cell),
        html("td", { className: "pm-wide" }, bar));
    }

    unknown() {
      return html("p", {}, "What this rests on is not known.");
    }

    /* The contributions, and that they sum to prediction - baseline. */
    sum({ baseline, contributions }, value, name) {
      if (baseline === null) return this.unknown();
      const parts = Object.entries(contributions), most = Math.max(...parts.map((p) => Math.abs(p[1])), 1e-9);
      const rows = parts.map(([modality, part]) => {
        const bar = html("span", { className: `pm-meter ${this.colour(this.timeline.modalities.indexOf(modality))}` });
        const width = (50 * Math.abs(part)) / most;
        bar.style.width = `${width}%`;
        bar.style.marginLeft = `${part < 0 ? 50 - width : 50}%`;
        return this.row(modality, signed(part), bar);
      });
      rows.push(this.row("sum", signed(total(parts.map((p) => p[1]))), "", "pm-total"));
      const less = baseline < 0 ? `(${written(baseline)})` : written(baseline);
      const proof = `= ${name} − baseline = ${written(value)} − ${less} = ${signed(value - baseline)}`;
      return this.table("Contributions", rows, html("tfoot", {}, html("tr", {}, html("td", { colSpan: 3 }, proof))));
    }
  }

  function renderTimeline(container, timeline, media = null) {
    views.get(container)?.destroy();
    const view = new View(container, timeline, media);
    views.set(container, view);
    return { select: (index) => view.select(index), destroy: () => view.destroy() };
  }

  window.polymodal = Object.assign(window.polymodal || {}, { renderTimeline });
})();
