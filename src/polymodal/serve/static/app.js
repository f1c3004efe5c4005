/* The page of the service: choose, drop or record a clip, send it, show the answer. No dependency and no build. */
"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  const SECTIONS = ["ask", "camera", "work", "result"];
  const FORMATS = ["video/webm;codecs=vp8,opus", "video/webm", "video/mp4", "audio/webm", "audio/mp4"];
  let service = { limits: { upload_bytes: Infinity, clip_seconds: Infinity } };
  let request = null, last = null, timeline = null, address = null, camera = null, recorder = null, ticking = 0;

  function show(section) {
    for (const id of SECTIONS) at(id).hidden = id !== section;
    at("error").hidden = true;
  }

  function say(text) {
    at("status").textContent = text;
  }

  function fail(sentence, remedy = "") {
    show("ask");
    const named = last && sentence.startsWith(last[1]);  // a file keeps its name, whatever it begins with
    at("sentence").textContent = (named ? sentence[0] : sentence[0].toUpperCase()) + sentence.slice(1) +
      (/[.!?]$/.test(sentence) ? "" : ".");
    at("remedy").textContent = remedy && `What helps: ${remedy}.`;
    at("again").hidden = !last;
    at("error").hidden = false;
    say("");
  }

  const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
  const long = (seconds) => (seconds < 120 ? `${seconds} seconds` : `${Math.round(seconds / 6) / 10} minutes`);
  const size = (bytes) => `${Math.round((bytes / 2 ** 20) * 10) / 10} MiB`;

  // ---- what the service is

  async function greet() {
    try {
      service = await (await fetch("healthz")).json();
    } catch {
      return fail("The service cannot be reached", "see whether it still runs, then load this page again");
    }
    const { limits } = service;
    document.title = `${service.run} – polymodal`;
    at("about").textContent = `run ${service.run}`;
    at("limits").textContent = `Video or sound, up to ${size(limits.upload_bytes)} and ${long(limits.clip_seconds)}; ` +
      "deleted from the service as soon as it is answered.";
    at("token-field").hidden = !service.token;
    at("token").value = sessionStorage.getItem("token") || "";
  }

  // ---- asking

  function ask(file, name = file.name, transcript = at("transcript").files[0]) {
    last = [file, name, transcript];
    at("transcript").value = "";  // it belongs to this clip, not to the next one
    if (!file.size) return fail(`${name} is empty (0 bytes)`, "record or download it again");
    if (file.size > service.limits.upload_bytes) {
      return fail(`${name} has ${size(file.size)}, more than the ${size(service.limits.upload_bytes)} that are taken`,
        "cut or compress it");
    }
    const form = new FormData();
    form.append("clip", file, name);
    if (transcript) form.append("transcript", transcript);
    if (at("utterances").value) form.append("utterances", at("utterances").value);
    show("work");
    stage(`Sending ${name}`);
    at("cancel").focus();
    send(form);
  }

  /* XMLHttpRequest, because fetch does not tell how much has been sent. */
  function send(form) {
    request = new XMLHttpRequest();
    const lines = reader();
    request.open("POST", "predict");
    request.setRequestHeader("Accept", "application/x-ndjson");
    const token = at("token").value.trim();
    if (token) request.setRequestHeader("Authorization", `Bearer ${token}`);
    sessionStorage.setItem("token", token);
    request.upload.addEventListener("progress", (e) => amount(e.loaded, e.total, `${size(e.loaded)} of ${size(e.total)}`));
    request.upload.addEventListener("load", () => stage("Sent; looking at it"));
    request.addEventListener("progress", () => request.status === 200 && lines(request.responseText).forEach(follow));
    request.addEventListener("load", () => answered(request.status, lines(`${request.responseText}\n`)));
    request.addEventListener("error", () => fail("The connection to the service broke", "see whether it still runs"));
    request.addEventListener("abort", () => { show("ask"); say("Cancelled"); at("clip").focus(); });
    request.send(form);
  }

  /* Returns a function that takes the text so far and returns the lines of JSON that are new and whole. */
  function reader() {
    let read = 0;
    return (text) => {
      const end = text.lastIndexOf("\n") + 1, fresh = text.slice(read, end);
      read = Math.max(read, end);
      return fresh.split("\n").filter((line) => line.trim()).flatMap((line) => {
        try {
          return [JSON.parse(line)];
        } catch {  // an answer of something between us and the service, such as a proxy
          return [];
        }
      });
    };
  }

  function follow(line) {
    if (line.waiting) stage(`Waiting for a free worker: ${line.waiting} in the queue`);
    else if (line.result) answer(line.result);
    else if (line.error) fail(line.error, line.remedy);
    else if (line.progress !== undefined) {
      stage("Watching and listening");
      const to = line.duration ? ` of ${clock(line.duration)}` : "";
      amount(line.progress, line.duration, `${clock(line.progress)}${to}`);
    }
  }

  function answered(status, lines) {
    if (status === 200) {
      lines.forEach(follow);
      if (!at("work").hidden) fail("The service broke off its answer", "try again; if it happens again, tell who runs it");
      return;
    }
    const [{ error, remedy } = {}] = lines;
    fail(error || `The service answered with status ${status}`, remedy);
    if (status === 401) {
      at("token-field").hidden = false;
      at("token").focus();
    }
  }

  function stage(text) {
    if (at("stage").textContent !== text) {
      at("stage").textContent = text;
      say(text);
      amount(0, 0, "");
    }
  }

  function amount(done, whole, text) {
    at("amount").textContent = text;
    if (whole) {
      at("bar").max = whole;
      at("bar").value = Math.min(done, whole);
    } else {
      at("bar").removeAttribute("value");
    }
  }

  // ---- the answer

  function answer(result) {
    timeline = result;
    show("result");
    const [file] = last, sound = file.type.startsWith("audio/");
    const media = document.createElement(sound ? "audio" : "video");
    if (address) URL.revokeObjectURL(address);
    address = URL.createObjectURL(file);
    Object.assign(media, { src: address, controls: true, playsInline: true });
    media.setAttribute("aria-label", result.clip);
    at("unplayable").hidden = true;
    media.addEventListener("error", () => { media.hidden = true; at("unplayable").hidden = false; });
    media.addEventListener("loadedmetadata", () => measure(media), { once: true });
    at("player").replaceChildren(media);
    at("title").textContent = result.clip;
    polymodal.renderTimeline(at("timeline"), result, media);
    say(`Done: ${result.utterances.length} utterances in ${result.clip}`);
    at("title").focus();
  }

  /* A recording does not say how long it is until its end has been looked for. */
  function measure(media) {
    if (media.duration !== Infinity) return;
    media.addEventListener("seeked", () => { media.currentTime = 0; }, { once: true });
    media.currentTime = 1e5;
  }

  function save(text, type, suffix) {
    const link = document.createElement("a"), url = URL.createObjectURL(new Blob([text], { type }));
    Object.assign(link, { href: url, download: `${timeline.clip}.${suffix}` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
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

  // ---- recording

  async function openCamera() {
    if (!navigator.mediaDevices || !window.MediaRecorder) {
      return fail("This browser does not let this page record", "open it over https, or on the machine of the service");
    }
    const picture = { facingMode: "user", width: { ideal: 640 } };
    try {
      camera = await navigator.mediaDevices.getUserMedia({ video: picture, audio: true })
        .catch((e) => e.name === "NotFoundError" ? navigator.mediaDevices.getUserMedia({ audio: true }) : Promise.reject(e));
    } catch (e) {
      last = null;
      return fail(e.name === "NotAllowedError" ? "This page may not use the camera and the microphone"
        : `The camera or the microphone cannot be used (${e.message})`,
      "allow them for this page in the browser, or choose a file");
    }
    show("camera");
    const seen = camera.getVideoTracks().length > 0;
    at("preview").hidden = !seen;
    at("sound-only").hidden = seen;
    at("record").textContent = "Start";
    at("recorded").textContent = "";
    if (seen) {
      at("preview").srcObject = camera;
      at("preview").play().catch(() => {});  // some browsers want a touch first; recording works all the same
    }
    say("The camera is on; Start begins recording");
    at("record").focus();
  }

  function startOrStop() {
    if (recorder) return recorder.stop();
    const seen = camera.getVideoTracks().length > 0, parts = [], began = Date.now();
    const type = FORMATS.find((f) => f.startsWith(seen ? "video" : "audio") && MediaRecorder.isTypeSupported(f));
    recorder = new MediaRecorder(camera, type ? { mimeType: type } : {});
    recorder.addEventListener("dataavailable", (e) => parts.push(e.data));
    recorder.addEventListener("stop", () => {
      const kind = recorder.mimeType.split(";")[0], cancelled = recorder.cancelled;
      closeCamera();
      if (!cancelled) ask(new Blob(parts, { type: kind }), `recording.${kind.split("/")[1] || "webm"}`);
    });
    recorder.start(1000);
    at("preview").classList.add("live");
    at("record").textContent = "Stop and send";
    say("Recording");
    const longest = Math.floor(service.limits.clip_seconds) - 1;
    ticking = setInterval(() => {
      const seconds = (Date.now() - began) / 1000;
      at("recorded").textContent = `${clock(seconds)} of ${clock(longest)}`;
      if (seconds >= longest && recorder?.state === "recording") recorder.stop();
    }, 250);
  }

  function closeCamera() {
    clearInterval(ticking);
    at("preview").classList.remove("live");
    at("preview").srcObject = null;
    camera?.getTracks().forEach((track) => track.stop());
    camera = recorder = null;
  }

  function cancelRecording() {
    if (recorder) {
      recorder.cancelled = true;
      recorder.stop();
    } else {
      closeCamera();
    }
    show("ask");
    say("Cancelled");
    at("open-camera").focus();
  }

  // ---- wiring

  function drop(event) {
    event.preventDefault();
    at("drop").classList.remove("over");
    if (at("ask").hidden || !event.dataTransfer.files.length) return;
    if (event.dataTransfer.files.length > 1) {
      last = null;
      return fail("One clip at a time", "drop a single file");
    }
    ask(event.dataTransfer.files[0]);
  }

  at("clip").addEventListener("change", () => {
    const [file] = at("clip").files;
    if (!file) return;
    at("clip").value = "";  // or choosing the same file again would not be a change
    ask(file);
  });
  at("ask").addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("dragover", (event) => { event.preventDefault(); at("drop").classList.add("over"); });
  document.addEventListener("dragleave", (event) => event.relatedTarget || at("drop").classList.remove("over"));
  document.addEventListener("drop", drop);
  at("open-camera").addEventListener("click", openCamera);
  at("close-camera").addEventListener("click", cancelRecording);
  at("record").addEventListener("click", startOrStop);
  at("cancel").addEventListener("click", () => request.abort());
  at("again").addEventListener("click", () => ask(...last));
  at("another").addEventListener("click", () => { show("ask"); say(""); at("clip").focus(); });
  at("save-json").addEventListener("click", () => save(JSON.stringify(timeline, null, 1), "application/json", "json"));
  at("save-csv").addEventListener("click", () => save(table(), "text/csv", "csv"));
  greet();
})();
