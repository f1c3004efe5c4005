/* The page of a service that replies: what was understood, the reply in words, and the reply played. */
"use strict";
(() => {
  let reply = null;

  const sentence = (text) => text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

  function answer(result) {
    reply = result;
    const [turn] = result.turns, { media } = result;
    at("said").textContent = turn.said || "…";
    at("felt").textContent = `Felt: ${turn.emotion.label} (${turn.emotion.why}).`;
    at("title").textContent = turn.response;
    at("synthetic").textContent = result.synthetic;
    at("notes").replaceChildren(...[turn.why, ...turn.notes, ...result.notes].map((note) => {
      const item = document.createElement("li");
      item.textContent = sentence(note);
      return item;
    }));
    at("player").replaceChildren();
    at("save-media").hidden = at("unplayable").hidden = true;
    if (media) speak(media);
    return `The reply: ${turn.response}`;
  }

  function speak(address) {
    const [head, data] = address.split(","), type = head.slice(5, head.indexOf(";"));
    const player = play(new Blob([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], { type }));
    player.setAttribute("aria-label", "The reply, synthetic");
    player.play().catch(() => {});  // some browsers want a touch first; it has controls
    const download = `reply.${type === "audio/wav" ? "wav" : "mp4"}`;
    Object.assign(at("save-media"), { href: player.src, download, hidden: false });
  }

  at("save-json").addEventListener("click", () => {
    const { media, ...told } = reply;
    save(JSON.stringify(told, null, 1), "application/json", "reply.json");
  });
  begin(answer, ({ progress, duration }) => (progress > 0.9 * duration ? "Thinking of a reply and saying it" : "Listening"));
})();
