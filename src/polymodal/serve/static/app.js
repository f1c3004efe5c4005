/* The page of a service that predicts: the clip above its timeline, which can be saved. */
"use strict";
(() => {
  let timeline = null;

  function answer(result, file) {
    timeline = result;
    const media = play(file);
    media.setAttribute("aria-label", result.clip);
    media.addEventListener("loadedmetadata", () => measure(media), { once: true });
    at("title").textContent = result.clip;
    polymodal.renderTimeline(at("timeline"), result, media);
    return `Done: ${result.utterances.length} utterances in ${result.clip}`;
  }

  /* A recording does not say how long it is until its end has been looked for. */
  function measure(media) {
    if (media.duration !== Infinity) return;
    media.addEventListener("seeked", () => { media.currentTime = 0; }, { once: true });
    media.currentTime = 1e5;
  }

  /* The table that `polymodal predict --csv` writes. */
  function table() {
    const rows = timeline.utterances.map((utterance) => {
      const { start, end, speaker, text, present } = utterance;
      const row = { clip: timeline.clip, start, end, speaker, text, present: present.join("+") };
      Object.assign(row, { unlike_p: utterance.unlike?.p, unlike_modality: utterance.unlike?.modality });
      for (const { name, answer, classes } of timeline.targets) {
        const e = utterance.estimates[name];
        const nothing = answer === "classes" ? Object.fromEntries(classes.map((c) => [c, null])) : null;
        if ("value" in e) Object.assign(row, { [name]: e.value, [`${name}/low`]: e.low, [`${name}/high`]: e.high });
        else Object.assign(row, { [name]: e.labels ? e.labels.join(";") : e.label }, flat(`${name}/probability`, e.probabilities ?? Object.fromEntries(classes.map((c) => [c, null]))));
        Object.assign(row, flat(`${name}/baseline`, e.baseline));
        for (const modality of timeline.modalities) {
          Object.assign(row, flat(`${name}/contribution/${modality}`, e.contributions[modality] ?? nothing));
        }
        row[`${name}/together`] = e.together?.word;
        if ("abstain_at" in timeline) Object.assign(row, { [`${name}/abstained`]: Number(e.abstained) }, e.abstained ? { [name]: null } : {});
        if (e.cascade) Object.assign(row, routed(name, e.cascade));
      }
      return row;
    });
    const columns = rows.length ? Object.keys(rows[0]) : ["clip"];
    return [columns, ...rows.map((row) => columns.map((name) => row[name] ?? ""))]
      .map((cells) => `${cells.map(quoted).join(",")}\n`).join("");
  }

  /* What a cascade says beside each answer. */
  function routed(name, found) {
    const opinions = ["small", "large", "second"].map((who) =>
      ({ [`${name}/${who}`]: found[who]?.answer, [`${name}/${who}/uncertainty`]: found[who]?.uncertainty }));
    const used = Object.entries(found.usage).map(([key, count]) => [`${name}/usage/${key}`, count]);
    return Object.assign({ [`${name}/stage`]: found.stage }, ...opinions, { [`${name}/calls`]: found.calls }, Object.fromEntries(used));
  }

  function flat(name, value) {
    if (value === null || typeof value !== "object") return { [name]: value };
    return Object.fromEntries(Object.entries(value).map(([key, part]) => [`${name}/${key}`, part]));
  }

  function quoted(cell) {
    // What a spreadsheet would run as a formula gets an apostrophe before it.
    const text = typeof cell === "string" && /^[=+\-@\t\r]/.test(cell) && isNaN(cell) ? `'${cell}` : String(cell);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }

  at("save-json").addEventListener("click", () => save(JSON.stringify(timeline, null, 1), "application/json", `${timeline.clip}.json`));
  at("save-csv").addEventListener("click", () => save(table(), "text/csv", `${timeline.clip}.csv`));
  begin(answer, () => "Watching and listening");
})();
