/* Every page of the service: choose, drop or record a clip, send it, hand the answer on. No dependency and no build. */
"use strict";
const at = (id) => document.getElementById(id);

/* The media of a page: ``play(blob)`` shows a Blob in #player and returns its element. */
const play = (() => {
  let address = null;
  return (blob) => {
    const media = document.createElement(blob.type.startsWith("audio/") ? "audio" : "video");
    if (address) URL.revokeObjectURL(address);
    address = URL.createObjectURL(blob);
    Object.assign(media, { src: address, controls: true, playsInline: true });
    at("unplayable").hidden = true;
    media.addEventListener("error", () => { media.hidden = true; at("unplayable").hidden = false; });
    at("player").replaceChildren(media);
    return media;
  };
})();

function save(text, type, name) {
  const link = document.createElement("a"), url = URL.createObjectURL(new Blob([text], { type }));
  Object.assign(link, { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/* Begins. ``answer(result, file)`` shows a result and returns what is said of it; ``working(line)`` names a progress. */
function begin(answer, working) {
  const SECTIONS = ["ask", "camera", "work", "result"];
  const FORMATS = ["video/webm;codecs=vp8,opus", "video/webm", "video/mp4", "audio/webm", "audio/mp4"];
  let service = { limits: { upload_bytes: Infinity, clip_seconds: Infinity } };
  let request = null, last = null, camera = null, recorder = null, ticking = 0;

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

  function ask(file, name = file.name, transcript = at("transcript")?.files[0]) {
    last = [file, name, transcript];
    if (at("transcript")) at("transcript").value = "";  // it belongs to this clip, not to the next one
    if (!file.size) return fail(`${name} is empty (0 bytes)`, "record or download it again");
    if (file.size > service.limits.upload_bytes) {
      return fail(`${name} has ${size(file.size)}, more than the ${size(service.limits.upload_bytes)} that are taken`,
        "cut or compress it");
    }
    const form = new FormData();
    form.append("clip", file, name);
    if (transcript) form.append("transcript", transcript);
    if (at("utterances")?.value) form.append("utterances", at("utterances").value);
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
    request.addEventListener("load", () => ended(request.status, lines(`${request.responseText}\n`)));
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
    else if (line.result) answered(line.result);
    else if (line.error) fail(line.error, line.remedy);
    else if (line.progress !== undefined) {
      stage(working(line));
      const to = line.duration ? ` of ${clock(line.duration)}` : "";
      amount(line.progress, line.progress < line.duration ? line.duration : 0, `${clock(line.progress)}${to}`);
    }
  }

  function answered(result) {
    show("result");
    say(answer(result, last[0]));
    at("title").focus();
  }

  function ended(status, lines) {
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
    const own = new MediaRecorder(camera, type ? { mimeType: type } : {});
    own.addEventListener("dataavailable", (e) => parts.push(e.data));
    own.addEventListener("stop", () => {
      if (recorder !== own) return;  // cancelled; another recording may have begun
      const kind = own.mimeType.split(";")[0];
      closeCamera();
      ask(new Blob(parts, { type: kind }), `recording.${kind.split("/")[1] || "webm"}`);
    });
    try {
      own.start(1000);
    } catch (e) {  // a camera that was unplugged, or that another program took
      closeCamera();
      last = null;
      return fail(`The recording cannot begin (${e.message})`, "try again, or choose a file");
    }
    recorder = own;
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
    const stopped = recorder;
    closeCamera();
    if (stopped && stopped.state !== "inactive") stopped.stop();
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
  greet();
}
