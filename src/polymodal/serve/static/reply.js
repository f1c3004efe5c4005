/* The page of a service that replies: drop or choose a clip, see the answer played. No dependency and no build. */
"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  let limits = { upload_bytes: Infinity }, address = null, busy = false;

  const say = (text) => { at("status").textContent = text; };

  async function greet() {
    try {
      const service = await (await fetch("healthz")).json();
      limits = service.limits;
      at("token-field").hidden = !service.token;
      at("token").value = sessionStorage.getItem("token") || "";
      at("limits").textContent = `Video or sound, up to ${Math.round(limits.upload_bytes / 2 ** 20)} MiB and ` +
        `${limits.clip_seconds} seconds; deleted from the service as soon as it is answered.`;
    } catch {
      say("The service cannot be reached; see whether it still runs, then load this page again.");
    }
  }

  async function ask(file) {
    if (busy || !file) return;
    if (file.size > limits.upload_bytes) return say(`${file.name} is too large; cut or compress it.`);
    busy = true;
    at("result").hidden = true;
    say(`Listening to ${file.name} and thinking of a reply …`);
    const form = new FormData(), token = at("token").value.trim();
    form.append("clip", file, file.name);
    sessionStorage.setItem("token", token);
    try {
      const headers = token ? { Authorization: `Bearer ${token}` } : {};
      const response = await fetch("predict", { method: "POST", body: form, headers });
      const told = await response.json();
      if (!response.ok) throw new Error(`${told.error}${told.remedy ? `; ${told.remedy}` : ""}`);
      say("");
      show(told);
    } catch (error) {
      say(`${error.message}.`);
    } finally {
      busy = false;
    }
  }

  function show(told) {
    const turn = told.turns[0];
    at("said").textContent = turn.said || "…";
    at("felt").textContent = `felt: ${turn.emotion.label} (${turn.emotion.why})`;
    at("response").textContent = turn.response;
    at("synthetic").textContent = told.synthetic;
    at("notes").replaceChildren(...[...turn.notes, ...told.notes].map((note) => {
      const item = document.createElement("li");
      item.textContent = note;
      return item;
    }));
    if (address) URL.revokeObjectURL(address);
    at("player").replaceChildren();
    if (told.media) {
      const [head, data] = told.media.split(",");
      const type = head.slice(5, head.indexOf(";"));
      address = URL.createObjectURL(new Blob([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], { type }));
      const player = document.createElement(type.split("/")[0]);
      player.src = address;
      player.controls = player.autoplay = true;
      at("player").append(player);
    }
    at("result").hidden = false;
  }

  at("clip").addEventListener("change", () => { ask(at("clip").files[0]); at("clip").value = ""; });
  at("drop").addEventListener("dragover", (event) => event.preventDefault());
  at("drop").addEventListener("drop", (event) => { event.preventDefault(); ask(event.dataTransfer.files[0]); });
  at("ask").addEventListener("submit", (event) => event.preventDefault());
  greet();
})();
